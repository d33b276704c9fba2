"""A night as Markdown, for people: first whether someone has to get up, then one line per fact, the worst first. Pure.

Names, reasons and annotations stand as code: whatever a device said, it is no markup, no link and mentions nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from harness.nights.facts import Facts, facts
from harness.nights.wording import fact, headline, last, plural, runs, where, why
from harness.records.nights import Night, RowOutcome, SeriesChange
from harness.text import printable


def markdown(night: Night) -> str:
    """Return the summary: headline, blamed devices, annotations, then the facts in their order, unchanged ones as counts."""
    found = facts(night)
    sections = filter(None, _sections(found, night))
    over = f"to {night.ended}" if night.ended else "and goes on"
    return "\n\n".join((f"**{headline_of(night)}**", f"Night {night.night}, {night.began} {over}.", *sections)) + "\n"


def headline_of(night: Night) -> str:
    """Return the first line: in one sentence whether someone has to get up."""
    return headline(facts(night), night.ended is not None, code)


def code(text: str) -> str:
    """Return text as inline code of Markdown, whatever stands in it: on one line, its backticks within a longer fence."""
    line = printable(text) or " "
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    pad = " " if line.startswith(("`", " ")) or line.endswith(("`", " ")) else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _sections(found: Facts, night: Night) -> Iterator[str]:
    outcomes = {row.row.key: row for row in night.rows}
    gone = (*(row for row in found.absent if row.outcome != "unreachable"), *found.late)
    yield _section("Blamed devices", _blamed(found, night))
    yield _section("What changed around it", _annotated(night))
    yield _section("Regressions", (_changed(change, outcomes) for change in found.regressions))
    yield _section("Newly failing", (_failed(row) for row in found.failing))
    yield _section("Still failing", (_failed(row) for row in found.still_failing))
    yield _section("Missing", (*_unreached(found), *(_missing(row) for row in gone)))
    yield _section("New", (f"{where(row.row, code)}: measured for the first time{_by(row)}" for row in found.new))
    yield _section("Improved", (_changed(change, outcomes) for change in found.improved))
    yield _section("Waiting a night", (*_doubted(found), *(_changed(change, outcomes) for change in found.waiting)))
    yield _section("Seen once, not confirmed", (_changed(change, outcomes) for change in found.suspected))
    yield _unchanged(found)


def _section(title: str, lines: Iterable[str]) -> str:
    told = [f"- {line}" for line in lines]
    return "\n".join((f"## {title}", "", *told)) if told else ""


def _blamed(found: Facts, night: Night) -> Iterator[str]:
    for device, reason in found.blamed.items():
        silent = sum(row.row.device == device and row.outcome == "measured" for row in night.rows)
        yield f"{code(device)}: {code(reason)}; its {plural(silent, 'measured row')} not reported"


def _doubted(found: Facts) -> Iterator[str]:
    for device, reason in found.doubted.items():
        yield f"{code(device)}: {code(reason)}; what its rows seem to take more or less is not confirmed tonight"


def _annotated(night: Night) -> Iterator[str]:
    for device, notes in night.annotations.items():
        yield from (f"{code(device)}: {code(note)}" for note in notes)


def _changed(change: SeriesChange, outcomes: dict[str, RowOutcome]) -> str:
    row = outcomes.get(change.row.key)
    return f"{where(change.row, code)}, {fact(change, code)}{_by(row) if row else ''}"


def _failed(row: RowOutcome) -> str:
    return f"{where(row.row, code)}: {code(why(row))}, {last(row)}{_by(row)}"


def _unreached(found: Facts) -> Iterator[str]:
    """One line for each device that was not reached, however many rows it has: that is one fact."""
    rows = [row for row in found.absent if row.outcome == "unreachable"]
    for device in dict.fromkeys(row.row.device for row in rows):
        own = [row for row in rows if row.row.device == device]
        newest = max(own, key=lambda row: row.last or "")
        yield f"{code(device)}: unreachable, {code(why(own[0]))}, {plural(len(own), 'row')}, {last(newest)}"


def _missing(row: RowOutcome) -> str:
    return f"{where(row.row, code)}: {row.outcome}, {code(why(row))}, {last(row)}"


def _by(row: RowOutcome) -> str:
    return f" ({runs(row)})" if row.run else ""


def _unchanged(found: Facts) -> str:
    counted = [f"{plural(len(found.unchanged), 'row')} measured without a change"]
    counted += [f"{len(found.fresh)} still fresh"] if found.fresh else []
    counted += [f"{len(found.excluded)} excluded"] if found.excluded else []
    counted += [f"{found.silent} on blamed devices"] if found.silent else []
    return f"## Unchanged\n\n{', '.join(counted)}."

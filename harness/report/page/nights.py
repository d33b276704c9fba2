"""The page of a night: what it says, then every series over all nights. The same page as that of runs, with other contents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.report.page import chronicles, document, room
from harness.report.page.charts import Chart
from harness.report.page.chronicles import Chronicle
from harness.report.page.marks import NULL
from harness.report.page.tables import Cell, Head, Line
from harness.report.page.told import Kind, Told
from harness.report.text import digits

_READS = (
    "A point is a night's value with its 95 % interval, hollow where the run was disturbed; a line is a level, looked back "
    "upon. Dashed lines are where a level ended by itself, dotted ones where something around it changed; a triangle is a "
    "night that told of a change."
)


@dataclass(frozen=True)
class Fact:
    """Something that a night says: of what, in a sentence, and the series that it is about, by their positions."""

    where: str
    text: str
    series: tuple[int, ...] = ()


@dataclass(frozen=True)
class Section:
    """Facts of a kind: its title, how severe they are (`error`, `warning`, `info`), what they have in common."""

    title: str
    severity: str
    means: str
    facts: tuple[Fact, ...]


def write(title: str, about: str, sections: Sequence[Section], found: Sequence[Chronicle], out: Path) -> Path:
    """Write the page of a night and return its path.

    `title` is what it says in one sentence, `about` when it was. Raises UsageError for another suffix than .html or where the
    page would be too large, StoreError when it cannot be written.
    """
    document.require_suffix(out)
    page = html(title, about, sections, found)
    return document.save(page, out, f"{len(found)} series", "Ask for fewer devices: --device.")


def html(title: str, about: str, sections: Sequence[Section], found: Sequence[Chronicle]) -> str:
    """Return the page of a night."""
    fits = room.of(found, chronicles.ranked(found))
    found, places = [found[n] for n in fits.series], {old: new for new, old in enumerate(fits.series)}
    series = [_values(n, each) for n, each in enumerate(found)]
    chart = Chart("nights", "Series", _READS, ("kind",), chronicles.figure(), source="marks", palette="inks")
    filters = [(key, name, list(dict.fromkeys(each[key] for each in series))) for key, name in _FILTERS]
    light, dark = zip(*chronicles.INKS.values(), strict=True)
    return document.render(
        "nights.html.jinja",
        title=title,
        many=" ".join(filter(None, (about, fits.note))),
        kinds=[_kind(section, n, places) for n, section in enumerate(sections) if section.facts],
        filters=filters,
        looks={},
        figures=[chart] if found else [],
        columns=_HEADS,
        lines=[Line(n, _cells(each)) for n, each in enumerate(series)],
        data={
            "columns": [key for key in _values(0, found[0]) if key != "n"] if found else [],
            "filters": {key: names for key, _, names in filters},
            "rows": document.lean(series),
            "marks": [mark for n, each in enumerate(found) for mark in chronicles.lines(each, n, fits.begin)],
            "points": chronicles.points(found, fits.begin),
            "charts": {"nights": asdict(chart)} if found else {},
            "panels": {
                str(n): f"{each.device}, {each.title}" + (f" ({each.unit})" if each.unit else "")
                for n, each in enumerate(found)
            },
            "palettes": {"inks": {"light": light, "dark": dark}},
        },
    )


_FILTERS = (("device", "Device"), ("row", "Row"), ("quantity", "Quantity"), ("tonight", "Tonight"))
_HEADS = (
    Head("device", "as in the inventory", False),
    Head("row", "what is run there", False),
    Head("rung", "method and position; 0 is full depth", False),
    Head("quantity", "what is counted or measured, with its unit", False),
    Head("newest", "the newest value", True),
    Head("nights", "nights with a value", True),
    Head("levels", "levels so far, looked back upon", True),
    Head("last end", "the night on which the newest level began, if another was before it", False),
    Head("tonight", "what the night says of it", False),
)


def _cells(each: dict[str, Any]) -> tuple[Cell, ...]:
    newest = each["newest"]
    return (
        *(Cell(each[key], each[key]) for key in ("device", "row", "rung")),
        Cell(f"{each['quantity']} ({each['unit']})" if each["unit"] else each["quantity"], each["quantity"]),
        Cell(NULL if newest is None else _written(newest), newest),
        *(Cell(str(each[key]), each[key]) for key in ("nights", "levels")),
        Cell(each["since"] or NULL, each["since"]),
        Cell(each["said"] or NULL, each["said"] or None),
    )


def _written(value: float) -> str:
    """A value in four digits; errors of folding are far below what can be written without a power of ten."""
    return f"{value:.3e}" if 0 < abs(value) < 1e-4 else digits(value, 4)


def _values(number: int, each: Chronicle) -> dict[str, Any]:
    last = each.segments[-1] if len(each.segments) > 1 else None
    return {
        "n": number,
        "device": each.device,
        "row": each.row,
        "rung": each.rung,
        "quantity": each.quantity,
        "unit": each.unit,
        "newest": each.newest,
        "nights": each.measured,
        "levels": len(each.segments),
        "since": each.nights[last.first] if last else None,
        "tonight": "with something said" if each.tonight else "with nothing said",
        "said": each.tonight,
    }


def _kind(section: Section, number: int, places: Mapping[int, int]) -> Kind:
    first, *others = (
        Told(
            anchor=f"fact-{number}-{n}",
            letter="",
            kind=section.title,
            severity=section.severity,
            where=fact.where,
            cause=fact.text,
            advice="",
            numbers=tuple(places[each] for each in fact.series if each in places),
        )
        for n, fact in enumerate(section.facts)
    )
    return Kind(section.title, section.severity, section.means, first, tuple(others))

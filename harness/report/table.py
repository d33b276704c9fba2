"""A run as a table, for people: on a terminal, in a pipe (plain ASCII, 120 columns) and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.box import Box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness import stats
from harness.findings.views import count
from harness.records import Finding, Run
from harness.report import basis, cells, rows, trained
from harness.report.cells import Column
from harness.report.rows import Panel
from harness.report.text import (
    COLOURS,
    UNICODE,
    Glyphs,
    boxed,
    printable,
    unfilled,
)

_UNTRAINED = "untrained"  # those of the methods shallow, narrow and continue are ladders like any
_SEVERITY = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_SHOWN = ("removed", "depth", "macs", "accuracy", "fold_error", "latency_ns", "speedup")  # columns that may hold nulls
_ROUNDED = ("artifact_accuracy",)  # and these where the precision is not fp32
_GIVEN = ("depth", "macs", "accuracy", "difference", "latency_ns", "speedup")


def show(run: Run, console: Console) -> None:
    """Print a run: how far it came, a table per runtime and precision, findings, and why values are missing."""
    unfilled(console, lambda: _print(run, console))


def _print(run: Run, console: Console) -> None:
    glyphs, box = boxed(console)
    console.print(Text(printable(_heading(run)), style="bold"))
    if status := rows.status(run):
        console.print(Text(printable(status[0].upper() + status[1:]) + ".", style="yellow"))
    for line in rows.trust(run):
        console.print(Text(printable(line)))
    for panel in rows.panels(run):
        console.print()
        for table in _tables(run, panel, glyphs, box, console.width):
            console.print(table)
            console.print()
        for line in (caption(run, panel, glyphs), basis.words(panel, glyphs)):
            console.print(Text(printable(line), style="dim"))
    if found := trained.shown(run):
        console.print()
        console.print(trained.table(found, box, glyphs))
        console.print()
        console.print(Text(printable(trained.caption(found)), style="dim"))
    _print_findings(run, console)
    _print_absences(run, console, glyphs)


def markdown(run: Run) -> str:
    """Return a run's tables and findings as Markdown, for a README."""
    parts = [
        part
        for panel in rows.panels(run)
        for part in (
            _markdown_table(run, panel),
            _escaped(f"{caption(run, panel, UNICODE)} {basis.words(panel, UNICODE)}"),
        )
    ]
    found = [
        f"- **{letter}** {finding.kind} ({where(finding)}): {_escaped(f'{finding.cause} {finding.advice}')}"
        for letter, finding in rows.lettered(run.findings)
    ]
    trust = " ".join(_escaped(line) for line in rows.trust(run))
    said = [_escaped(rows.status(run)), trust, *parts, *trained.markdown(run), "\n".join(found)]
    return "\n\n".join(said).strip() + "\n"


def _markdown_table(run: Run, panel: Panel) -> str:
    columns = with_energy(run, panel, UNICODE)
    head = [column.title.replace("\n", " ") for column in columns]
    align = ["---:" if column.numeric else "---" for column in columns]
    body = [
        [column.cell(row) if column.numeric else _escaped(column.cell(row)) for column in columns] for row in panel.rows
    ]
    if len(panel.ladders) > 1:
        head, align = ["ladder", *head], ["---", *align]  # on a terminal a line of its own says it
        body = [[_escaped(row.ladder), *line] for row, line in zip(panel.rows, body, strict=True)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, align, *body))


# --- on the console ------------------------------------------------------------------------------------------------


def _heading(run: Run) -> str:
    virtual = ", virtual" if run.virtual else ""
    return f"{rows.subject(run)}, device {run.device}{virtual}, run {run.run}"


def with_energy(run: Run, panel: Panel, glyphs: Glyphs) -> tuple[Column, ...]:
    """All columns, those of the compared energy before the last, which holds the letters of findings."""
    *first, last = cells.columns(run, panel, glyphs)
    return (*first, *(column for column in cells.energy_columns(panel, glyphs) if column.essential), last)


def _tables(run: Run, panel: Panel, glyphs: Glyphs, box: Box, width: int) -> Iterator[Table]:
    """A panel's table; where energy has no room in it, a second one."""
    whole, energy = with_energy(run, panel, glyphs), cells.energy_columns(panel, glyphs)
    if _width([column for column in whole if column.essential], panel) <= width or not energy:
        yield _table(whole, panel, panel.title, box, width)
        return
    columns = cells.columns(run, panel, glyphs)
    yield _table(columns, panel, panel.title, box, width)
    yield _table((columns[0], *energy), panel, f"energy per inference: {basis.scope(panel)}", box, width)


def _table(columns: Sequence[Column], panel: Panel, title: str, box: Box, width: int) -> Table:
    """Lay out a panel; where `width` is too narrow for all columns, the first leave that are not essential."""
    kept = list(columns)
    while _width(kept, panel) > width and (spare := [column for column in kept if not column.essential]):
        kept.remove(spare[0])
    roomy = _width(kept, panel) + len(kept) <= width
    table = Table(box=box, show_edge=False, pad_edge=False, padding=(0, int(roomy), 0, 0), title_justify="left")
    table.title = Text(title, style="bold")
    for column in kept:
        table.add_column(Text(column.title), justify="right" if column.numeric else "left")
    for name, ladder in panel.ladders.items():
        if len(panel.ladders) > 1:
            table.add_row(Text(name, style="bold"))
        for row in ladder:
            table.add_row(*(_styled(column.cell(row)) for column in kept))
        table.add_section()
    if panel.controls and len(panel.ladders) > 1:
        table.add_row(Text(_UNTRAINED, style="bold"))
    for row in panel.controls:
        table.add_row(*(_styled(column.cell(row)) for column in kept))
    return table


def _width(columns: Sequence[Column], panel: Panel) -> int:
    """Characters that the columns take, with one between them."""
    written = [[*column.title.split("\n"), *map(column.cell, panel.rows)] for column in columns]
    return sum(max(map(len, column)) + 1 for column in written) - 1


def _styled(cell: str) -> Text:
    return Text(printable(cell), style=COLOURS.get(cell, ""))


def caption(run: Run, panel: Panel, glyphs: Glyphs) -> str:
    """What a panel's numbers rest on: pairing, the A/A floor, blocks."""
    if run.virtual:
        return f"Virtual: what is compared is outputs and status, not times. {_job_words(panel)}"
    parts = (
        "Speed-up against rung 0, paired within blocks; latency: median of process medians.",
        _floor_words(panel, glyphs),
        _job_words(panel),
    )
    return " ".join(part for part in parts if part)


def _floor_words(panel: Panel, glyphs: Glyphs) -> str:
    """The A/A floor and what follows from it: `faster` and `slower` must exceed it, `same` needs it within 2 %."""
    several = len(panel.floors) > 1
    floors = [cells.speedup(floor, glyphs.null) + f" ({head.ladder})" * several for head, floor in panel.floors]
    sizes = [size for _, floor in panel.floors if (size := stats.floor_size(floor)) is not None]
    if not floors:
        return "A/A floor: none measured."
    words = f"A/A floor, rung 0 against itself: {', '.join(floors)}"
    if sizes and several:
        words += "; no difference below a row's own is faster or slower"
    elif sizes:
        words += f"; no difference below {glyphs.plus_minus}{100 * math.expm1(max(sizes)):.1f} % is faster or slower"
        words += ", and none the same" * (max(sizes) > stats.SAME)
    return words + "."


def _job_words(panel: Panel) -> str:
    if panel.job is None:
        return ""
    (fewest, most), ended = panel.blocks, f"{count(panel.job.blocks, 'block')}, ended: {panel.job.reason}."
    if most - fewest <= 1:  # the block in which a budget ends holds some rows and not others
        return ended
    return f"{ended} Rows hold {fewest} to {most} blocks: decided ones leave early, so latencies may cover other stretches."


def _print_findings(run: Run, console: Console) -> None:
    for letter, finding in rows.lettered(run.findings):
        console.print()
        head = Text(f"{letter}  ", style="bold").append(finding.kind, style=_SEVERITY[finding.severity])
        console.print(head.append(f"  {finding.severity}: {where(finding)}", style="dim"))
        console.print(Padding(Text(printable(f"{finding.cause} {finding.advice}")), (0, 0, 0, 3)))


def where(finding: Finding) -> str:
    """Say the ladder, runtime and rungs that a finding is about, as far as it says so."""
    named = [str(finding.numbers[key]) for key in ("ladder", "runtime") if finding.numbers.get(key)]
    found = finding.numbers.get("rungs")
    rungs = [f"rung{'s' * (' ' in str(found))} {found}"] if found is not None else []
    return ", ".join([*named, *rungs])


def _print_absences(run: Run, console: Console, glyphs: Glyphs) -> None:
    lines = tuple(_absence_lines(run, glyphs))
    if lines:
        console.print()
    for line in lines:
        console.print(Text(printable(line), style="dim"))


def _absence_lines(run: Run, glyphs: Glyphs) -> Iterator[str]:
    panels = rows.panels(run)
    for panel in panels:
        where = f" on {panel.runtime} {panel.precision}" if len(panels) > 1 else ""
        shown = _GIVEN if panel.given else (*_SHOWN, *(_ROUNDED if panel.rounded else ()))
        metered = ("energy_j",) if any(row.energy_j for row in panel.rows) else ()  # else the caption says why
        for keys, names, reason in rows.absences(panel, (*shown, *metered)):
            named = keys.replace("latency_ns", "latency").replace("energy_j", "energy")
            yield f"{glyphs.null}  {named} of {names}{where}: {reason}"
        yield from (f"{glyphs.null}  {line}{where}" for line in basis.unsaved(panel))
    yield from (f"{glyphs.null}  {line}" for line in basis.left_out(run))


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join("\\" + char if char in "\\|<>*_`[" else char for char in text)

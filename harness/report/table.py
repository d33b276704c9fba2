"""A run as a table, for people: on a terminal, in a pipe (plain ASCII, 120 columns) and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.box import Box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness import stats
from harness.records import Estimate, Finding, Run, Speedup, Summary
from harness.report import rows
from harness.report.rows import Panel
from harness.report.text import (
    COLOURS,
    UNICODE,
    Glyphs,
    boxed,
    digits,
    printable,
    thousandths,
    unfilled,
    with_interval,
)

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
        console.print(_table(run, panel, glyphs, box, console.width))
        console.print()
        console.print(Text(_caption(run, panel, glyphs), style="dim"))
    _print_findings(run, console)
    _print_absences(run, console, glyphs)


def markdown(run: Run) -> str:
    """Return a run's tables and findings as Markdown, for a README."""
    parts = [
        part
        for panel in rows.panels(run)
        for part in (_markdown_table(run, panel), _escaped(_caption(run, panel, UNICODE)))
    ]
    found = [
        f"- **{letter}** {finding.kind} ({_where(finding)}): {_escaped(f'{finding.cause} {finding.advice}')}"
        for letter, finding in rows.lettered(run.findings)
    ]
    trust = " ".join(_escaped(line) for line in rows.trust(run))
    return "\n\n".join([_escaped(rows.status(run)), trust, *parts, "\n".join(found)]).strip() + "\n"


def _markdown_table(run: Run, panel: Panel) -> str:
    columns = _columns(run, panel, UNICODE)
    head = [column.title.replace("\n", " ") for column in columns]
    align = ["---:" if column.numeric else "---" for column in columns]
    body = [
        [column.cell(row) if column.numeric else _escaped(column.cell(row)) for column in columns] for row in panel.rows
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, align, *body))


# --- columns -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column: its title (two lines at most), how a row's cell reads, whether it is a number, and shown even at 80 columns."""

    title: str
    cell: Callable[[Summary], str]
    numeric: bool = True
    essential: bool = False


def _columns(run: Run, panel: Panel, glyphs: Glyphs) -> tuple[Column, ...]:
    scale, unit = _unit(panel, glyphs)
    null = glyphs.null
    made = Column("removed\nof (all)", lambda s: _removed(s, null))
    built = Column("acc. %\nas built", lambda s: _percent(s.artifact_accuracy, null), essential=True)
    lost = Column("lost\n(added)", lambda s: _lost(s, null))
    proved: tuple[Column, ...] = (
        Column("acc.\n%", lambda s: _percent(s.accuracy, null), essential=True),
        Column("fold\nerror", lambda s: null if s.fold_error is None else f"{s.fold_error:.0e}"),
        *((built, lost) if panel.rounded else ()),
    )
    there = Column("outputs\ndiffer", lambda s: null if s.artifact_error is None else _difference(s.artifact_error))
    timed = (
        Column(f"latency {unit}\n[95 % interval]", lambda s: _latency(s.latency_ns, scale, null), essential=True),
        Column("speed-up\n[interval]", lambda s: _speedup(s.speedup, null), essential=True),
        Column("verdict", lambda s: _verdict(s, null), numeric=False, essential=True),
    )
    equal = (there, Column("status", lambda s: s.status, numeric=False, essential=True))
    agrees = Column("differs\nfrom 0", lambda s: null if s.difference is None else _difference(s.difference))
    return (
        Column("rung", rows.title, numeric=False, essential=True),
        *(() if panel.given else (made,)),
        Column("depth", lambda s: null if s.depth is None else str(s.depth), essential=True),
        Column("MMACs\n(useful)", lambda s: _macs(s, null)),
        Column("weights\nMB", lambda s: digits(s.weight_bytes / 1e6)),
        *((agrees,) if panel.given else proved),
        *(equal if run.virtual else timed),
        Column("see", lambda s: rows.marks(run, s).replace(" ", ""), numeric=False, essential=True),
    )


def _unit(panel: Panel, glyphs: Glyphs) -> tuple[float, str]:
    """Milliseconds, or microseconds where every latency is below one millisecond."""
    medians = [s.latency_ns.median for s in panel.rows if s.latency_ns]
    return (1e3, glyphs.micro) if medians and max(medians) < 1e6 else (1e6, "ms")


def _removed(s: Summary, null: str) -> str:
    if s.removed is None:
        return null
    return f"{s.removed}/{s.eligible}" + (f" ({s.activations})" if s.activations != s.eligible else "")


def _percent(fraction: float | None, null: str) -> str:
    return null if fraction is None else f"{100 * fraction:.1f}"


def _lost(s: Summary, null: str) -> str:
    """What an artifact loses of torch's accuracy, in percent of the examples, and how much more than rung 0's."""
    if s.artifact_loss is None:
        return null
    added = "" if s.artifact_loss_added is None else f" ({100 * s.artifact_loss_added:+.1f})"
    return f"{100 * s.artifact_loss:.1f}{added}"


def _macs(s: Summary, null: str) -> str:
    if s.macs is None or s.macs_useful is None:
        return null
    return f"{digits(s.macs / 1e6)} ({digits(s.macs_useful / 1e6)})"


def _difference(size: float) -> str:
    return f"{size:.0e}" if 0 < size < 0.01 else f"{size:.2g}"


def _latency(estimate: Estimate | None, scale: float, null: str) -> str:
    if estimate is None:
        return null
    return with_interval(estimate.median / scale, estimate.low, estimate.high, scale)


def _speedup(speedup: Speedup | None, null: str) -> str:
    if speedup is None:
        return null
    return with_interval(speedup.ratio, speedup.low, speedup.high, digits=thousandths)


def _verdict(s: Summary, null: str) -> str:
    if s.status != "ok":
        return s.status
    if s.speedup is None:
        return null
    return s.speedup.verdict or ""  # the reference has none


# --- on the console ------------------------------------------------------------------------------------------------


def _heading(run: Run) -> str:
    virtual = ", virtual" if run.virtual else ""
    return f"{rows.subject(run)}, device {run.device}{virtual}, run {run.run}"


def _table(run: Run, panel: Panel, glyphs: Glyphs, box: Box, width: int) -> Table:
    """Lay out a panel; where `width` is too narrow for all columns, the first leave that are not essential."""
    columns = list(_columns(run, panel, glyphs))
    while _width(columns, panel) > width and (spare := [column for column in columns if not column.essential]):
        columns.remove(spare[0])
    roomy = _width(columns, panel) + len(columns) <= width
    table = Table(box=box, show_edge=False, pad_edge=False, padding=(0, int(roomy), 0, 0), title_justify="left")
    table.title = Text(panel.title, style="bold")
    for column in columns:
        table.add_column(Text(column.title), justify="right" if column.numeric else "left")
    for name, ladder in panel.ladders.items():
        if len(panel.ladders) > 1:
            table.add_row(Text(name, style="bold"))
        for row in ladder:
            table.add_row(*(_styled(column.cell(row)) for column in columns))
        table.add_section()
    for row in panel.controls:
        table.add_row(*(_styled(column.cell(row)) for column in columns))
    return table


def _width(columns: Sequence[Column], panel: Panel) -> int:
    """Characters that the columns take, with one between them."""
    cells = [[*column.title.split("\n"), *map(column.cell, panel.rows)] for column in columns]
    return sum(max(map(len, column)) + 1 for column in cells) - 1


def _styled(cell: str) -> Text:
    return Text(printable(cell), style=COLOURS.get(cell, ""))


def _caption(run: Run, panel: Panel, glyphs: Glyphs) -> str:
    if run.virtual:
        return f"Virtual: what is compared is outputs and status, not times. {_job_words(panel)}"
    parts = (
        "Speed-up against rung 0, paired within blocks; latency: median of process medians.",
        _floor_words(panel, glyphs),
        _job_words(panel),
        f"Energy: {panel.rows[0].energy_status}.",
    )
    return " ".join(part for part in parts if part)


def _floor_words(panel: Panel, glyphs: Glyphs) -> str:
    """The A/A floor and what follows from it: `faster` and `slower` must exceed it, `same` needs it within 2 %."""
    several = len(panel.floors) > 1
    floors = [_speedup(floor, glyphs.null) + f" ({head.ladder})" * several for head, floor in panel.floors]
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
    (fewest, most), ended = panel.blocks, f"{panel.job.blocks} blocks, ended: {panel.job.reason}."
    if most - fewest <= 1:  # the block in which a budget ends holds some rows and not others
        return ended
    return f"{ended} Rows hold {fewest} to {most} blocks: decided ones leave early, so latencies may cover other stretches."


def _print_findings(run: Run, console: Console) -> None:
    for letter, finding in rows.lettered(run.findings):
        console.print()
        head = Text(f"{letter}  ", style="bold").append(finding.kind, style=_SEVERITY[finding.severity])
        console.print(head.append(f"  {finding.severity}: {_where(finding)}", style="dim"))
        console.print(Padding(Text(printable(f"{finding.cause} {finding.advice}")), (0, 0, 0, 3)))


def _where(finding: Finding) -> str:
    """The ladder, runtime and rungs that a finding is about, as far as it says so."""
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
        for keys, names, reason in rows.absences(panel, shown):
            yield f"{glyphs.null}  {keys.replace('latency_ns', 'latency')} of {names}{where}: {reason}"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join("\\" + char if char in "\\|<>*_`[" else char for char in text)

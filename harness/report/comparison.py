"""Two runs side by side, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.compare import SCHEMA, Comparison, Measured, Row
from harness.report import compared_energy
from harness.report.compared_energy import labelled, named
from harness.report.text import (
    ASCII,
    ASCII_HEAD,
    COLOURS,
    UNICODE,
    Glyphs,
    digits,
    printable,
    thousandths,
    unfilled,
    with_interval,
)
from harness.stats import SAME
from harness.stats.across import Across

_BAD = {"failed": "bold red", "skipped": "yellow"}


def to_json(compared: Comparison) -> dict[str, Any]:
    """The machine's contract: schema, a, b, unlike (what was waived), rows, floors, between, notes, conclusion."""
    tree = asdict(compared)
    for row, record in zip(tree["rows"], compared.rows, strict=True):
        row["lost"] = record.lost
    return {"schema": SCHEMA, **tree, "conclusion": conclusion(compared)}


def show(compared: Comparison, console: Console) -> None:
    """Print a comparison: a table per runtime and precision, floors, what to keep in mind, and what it comes to."""
    unfilled(console, lambda: _print(compared, console))


def _print(compared: Comparison, console: Console) -> None:
    plain = not console.is_terminal or not console.encoding.startswith("utf")
    glyphs, box = (ASCII, ASCII_HEAD) if plain else (UNICODE, SIMPLE_HEAD)
    for name, head in (("A", compared.a), ("B", compared.b)):
        console.print(Text(printable(f"{name}  run {head.run}, device {head.device}, {head.created}"), style="bold"))
    for rows in _panels(compared):
        for table in (_table(rows, glyphs, box), compared_energy.table(rows, glyphs, box)):
            if table is not None:
                console.print()
                console.print(table)
    console.print()
    for line in _below(compared, glyphs):
        console.print(Text(printable(line), style="dim"))
    console.print()
    console.print(Text(printable(conclusion(compared)), style="bold"))


def conclusion(compared: Comparison) -> str:
    """One line: how many rows are what, and whose doing that can be."""
    counted = [f"{n} {word}" for word in ("faster", "slower", "same", "unclear") if (n := compared.count(word))]
    said = f"B against A: {', '.join(counted) or 'nothing compared'}"
    if metered := [f"{n} {word}" for word in ("less", "more", "same", "unclear") if (n := compared.count_energy(word))]:
        said += f"; energy: {', '.join(metered)}"
    lost = [row.label for row in compared.rows if row.lost]
    if lost:
        said += f"; failed in B alone: {', '.join(lost)}"
    moved = [row for row in compared.rows if row.ratio and row.ratio.verdict in ("faster", "slower")]
    if moved and compared.between is not None and all(row.same_artifact for row in moved):
        said += ". What moved is the same artifact on a device with the same facts: it, or its neighbours, changed"
    return said + "."


def _panels(compared: Comparison) -> Iterator[tuple[Row, ...]]:
    for key in dict.fromkeys((row.runtime, row.precision) for row in compared.rows):
        yield tuple(row for row in compared.rows if (row.runtime, row.precision) == key)


def _table(rows: Sequence[Row], glyphs: Glyphs, box: Any) -> Table:
    scale, unit = _unit(rows, glyphs)
    table = Table(box=box, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left")
    table.title = Text(f"{rows[0].runtime} {rows[0].precision}", style="bold")
    columns: dict[str, Callable[[Row], str]] = {
        f"latency in A, {unit}\n[95 % interval]": lambda row: _latency(row.a, scale, glyphs.null),
        f"latency in B, {unit}\n[95 % interval]": lambda row: _latency(row.b, scale, glyphs.null),
        "speed-up, A to B\n[interval]": lambda row: _ratio(row.ratio, glyphs.null),
    }
    table.add_column("rung")
    table.add_column("artifact")
    for title in columns:
        table.add_column(title, justify="right")
    table.add_column("verdict")
    for label, row in labelled(rows):
        cells = (label, _artifact(row, glyphs.null), *(cell(row) for cell in columns.values()))
        word = _verdict(row)
        table.add_row(
            *(Text(printable(cell)) for cell in cells), Text(word, style={**COLOURS, **_BAD}.get(word, "dim"))
        )
    return table


def _unit(rows: Sequence[Row], glyphs: Glyphs) -> tuple[float, str]:
    medians = [side.latency_ns.median for row in rows for side in (row.a, row.b) if side and side.latency_ns]
    return (1e3, glyphs.micro) if medians and max(medians) < 1e6 else (1e6, "ms")


def _latency(side: Measured | None, scale: float, null: str) -> str:
    if side is None or side.latency_ns is None:
        return null
    return with_interval(side.latency_ns.median / scale, side.latency_ns.low, side.latency_ns.high, scale)


def _ratio(ratio: Across | None, null: str) -> str:
    return null if ratio is None else with_interval(ratio.ratio, ratio.low, ratio.high, digits=thousandths)


def _artifact(row: Row, null: str) -> str:
    return null if row.same_artifact is None else "same" if row.same_artifact else "other"


def _verdict(row: Row) -> str:
    """The verdict; of what was not compared, why in a word."""
    if row.ratio is not None:
        return row.ratio.verdict
    sides = [("A", row.a), ("B", row.b)]
    bad = [f"{side.status} in {run}" for run, side in sides if side is not None and side.status != "ok"]
    return bad[-1] if bad else f"only {'A' if row.b is None else 'B'}" if None in (row.a, row.b) else "ambiguous"


# --- below the table -----------------------------------------------------------------------------------------------


def _below(compared: Comparison, glyphs: Glyphs) -> Iterator[str]:
    yield (
        "Speed-up: latency in A over latency in B, unpaired, Student's t over blocks; intervals hold for all rows at once. "
        "Below 1: B is slower."
    )
    for runtime, floors in compared.floors.items():
        yield _floor_words(runtime, floors, glyphs)
    yield from compared_energy.below(compared, glyphs)
    yield from compared.notes
    for each in compared.unlike:
        yield f"{each.fact}: A {each.a}, B {each.b} (waived)"
    for reason in dict.fromkeys(row.reason for row in compared.rows if row.reason):
        yield f"{glyphs.null}  {named([row for row in compared.rows if row.reason == reason])}: {reason}"


def _floor_words(runtime: str, floors: tuple[float | None, float | None], glyphs: Glyphs) -> str:
    """The A/A floors of both runs and what follows from the larger."""
    a, b = floors
    if a is None or b is None:
        lacking = " and ".join(run for run, size in (("A", a), ("B", b)) if size is None)
        return f"A/A floor on {runtime}: none in {lacking}, so that every row is unclear."
    said = [f"{glyphs.plus_minus}{digits(100 * math.expm1(size), 2)} %" for size in (a, b)]
    words = (
        f"A/A floors on {runtime}: {said[0]} in A, {said[1]} in B; no difference below the larger is faster or slower"
    )
    return words + ", and none the same." * (max(a, b) > SAME) + "." * (max(a, b) <= SAME)

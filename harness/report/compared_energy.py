"""Energies of two runs side by side, and what rows of a comparison are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from harness.compare import Comparison, EnergyRatio, Row
from harness.findings.views import listing
from harness.records import ONNX, Interval
from harness.report.cells import joules
from harness.report.text import COLOURS, Glyphs, digits, printable, thousandths, with_interval


def table(rows: Sequence[Row], glyphs: Glyphs, box: Any) -> Table | None:
    """A table of the energies of a runtime and precision; None where none were compared."""
    found = [row.energy for row in rows if row.energy]
    if not found:
        return None
    scale, unit = joules((side.value for each in found for side in (each.a, each.b)), glyphs)
    made = Table(box=box, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left")
    of = " and ".join(dict.fromkeys(map(_scope, found)))
    made.title = Text(printable(f"energy per inference: {of}"), style="bold")
    made.add_column("rung")
    for title in (f"{unit} in A\n[95 % interval]", f"{unit} in B\n[95 % interval]", "saving, A to B\n[interval]"):
        made.add_column(Text(title), justify="right")
    made.add_column("energy")
    for label, row in labelled(rows):
        made.add_row(Text(printable(label)), *_cells(row.energy, scale, glyphs.null))
    return made


def _scope(ratio: EnergyRatio) -> str:
    rate = "" if ratio.rate_hz is None else f" at {digits(ratio.rate_hz)} Hz"
    return f"scope {ratio.scope} ({ratio.sensor}), {ratio.scenario}{rate}"


def _cells(ratio: EnergyRatio | None, scale: float, null: str) -> tuple[Text, ...]:
    if ratio is None:
        return tuple(Text(null) for _ in range(4))
    saved = with_interval(ratio.ratio, ratio.low, ratio.high, digits=thousandths)
    word = Text(ratio.verdict, style=COLOURS[ratio.verdict])
    return Text(_joules(ratio.a, scale)), Text(_joules(ratio.b, scale)), Text(saved), word


def _joules(found: Interval, scale: float) -> str:
    return with_interval(found.value / scale, found.low, found.high, scale)


def below(compared: Comparison, glyphs: Glyphs) -> Iterator[str]:
    """How energies were compared, and why those that were not, were not."""
    if any(row.energy for row in compared.rows):
        yield (
            "Saving: gross energy per inference in A over that in B; intervals are made of those of both runs (log-normal), "
            "and hold for all rows at once. What differs from job to job is not in them. Below 1: B takes more."
        )
    for reason in dict.fromkeys(row.energy_reason for row in compared.rows if row.energy_reason):
        rows = [row for row in compared.rows if row.energy_reason == reason]
        yield f"{glyphs.null}  energy of {named(rows)}: {reason}"


def labelled(rows: Sequence[Row]) -> Iterator[tuple[str, Row]]:
    """Rows with their labels; with their ladder's name where there are several."""
    several = len({row.ladder for row in rows if row.rung is not None}) > 1
    for row in rows:
        yield f"{row.ladder} {row.label}" if several and row.rung is not None else row.label, row


def named(rows: Sequence[Row]) -> str:
    """Rows in words: rungs by number, all else by name."""
    rungs = [row.rung for row in rows if row.rung is not None and row.method != ONNX]
    numbers = f"rung{'s' * (len(rungs) > 1)} {listing(rungs)}"
    others = (row.label for row in rows if row.rung is None or row.method == ONNX)
    return ", ".join([*([numbers] if rungs else []), *others])

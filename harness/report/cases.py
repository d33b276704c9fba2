"""Cases of many runs as one table: `harness show --where`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.report.text import COLOURS, Glyphs, boxed, digits, printable, thousandths, unfilled, with_interval

Row = Mapping[str, Any]


def show_cases(rows: Sequence[Row], count: int, damaged: Mapping[str, str], console: Console) -> None:
    """Print the newest of `count` cases, as rows of the store's index, and the runs that could not be read."""
    unfilled(console, lambda: _print(rows, count, damaged, console))


def _print(rows: Sequence[Row], count: int, damaged: Mapping[str, str], console: Console) -> None:
    glyphs, box = boxed(console)
    if rows:
        columns = _columns(glyphs)
        table = Table(box=box, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for title, numeric, _ in columns:
            table.add_column(
                Text(title), justify="right" if numeric else "left", no_wrap=numeric or title == "run", overflow="fold"
            )
        for row in rows:
            cells = (printable(cell(row)) for _, _, cell in columns)
            table.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in cells))
        console.print(table)
        console.print()
    console.print(Text(_caption(len(rows), count), style="dim"))
    for reason in damaged.values():  # they name the file
        console.print(Text(printable(f"Left out: {reason}"), style="yellow", overflow="fold"))


def _caption(shown: int, count: int) -> str:
    if count == 0:
        return "No case of any run is like that."
    cases = f"{count} case{'s' * (count > 1)}"
    return f"{cases}." if shown == count else f"The newest {shown} of {cases}; --json has them all."


def _columns(glyphs: Glyphs) -> tuple[tuple[str, bool, Callable[[Row], str]], ...]:
    """Titles, whether they are of numbers, and how a row's cell reads."""

    def word(name: str) -> Callable[[Row], str]:
        return lambda row: glyphs.null if row[name] is None else str(row[name])

    def scaled(name: str, scale: float) -> Callable[[Row], str]:
        return lambda row: glyphs.null if row[name] is None else digits(row[name] / scale)

    return (
        ("run", False, word("run")),
        ("device", False, word("device")),
        ("model", False, word("model")),
        ("ladder", False, word("ladder")),
        ("rung", True, word("rung")),
        ("depth", True, word("depth")),
        ("runtime", False, lambda row: f"{row['runtime']} {row['precision']}"),
        ("acc.\n%", True, lambda row: glyphs.null if row["accuracy"] is None else f"{100 * row['accuracy']:.1f}"),
        ("latency\nms", True, scaled("latency_ns", 1e6)),
        ("speed-up", True, lambda row: _speedup(row, glyphs)),
        ("verdict", False, lambda row: row["verdict"] or ("" if row["status"] == "ok" else row["status"])),
    )


def _speedup(row: Row, glyphs: Glyphs) -> str:
    if row["speedup"] is None:
        return glyphs.null
    return with_interval(row["speedup"], row["speedup_low"], row["speedup_high"], digits=thousandths)

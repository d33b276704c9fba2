"""The columns of `harness show --profile`, as many as a terminal has room for: those that say least leave first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.box import Box
from rich.table import Table
from rich.text import Text

from harness.findings.changes import Change, Total
from harness.records import Operation
from harness.report.text import Glyphs, digits, printable

_COLOURS = {"memory": "yellow", "overhead": "magenta", "compute": "green", "grew": "red", "shrank": "green"}


@dataclass(frozen=True)
class Column:
    """A column: its title, its cells, whether it is a number, and in which turn it goes where there is no room (0: never)."""

    title: str
    cells: Sequence[str]
    numeric: bool = True
    leaves: int = 0

    @property
    def width(self) -> int:
        """Characters that its widest line takes."""
        return max(map(len, (*self.title.split("\n"), *self.cells)), default=0)


def operator_columns(shown: Sequence[Operation], glyphs: Glyphs) -> list[Column]:
    """Return the columns of operators: what they are, how long they take, what holds them."""
    null = glyphs.null

    def cells(of: Callable[[Operation], str]) -> list[str]:
        return [of(each) for each in shown]

    return [
        Column("operator", cells(lambda each: each.name), numeric=False),
        Column("kind", cells(lambda each: each.kind), numeric=False, leaves=4),
        Column("layer", cells(lambda each: _layer(each, null)), numeric=False),
        Column(f"time\n{glyphs.micro}", cells(lambda each: _micro(each.time_ns, null))),
        Column("%", cells(lambda each: null if each.share is None else f"{100 * each.share:.1f}")),
        Column("MMACs", cells(lambda each: null if each.macs is None else digits(each.macs / 1e6)), leaves=3),
        Column("of\nGMAC/s", cells(lambda each: _whole(each.of_compute, null))),
        Column("of\nGB/s", cells(lambda each: _whole(each.of_copy, null)), leaves=2),
        Column("bound by", cells(lambda each: each.bound or null), numeric=False),
        Column("numbers,\nlayout", cells(lambda each: _words(each.dtype, each.layout)), numeric=False, leaves=1),
    ]


def change_columns(shown: Sequence[Change], glyphs: Glyphs) -> list[Column]:
    """Return the columns of layers before and after."""
    null = glyphs.null

    def sides(of: Callable[[Total], str]) -> list[str]:
        return [_beside(each, of, null) for each in shown]

    return [
        Column("layer", [each.layer or f"({each.kind})" for each in shown], numeric=False),
        Column("for", [str(len(each.replaced)) if len(each.replaced) > 1 else "" for each in shown]),
        Column("became", [each.what for each in shown], numeric=False),
        Column(f"time\n{glyphs.micro}", sides(lambda total: _micro(total.time_ns, null))),
        Column("gained", [signed(each.gained_ns) for each in shown]),
        Column("MMACs", sides(lambda total: null if total.macs is None else digits(total.macs / 1e6)), leaves=1),
        Column("of\nGMAC/s", sides(lambda total: _whole(total.of_compute, null)), leaves=2),
        Column("other kind,\nlayout, numbers", [_moved(each) for each in shown], numeric=False, leaves=3),
    ]


def laid(columns: Sequence[Column], box: Box, width: int) -> Table:
    """Lay columns out; where there is no room those leave that say least, and names are cut."""
    kept = [column for column in columns if any(cell.strip() for cell in column.cells) or not column.leaves]
    while _needs(kept) > width and any(column.leaves for column in kept):
        kept.remove(min((column for column in kept if column.leaves), key=lambda column: column.leaves))
    spare = max(width - _needs(kept), 0)
    table = Table(box=box, show_edge=False, pad_edge=False, padding=(0, int(spare >= len(kept)), 0, 0))
    for column in kept:
        table.add_column(
            Text(column.title),
            justify="right" if column.numeric else "left",
            no_wrap=True,
            overflow="crop",
            min_width=column.width if column.numeric else None,
        )
    for cells in zip(*(_cut(column, kept, width) for column in kept), strict=True):
        table.add_row(*(Text(printable(cell), style=_COLOURS.get(cell, "")) for cell in cells))
    return table


def _needs(columns: Sequence[Column]) -> int:
    """Characters that the columns take, with one between them; names may be cut, down to 20."""
    return sum(_least(column) + 1 for column in columns) - 1


def _least(column: Column) -> int:
    return column.width if column.numeric else min(column.width, 20)


def _cut(column: Column, kept: Sequence[Column], width: int) -> list[str]:
    """A column's cells, the middle of long names left out, as what the others leave allows."""
    if column.numeric or column.width <= 20:
        return list(column.cells)
    long = [each for each in kept if not each.numeric and each.width > 20]
    room = 20 + max(width - _needs(kept) - len(kept), 0) // len(long)
    return [
        cell if len(cell) <= room else f"{cell[: room - room // 2 - 2]}..{cell[-(room // 2) :]}"
        for cell in column.cells
    ]


def _layer(each: Operation, null: str) -> str:
    if each.layer is not None:
        return each.layer
    return null if each.macs == 0 else "unknown"


def _micro(ns: int | None, null: str) -> str:
    return null if ns is None else digits(ns / 1e3)


def _whole(fraction: float | None, null: str) -> str:
    return null if fraction is None else f"{fraction:.0%}"


def signed(ns: int) -> str:
    """A difference of times in microseconds, with its sign."""
    return f"{'+' * (ns > 0)}{'-' * (ns < 0)}{digits(abs(ns) / 1e3)}"


def _words(*words: str) -> str:
    return " ".join(word for word in words if word)


def _beside(change: Change, of: Callable[[Total], str], null: str) -> str:
    before, after = (null if total is None else of(total) for total in (change.before, change.after))
    return f"{before} > {after}"


def _moved(change: Change) -> str:
    if change.before is None or change.after is None:
        return ""
    pairs = {
        "kind": (change.before.kinds, change.after.kinds),
        "layout": (change.before.layouts, change.after.layouts),
        "dtype": (change.before.dtypes, change.after.dtypes),
    }
    return ", ".join(f"{'+'.join(pairs[what][0])} > {'+'.join(pairs[what][1])}" for what in change.moved)

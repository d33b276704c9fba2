"""A measured figure beside its bar, and a table of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of the page: what, the bar, what was measured, whether it holds (None: no bar), and a remark."""

    what: str
    bar: str
    measured: str
    ok: bool | None
    remark: str = ""


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table."""
    marks = {True: "yes", False: "**no**", None: ""}
    rows = [f"| {f.what} | {f.bar} | {f.measured} | {marks[f.ok]} | {f.remark} |" for f in figures]
    return "\n".join(["| figure | bar | measured | holds | remark |", "|---|---|---|---|---|", *rows])

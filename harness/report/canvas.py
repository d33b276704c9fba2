"""What figures share: where they may be written and how, looks of ladders, handles of keys, intervals about values."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from harness import store
from harness.errors import StoreError, UsageError
from harness.records import Run, Summary
from harness.report import rows, style
from harness.report.depth import SUFFIXES, UNDATED

_MARGIN = 0.09  # inches
_HANDLE, _CHARACTER = 0.75, 0.07  # inches that a handle of the key takes with its gaps, and a character
_MOST_COLUMNS = 6
_TITLE_PER_INCH = 11.5  # characters of a title
_HINT = "or give another file with --out."


def require_suffix(out: Path) -> None:
    """Raise UsageError unless `out` ends as a figure does."""
    if out.suffix not in SUFFIXES:
        raise UsageError(f"{out}: a figure ends in {', '.join(SUFFIXES)}, not in {out.suffix or 'nothing'}")


def require_measured(run: Run) -> None:
    """Raise StoreError unless something of the run has a latency that stands for a real one."""
    if run.virtual:
        what = "a virtual device's times stand for no real one, no figure"
        raise StoreError(f"run {run.run}: {what}", "Measure on a board.")
    if not rows.measured(run):
        raise StoreError(f"run {run.run}: nothing measured, no figure", f"See why with: harness show {run.run}")


def written(out: Path, draw: Callable[[], Figure], points: str) -> tuple[Path, ...]:
    """Draw in the project's style, write the figure and its points as CSV beside it; return both paths."""
    picture = io.BytesIO()
    with mpl.rc_context(style.RC):
        draw().savefig(picture, format=out.suffix[1:], metadata=UNDATED.get(out.suffix))
    store.write(out, picture.getvalue(), _HINT)
    store.write(out.with_suffix(".csv"), points.encode(), _HINT)
    return out, out.with_suffix(".csv")


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=_MARGIN, h_pad=_MARGIN))


def headed(figure: Figure, parts: Sequence[str], handles: Sequence[Any]) -> None:
    """Write the title above a figure and the key below it, each as wide as there is room."""
    width = figure.get_figwidth()
    whole = "  ·  ".join(style.plain(part) for part in parts if part)
    title = textwrap.fill(whole, int(_TITLE_PER_INCH * width), break_long_words=False, break_on_hyphens=False)
    figure.suptitle(title, x=_MARGIN / width, ha="left", fontsize=10.5, fontweight="bold")
    figure.legend(handles=handles, loc="outside lower left", ncols=_columns(handles, width), handleheight=1.2)


def _columns(handles: Sequence[Any], width: float) -> int:
    """The most columns of the key for which there is room, which it fills one after the other."""
    sizes = [_HANDLE + _CHARACTER * max(map(len, each.get_label().split("\n"))) for each in handles]
    for columns in range(min(len(sizes), _MOST_COLUMNS), 1, -1):
        if sum(float(max(part)) for part in np.array_split(sizes, columns)) <= width:
            return columns
    return 1


def looks(names: Sequence[str]) -> Mapping[str, style.Look]:
    """A look for each ladder, in order."""
    return {name: style.LADDERS[n % len(style.LADDERS)] for n, name in enumerate(dict.fromkeys(names))}


def handle(marker: str, label: str, **look: Any) -> Line2D:
    """A marker of the key with its words; long notes are broken."""
    text = style.plain(textwrap.fill(label, 56))
    return Line2D([], [], marker=marker, label=text, **{"linestyle": "none", **look})


def line(name: str, look: style.Look, label: str) -> Line2D:
    """A ladder of the key."""
    colour, marker, stroke = look
    return Line2D([], [], color=colour, marker=marker, linestyle=stroke, label=style.plain(f"{name}{label}"))


def reach(value: float, low: float | None, high: float | None) -> tuple[list[float], list[float]]:
    """How far an interval reaches below and above its value; nothing where there is none."""
    return [0.0 if low is None else value - low], [0.0 if high is None else high - value]


def missing(run: Run, drawn: Collection[tuple[str, str, str, str]]) -> str:
    """Which rows of a run are not among those that are drawn (runtime, precision, ladder, label); nothing where all are."""
    left: dict[tuple[str, str], list[str]] = {}
    for row in run.cases:
        if (row.runtime, row.precision, row.ladder, rows.label(row)) not in drawn:
            left.setdefault((f"{row.runtime} {row.precision}", row.ladder), []).append(rows.label(row))
    return "; ".join(f"{where} {ladder} {', '.join(labels)}" for (where, ladder), labels in left.items())


def decided(row: Summary) -> bool:
    """Whether a row's latency may carry a claim: it is a reference, or its verdict is not `unclear`."""
    if row.status != "ok" or row.latency_ns is None or row.speedup is None:
        return False
    return row.rung == 0 or row.speedup.verdict in ("faster", "slower", "same")

"""Useful MACs against latency, both logarithmic, under what the device can do at best.

    a row per runtime and precision:   everything, controls named, and the ceiling | the rungs alone, numbered

Thin diagonals are of equal rate (GMAC/s); bold is the ceiling that the agent measured (float32), below which nothing should lie.
A short dash is what a rung's executed bytes take at the speed of a copy, where that is more than its MACs take at the
ceiling; it bounds nothing where a cache holds what moves. A rung that moves along a diagonal gains or loses by MACs alone, one
that leaves it by its rate. Every interval is drawn. What is plotted lies beside the figure as CSV.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.errors import StoreError
from harness.records import Ceilings, Run
from harness.report import canvas, rows, scales, style
from harness.report.plotted import to_csv
from harness.report.rows import Panel
from harness.report.text import digits
from harness.report.work import Mark, ceilings, marks

_WIDE, _HIGH = 5.2, 4.0  # inches of an axes, about
_TITLE = 62  # characters
_WORD, _LINE = 90, 11  # points that a control's name takes


def draw(run: Run, out: Path) -> tuple[Path, ...]:
    """Draw useful MACs against latency to `out`, and its points to the CSV; return both.

    Raises UsageError for another suffix, StoreError when nothing is measured, no MACs are known or nothing can be written.
    """
    canvas.require_suffix(out)
    canvas.require_measured(run)
    table = tuple(mark for panel in rows.panels(run) for row in panel.rows for mark in marks(run, row))
    if not table:
        raise StoreError(f"run {run.run}: no MACs are known, no figure of them", f"See: harness show {run.run}")
    return canvas.written(out, lambda: _figure(run, table), to_csv(Mark, table))


# --- the figure ------------------------------------------------------------------------------------------------------


def _figure(run: Run, table: Sequence[Mark]) -> Figure:
    panels = [panel for panel in rows.panels(run) if _of(panel, table)]
    figure = canvas.blank(2 * _WIDE + 0.6, 1.5 + (_HIGH + 0.9) * len(panels))
    looks = canvas.looks([mark.ladder for mark in table if not mark.control])
    for pair, panel in zip(figure.subplots(len(panels), 2, squeeze=False), panels, strict=True):
        _whole(pair[0], panel, _of(panel, table), looks)
        rungs = [mark for mark in _of(panel, table) if not mark.control]
        if rungs:
            _close(pair[1], panel, rungs, looks)
        pair[1].set_visible(bool(rungs))
    title = [rows.subject(run), f"device {run.device}", "useful MACs against latency"]
    canvas.headed(figure, title, list(_key(run, table, looks)))
    return figure


def _of(panel: Panel, table: Sequence[Mark]) -> list[Mark]:
    return [mark for mark in table if (mark.runtime, mark.precision) == (panel.runtime, panel.precision)]


def _whole(axes: Axes, panel: Panel, table: Sequence[Mark], looks: Mapping[str, style.Look]) -> None:
    """Everything under the ceiling, controls named."""
    best = next((found for row in panel.rows if (found := ceilings(row))), None)
    axes.set_title(style.plain(f"{panel.title}\n{textwrap.fill(_about(panel, best), _TITLE)}"), loc="left")
    _drawn(axes, table, looks, [mark.ceiling_ms for mark in table if mark.ceiling_ms], best)
    _name(axes, [mark for mark in table if mark.control], style.BLACK)


def _close(axes: Axes, panel: Panel, table: Sequence[Mark], looks: Mapping[str, style.Look]) -> None:
    """The rungs alone, numbered, or only boxed where too many ladders are."""
    best = next((found for row in panel.rows if (found := ceilings(row))), None)
    axes.set_title("the rungs alone, closer", loc="left")
    _drawn(axes, table, looks, [], best)
    if canvas.crowded(looks):
        for mark in (mark for mark in table if mark.warning):
            box: dict[str, Any] = {"marker": "s", "ms": 9, "mfc": "none", "mec": style.WARNING, "mew": 1.3}
            axes.plot(mark.mmacs_useful, mark.latency_ms, zorder=4, **box)
        return
    spots = [_spot(axes, mark.mmacs_useful, mark.latency_ms) for mark in table]
    for mark, (right, up) in zip(table, style.beside(spots), strict=True):
        if not (mark.warning or canvas.spaced(mark.label, len(table) // len(looks))):
            continue
        _write(axes, mark, looks[mark.ladder][0], right, up)


def _spot(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """Where a point stands in the axes, in points of type, as far as that can be told before they are laid out."""
    places = []
    for value, (low, high), inches in ((x, axes.get_xlim(), _WIDE), (y, axes.get_ylim(), _HIGH)):
        places.append(72 * inches * math.log(value / low) / math.log(high / low))
    return places[0], places[1]


def _drawn(
    axes: Axes, table: Sequence[Mark], looks: Mapping[str, style.Look], more: Sequence[float], best: Ceilings | None
) -> None:
    """Axes with their diagonals and the ceiling, and what there is of the table."""
    _scales(axes, table, more)
    if best and best.macs_per_s:
        _ceiling(axes, best.macs_per_s, contended=best.contended)
    _rates(axes)
    for name, (colour, marker, line) in looks.items():
        ladder = [mark for mark in table if mark.ladder == name and not mark.control]
        for pair in pairwise(ladder):
            if int(pair[0].label) + 1 == int(pair[1].label):  # no line bridges a rung that is not there
                xs, ys = [mark.mmacs_useful for mark in pair], [mark.latency_ms for mark in pair]
                axes.plot(xs, ys, color=colour, linestyle=line, lw=0.9, alpha=0.7, zorder=2)
        for mark in ladder:
            _point(axes, mark, colour, marker)
    for mark in (mark for mark in table if mark.control):
        _point(axes, mark, style.BLACK, "D")


def _about(panel: Panel, best: Ceilings | None) -> str:
    """What is known of the ceiling, or why nothing is."""
    if best is None:
        return f"no ceiling drawn: {_missing(panel)}"
    if not best.macs_per_s:
        return f"no ceiling drawn: {best.reason}"
    other = "" if panel.precision == "fp32" else f", this is {panel.precision}"
    shared = "; measured beside somebody else, too low" * best.contended
    return f"ceiling {digits(best.macs_per_s / 1e9)} GMAC/s (a matrix product, float32{other}){shared}"


def _missing(panel: Panel) -> str:
    reasons = dict.fromkeys(
        row.reasons.get("executed.of_compute") or row.reasons.get("executed", "") for row in panel.rows
    )
    return next(filter(None, reasons), "an older version measured none")


def _scales(axes: Axes, table: Sequence[Mark], more: Sequence[float]) -> None:
    """Logarithmic axes over what is drawn, a little more at each end."""
    xs = [mark.mmacs_useful for mark in table]
    found = (each for m in table for each in (m.latency_ms, m.low_ms, m.high_ms, _by_bytes(m)))
    ys = [*more, *(each for each in found if each)]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*scales.room(xs))
    axes.set_ylim(*scales.room(ys))
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        axis.set_major_locator(FixedLocator(scales.ticks(low, high)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.grid(visible=True, axis="both")
    axes.set_xlabel("useful MACs per inference (millions)" + f", batch {table[0].batch}" * (table[0].batch > 1))
    axes.set_ylabel("latency (ms), 95 % interval")


def _by_bytes(mark: Mark) -> float | None:
    """What its bytes take, where that is more than its MACs take."""
    return mark.copy_ms if mark.copy_ms and mark.copy_ms > (mark.ceiling_ms or math.inf) else None


def _rates(axes: Axes) -> None:
    """Diagonals of equal rate, each with its GMAC/s inside the axes, where it leaves them."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for rate in scales.ticks(left / top * 1.02, right / bottom / 1.02):
        axes.plot([left, right], [left / rate, right / rate], color=style.GREY, lw=0.7, ls=(0, (1, 3)), zorder=1)
        x = min(right, top * rate)
        axes.annotate(
            f"{rate:.4g}",
            (x, x / rate),
            (-4, -4),
            textcoords="offset points",
            ha="right",
            va="top",
            color=style.GREY,
            fontsize=7.5,
            path_effects=style.HALO,
        )


def _ceiling(axes: Axes, macs_per_s: float, *, contended: bool) -> None:
    """The least latency that MACs can have, and the room below it, where nothing should be."""
    left, right = axes.get_xlim()
    bottom, _ = axes.get_ylim()
    edge = [1e9 * each / macs_per_s for each in (left, right)]
    axes.plot([left, right], edge, color=style.BLACK, lw=1.6, linestyle="--" if contended else "-", zorder=2)
    axes.fill_between([left, right], edge, [bottom, bottom], color=style.BAND, lw=0, zorder=0)


def _point(axes: Axes, mark: Mark, colour: str, marker: str) -> None:
    """One row with its interval; hollow where its verdict is unclear, a cross where it failed; its dash for bytes."""
    face = "white" if mark.verdict == "unclear" else colour
    marker = "x" if mark.status == "failed" else marker
    bars = canvas.reach(mark.latency_ms, mark.low_ms, mark.high_ms)
    axes.errorbar(
        mark.mmacs_useful, mark.latency_ms, bars, color=colour, marker=marker, mfc=face, linestyle="none", zorder=3
    )
    if bound := _by_bytes(mark):
        axes.plot(mark.mmacs_useful, bound, marker="_", ms=9, mew=1.6, color=colour, zorder=3)


def _name(axes: Axes, controls: Sequence[Mark], colour: str) -> None:
    """Names of controls, towards the middle of the axes."""
    middle = math.sqrt(math.prod(axes.get_xlim()))
    spots = [_spot(axes, mark.mmacs_useful, mark.latency_ms) for mark in controls]
    taken: list[tuple[float, float]] = []
    for mark, (right, up) in zip(controls, spots, strict=True):
        near = [height for x, height in taken if abs(x - right) < _WORD and abs(height - up) < _LINE]
        taken.append((right, max(near) + _LINE if near else up))
        _write(axes, mark, colour, 8 if mark.mmacs_useful < middle else -8, taken[-1][1] - up)


def _write(axes: Axes, mark: Mark, colour: str, right: float, up: float) -> None:
    """A row's name so far from its place, boxed where it is a warning."""
    box = {"boxstyle": "square,pad=0.18", "facecolor": "white", "edgecolor": style.WARNING, "linewidth": 1.1}
    axes.annotate(
        style.plain(mark.label),
        (mark.mmacs_useful, mark.latency_ms),
        (right, up),
        textcoords="offset points",
        ha="center" if not mark.control else "left" if right > 0 else "right",
        va="center",
        fontsize=8,
        color=colour,
        bbox=box if mark.warning and not mark.control else None,
        path_effects=style.HALO,
        zorder=5,
    )


def _key(run: Run, table: Sequence[Mark], looks: Mapping[str, style.Look]) -> Iterator[Line2D]:
    """Handles for what stands in the figure, and for nothing else."""
    for name, look in looks.items():
        yield canvas.line(name, look, "" if canvas.crowded(looks) else ", rungs numbered")
    if any(mark.control for mark in table):
        yield canvas.handle("D", "untrained latency control", color=style.BLACK)
    yield canvas.handle("", "equal rate, GMAC/s", color=style.GREY, linestyle=(0, (1, 3)), lw=0.9)
    if any(mark.ceiling_ms for mark in table):
        yield canvas.handle("", "ceiling of this device, float32", color=style.BLACK, linestyle="-", lw=1.6)
    if any(map(_by_bytes, table)):
        told = "its bytes at the speed of a copy (no bound where a cache holds them)"
        yield canvas.handle("_", told, color=style.BLACK, ms=9, mew=1.6)
    if any(mark.verdict == "unclear" for mark in table):
        yield canvas.handle("o", "hollow: verdict unclear", color=style.BLACK, mfc="white")
    if any(mark.status == "failed" for mark in table):
        yield canvas.handle("x", "cross: failed after these blocks", color=style.BLACK)
    if any(mark.warning for mark in table):
        yield canvas.handle("s", style.BOXED, color=style.WARNING, mfc="white", mew=1.3, ms=9)
    if left := canvas.missing(run, {(mark.runtime, mark.precision, mark.ladder, mark.label) for mark in table}):
        yield canvas.handle("", f"not drawn, no latency or no MACs: {left}")

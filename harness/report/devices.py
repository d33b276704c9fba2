"""Latency against depth, device beside device: absolute above, relative to full depth below.

    a column per device, runtime and precision; ladders, controls; the line fitted to decided rungs, ms per layer, and the
    rung where it breaks

What is relative is one over the speed-up, which is paired within blocks: its interval is not the one of the latencies. Depth
falls from left to right, and the axes of the lower row are one. What is plotted lies beside the figure as CSV.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness import stats
from harness.errors import StoreError
from harness.records import Run
from harness.report import canvas, rows, scales, style
from harness.report.places import Fits, Place, fitted
from harness.report.plotted import to_csv
from harness.report.text import digits

_COLUMNS = 4  # panels side by side
_ABSOLUTE, _RELATIVE = 3.3, 2.9  # inches of the two axes of a panel, with their words
_LINE, _CHARACTER = 0.15, 0.066  # inches that a line of what fits say is high, and a character of it wide


def draw(runs: Sequence[Run], out: Path) -> tuple[Path, ...]:
    """Draw latency against depth per device and runtime of one or several runs to `out`; return it and the points.

    Raises UsageError for another suffix, StoreError when nothing is measured, no depth is known or nothing can be written.
    """
    canvas.require_suffix(out)
    for run in runs:
        canvas.require_measured(run)
    table, fits = fitted(runs)
    if not table:
        raise StoreError(f"run {runs[0].run}: no depth is known, no figure of it", f"See: harness show {runs[0].run}")
    return canvas.written(out, lambda: _figure(runs, table, fits), to_csv(Place, table))


# --- the figure ------------------------------------------------------------------------------------------------------


def _figure(runs: Sequence[Run], table: Sequence[Place], fits: Fits) -> Figure:
    panels = list(dict.fromkeys(place.panel for place in table))
    wide = min(_COLUMNS, len(panels))
    bands = -(-len(panels) // wide)
    width = max(7.0, 4.1 * wide + 0.4)
    looks = canvas.looks([place.ladder for place in table if not place.control])
    told = {panel: _told(panel, table, looks, fits, width / wide) for panel in panels}
    lines = max(text.count("\n") + 1 for text in told.values())
    high = _ABSOLUTE + _LINE * max(0, lines - 3)
    figure = canvas.blank(width, 1.4 + (high + _RELATIVE) * bands)
    grid = figure.subplots(2 * bands, wide, squeeze=False, sharex=True, height_ratios=[high, _RELATIVE] * bands)
    for axes in grid.flat:
        axes.set_visible(False)
    grid[0][0].set_xlim(max(p.depth for p in table) + 0.7, min(p.depth for p in table) - 0.7)
    several = len({run.run for run in runs}) > len({run.device for run in runs})
    for n, panel in enumerate(panels):
        mine = [place for place in table if place.panel == panel]
        above, below = (grid[2 * (n // wide) + row][n % wide] for row in (0, 1))
        above.set_title(canvas.fitted(_title(mine[0], several=several), width / wide), loc="left")
        _scales(above, below, mine, table, (_LINE * lines + 0.3) / (high - 0.8))
        _absolute(above, mine, looks, {name: fits.get((*panel, name)) for name in looks})
        _say(above, told[panel])
        _relatively(below, mine, looks)
        if n % wide == 0:
            above.set_ylabel("latency (ms), 95 % interval")
            below.set_ylabel("latency relative to full depth")
    subject = ", ".join(dict.fromkeys(rows.subject(run) for run in runs))
    canvas.headed(figure, [subject, "latency against depth"], list(_key(runs, table, looks, fits)))
    return figure


def _title(of: Place, *, several: bool) -> str:
    threads = f"{of.threads} thread" + "s" * (of.threads != 1)
    run = f", run {of.run}" if several else ""
    return f"{of.device}{run}\n{of.runtime} {of.precision}, {threads}, batch {of.batch}"


def _scales(above: Axes, below: Axes, mine: Sequence[Place], table: Sequence[Place], free: float) -> None:
    """An axis of its own above, with room for words; below one for all panels: that is what they are compared by."""
    for axes in (above, below):
        axes.set_visible(True)
    latencies = [each for p in mine for each in (p.low_ms, p.latency_ms, p.high_ms) if each is not None]
    scales.limit(above, latencies, free)
    relative = [each for p in table for each in (p.relative_low, p.relative, p.relative_high) if each is not None]
    scales.limit(below, [1.0, *relative], 0.08)
    above.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9, min_n_ticks=1))
    above.tick_params(labelbottom=False)


def _absolute(
    axes: Axes, table: Sequence[Place], looks: Mapping[str, style.Look], fits: Mapping[str, stats.Fit | None]
) -> None:
    for n, (name, look) in enumerate(looks.items()):
        ladder = [p for p in table if p.ladder == name and not p.control]
        heights = [float("nan") if p.latency_ms is None else p.latency_ms for p in ladder]
        axes.plot([p.x for p in ladder], heights, color=look[0], linestyle=look[2], lw=0.8, alpha=0.7, zorder=2)
        for p in ladder:
            _mark(axes, p, look, p.latency_ms, p.low_ms, p.high_ms)
            if canvas.crowded(looks):
                _ring(axes, p)
            elif p.warning or canvas.spaced(p.label, len(ladder)):
                _number(axes, p, look[0], p.latency_ms, p.high_ms if n % 2 == 0 else p.low_ms, 1 - 2 * (n % 2))
        if (fit := fits.get(name)) is not None and any(p.decided for p in ladder):
            _fit_line(axes, fit, [p for p in ladder if p.decided], look)
    _controls(axes, table, [(p, p.latency_ms, p.low_ms, p.high_ms) for p in table if p.control])


def _say(axes: Axes, told: str) -> None:
    """What fits say, above what is drawn."""
    place: dict[str, Any] = {"transform": axes.transAxes, "va": "top", "fontsize": 8, "zorder": 6}
    axes.text(0.02, 0.99, style.plain(told), path_effects=style.HALO, **place)


def _told(
    panel: tuple[object, ...], table: Sequence[Place], looks: Mapping[str, style.Look], fits: Fits, inches: float
) -> str:
    """What the fits of a panel say, a paragraph each; ladders without one share theirs."""
    there = dict.fromkeys(p.ladder for p in table if p.panel == panel and not p.control)
    found = {name: fits.get((*panel, name)) for name in looks if name in there}
    lines = [_words(name if len(found) > 1 else "", fit) for name, fit in found.items() if fit is not None]
    without = [name for name, fit in found.items() if fit is None]
    if without:
        of = "" if len(found) == 1 else f": {', '.join(without)}" if lines else ", in all ladders"
        lines.append(f"no fit: fewer than {stats.LEAST_LINE} decided rungs{of}")
    return "\n".join(textwrap.fill(line, int((inches - 0.7) / _CHARACTER), subsequent_indent="   ") for line in lines)


def _words(name: str, fit: stats.Fit) -> str:
    """What a fit says: what a layer costs on either side of its break."""
    of = f"{name}: " if name else ""
    told = [_slope(each) for each in fit.slopes]
    if fit.breaks_at is None:
        return f"{of}{told[0]} ms per layer"
    return f"{of}{told[0]} ms per layer to depth {fit.breaks_at:g}, below it {told[1]}"


def _slope(found: stats.Slope) -> str:
    """A slope with its interval, all to the digits that the interval leaves it."""
    _, _, decimals = digits(found.high - found.low or abs(found.value), 2).partition(".")
    value, low, high = (f"{each:.{len(decimals)}f}" for each in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]".replace("-", "\u2212")


def _fit_line(axes: Axes, fit: stats.Fit, ladder: Sequence[Place], look: style.Look) -> None:
    ends = [max(p.depth for p in ladder), min(p.depth for p in ladder)]
    xs = ends if fit.breaks_at is None else [ends[0], fit.breaks_at, ends[1]]
    between = [a + (b - a) * n / 40 for a, b in pairwise(xs) for n in range(41)]  # a logarithmic axis bends it
    axes.plot(between, [fit.at(x) for x in between], color=look[0], linestyle="-", lw=4.5, alpha=0.25, zorder=1)
    if fit.breaks_at is not None:
        axes.plot(
            *([fit.breaks_at], [fit.at(fit.breaks_at)]),
            marker="|",
            ms=18,
            mew=1.2,
            color=style.BLACK,
            zorder=1.5,
        )


def _relatively(axes: Axes, table: Sequence[Place], looks: Mapping[str, style.Look]) -> None:
    axes.axhline(1.0, color=style.GREY, lw=0.8, zorder=1)
    axes.set_xlabel("depth (layers on the longest path)")
    axes.tick_params(labelbottom=True)
    for name, look in looks.items():
        ladder = [p for p in table if p.ladder == name and not p.control]
        heights = [float("nan") if p.relative is None else p.relative for p in ladder]
        axes.plot([p.x for p in ladder], heights, color=look[0], linestyle=look[2], zorder=2)
        for p in ladder:
            _mark(axes, p, look, p.relative, p.relative_low, p.relative_high)
    _controls(axes, table, [(p, p.relative, p.relative_low, p.relative_high) for p in table if p.control])


def _mark(axes: Axes, p: Place, look: style.Look, value: float | None, low: float | None, high: float | None) -> None:
    """One place with its interval; hollow when it is not decided, a cross when the case failed in the end."""
    if value is None:
        return
    colour, marker, _ = look
    marker = "x" if p.status == "failed" else marker
    face = colour if p.decided or p.control else "white"
    axes.errorbar(
        p.x, value, canvas.reach(value, low, high), color=colour, marker=marker, mfc=face, linestyle="none", zorder=3
    )


def _ring(axes: Axes, p: Place) -> None:
    """A box about what is a warning, where there is no room for numbers."""
    if p.warning and p.latency_ms is not None:
        axes.plot(p.x, p.latency_ms, marker="s", ms=9, mfc="none", mec=style.WARNING, mew=1.3, zorder=4)


def _number(axes: Axes, p: Place, colour: str, value: float | None, edge: float | None, sign: int) -> None:
    if value is None:
        return
    box = {"boxstyle": "square,pad=0.18", "facecolor": "white", "edgecolor": style.WARNING, "linewidth": 1.3}
    axes.annotate(
        p.label,
        (p.x, value if edge is None else edge),
        (0, 9 * sign),
        textcoords="offset points",
        ha="center",
        va="center",
        color=colour,
        fontsize=8,
        bbox=box if p.warning else None,
        path_effects=style.HALO,
        zorder=5,
    )


def _controls(
    axes: Axes,
    table: Sequence[Place],
    found: Sequence[tuple[Place, float | None, float | None, float | None]],
) -> None:
    """Controls as diamonds with their names towards the middle; those that would collide are moved apart."""
    deep, shallow = max(p.depth for p in table), min(p.depth for p in table)
    known = [(p, value, low, high) for p, value, low, high in found if value is not None]
    for towards in (1, -1):
        side = [each for each in known if (1 if 2 * each[0].depth >= deep + shallow else -1) == towards]
        heights = scales.apart(axes, [value for _, value, _, _ in side], 0.06)
        for (p, value, low, high), height in zip(side, heights, strict=True):
            _mark(axes, p, (style.BLACK, "D", "-"), value, low, high)
            style.name_beside(axes, (p.x, height), p.label, towards, size=8)


def _key(
    runs: Sequence[Run],
    table: Sequence[Place],
    looks: Mapping[str, style.Look],
    fits: Fits,
) -> Iterator[Line2D]:
    """Handles for what stands in the figure, and for nothing else."""
    for name, look in looks.items():
        yield canvas.line(name, look, "" if canvas.crowded(looks) else ", rungs numbered")
    if any(p.control for p in table):
        yield canvas.handle("D", "untrained latency control", color=style.BLACK)
    if any(fits.values()):
        told = "fit to decided rungs, slopes with 95 % intervals"
        yield canvas.handle("", told, color=style.GREY, linestyle="-", lw=4.5, alpha=0.4)
    if any(fit and fit.breaks_at is not None for fit in fits.values()):
        yield canvas.handle("|", "where the fit breaks", color=style.BLACK, ms=12)
    if any(not (p.decided or p.control) for p in table):
        yield canvas.handle("o", "hollow: not decided, not in the fit", color=style.BLACK, mfc="white")
    if any(p.status == "failed" and p.latency_ms is not None for p in table):
        yield canvas.handle("x", "cross: failed after these blocks", color=style.BLACK)
    if any(p.warning for p in table):
        yield canvas.handle("s", style.BOXED, color=style.WARNING, mfc="white", mew=1.3, ms=9)
    for run in runs:
        mine = [p for p in table if p.run == run.run and p.latency_ms is not None]
        drawn = {(p.runtime, p.precision, p.ladder, p.label) for p in mine}
        if left := canvas.missing(run, drawn):
            yield canvas.handle("", f"not measured, or of unknown depth: {run.device} {left}")

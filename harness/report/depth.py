"""The figure this program is for: depth against latency, with MACs and weight bytes beside it.

    latency, per runtime and precision | MACs          | a paper's table, where asked for,
    ladders, controls, A/A floor       | weight bytes  | on an axis of its own

Depth falls from left to right, as a ladder climbs. Rungs of equal depth stand side by side, in order of rung. Every
interval is drawn; an unclear verdict is a hollow marker, a case that failed after good blocks a cross; the number of a
rung with fewer layers and no more speed is boxed; letters are those of the table's findings. What is plotted lies
beside the figure as CSV. A run with nothing measured has no figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from harness import stats
from harness.errors import StoreError
from harness.records import Run
from harness.report import canvas, papers, rows, scales, style
from harness.report.plotted import to_csv
from harness.report.points import Point, points
from harness.report.rows import Panel

_HEIGHT = 5.6


def draw(run: Run, out: Path, published: papers.Published | None = None, also: Sequence[str] = ()) -> tuple[Path, ...]:
    """Draw the figure to `out`, and beside it with the suffixes `also`, and its points to the CSV; return `out` and CSV.

    Raises UsageError for another suffix, StoreError when nothing is measured or nothing can be written.
    """
    canvas.require_suffix(out)
    canvas.require_measured(run)
    table = tuple(points(run))
    if not table:
        why = dict.fromkeys(row.reasons.get("depth", "unknown") for row in run.cases)
        raise StoreError(
            f"run {run.run}: no depth is known, no figure of it: {'; '.join(why)}", f"See: harness show {run.run}"
        )
    return canvas.written(out, lambda: _figure(run, table, published), to_csv(Point, table), also)


def _figure(run: Run, table: Sequence[Point], published: papers.Published | None) -> Figure:
    panels = rows.panels(run)
    widths = [*(5.0 if len(panels) == 1 else 4.3 for _ in panels), 2.8, *([4.3] if published else [])]
    figure = canvas.blank(sum(widths) + 0.4, _HEIGHT)
    grid = figure.add_gridspec(2, len(widths), width_ratios=widths)
    shared: Axes | None = None
    for column, panel in enumerate(panels):
        shared = figure.add_subplot(grid[:, column], sharex=shared)
        _depth_axis(shared, table)
        _latency(shared, panel, _of(panel, table), titled=len(panels) > 1)
    if shared is not None:
        _costs(figure, grid, len(panels), shared, _of(panels[0], table))
    if published:
        _published(figure.add_subplot(grid[:, -1]), published)
    canvas.headed(figure, _title(run, panels), list(_key(run, panels, table)))
    return figure


def _of(panel: Panel, table: Sequence[Point]) -> list[Point]:
    return [p for p in table if (p.runtime, p.precision) == (panel.runtime, panel.precision)]


def _title(run: Run, panels: Sequence[Panel]) -> list[str]:
    """What the figure is of."""
    device = f"device {run.device}"
    verdict = f"run: {run.verdict.state}" if run.verdict else ""
    regime = f"regime: {run.plan.regime}" if run.plan.regime != "burst" else ""
    return [rows.subject(run), device, panels[0].title if len(panels) == 1 else "", regime, verdict]


# --- latency -------------------------------------------------------------------------------------------------------


def _depth_axis(axes: Axes, table: Sequence[Point]) -> None:
    axes.set_xlim(max(p.depth for p in table) + 0.7, min(p.depth for p in table) - 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    axes.set_xlabel("depth (convolutions and linear layers on the longest path)")


def _latency(axes: Axes, panel: Panel, table: Sequence[Point], *, titled: bool) -> None:
    above = style.plain(panel.title) + "\n" if titled else ""
    axes.set_title(f"{above}latency (ms): median of process medians, 95 % interval", loc="left")
    for middle, size in _floors(panel):
        axes.axhspan(middle * math.exp(-size), middle * math.exp(size), color=style.BAND, lw=0, zorder=0)
    looks = _styles(table)
    for n, (name, (colour, marker, line)) in enumerate(looks.items()):
        ladder = [p for p in table if p.ladder == name and not p.control]
        axes.plot([p.x for p in ladder], _broken(p.latency_ms for p in ladder), color=colour, linestyle=line, zorder=2)
        for p in ladder:
            if p.latency_ms is not None:
                _mark(axes, p, colour, marker)
            if p.latency_ms is not None and (p.warning or canvas.spaced(p.label, len(ladder))):
                _number(axes, p, colour, upwards=n % 2 == 0, crowded=canvas.crowded(looks))
    controls = [p for p in table if p.control and p.latency_ms is not None]
    for p in controls:
        _mark(axes, p, style.BLACK, "D")
    scales.limit(axes, [each for p in table for each in (p.low_ms, p.latency_ms, p.high_ms) if each is not None], 0.138)
    _name(axes, controls)


def _broken(values: Iterable[float | None]) -> list[float]:
    """Heights of a line, which breaks where there is none."""
    return [math.nan if value is None else value for value in values]


def _floors(panel: Panel) -> Iterator[tuple[float, float]]:
    """Latency in ms of each reference with the size of its A/A floor on the log scale."""
    for head, floor in panel.floors:
        size = stats.floor_size(floor)
        if size is not None and head.latency_ns:
            yield head.latency_ns.median / 1e6, size


def _mark(axes: Axes, p: Point, colour: str, marker: str) -> None:
    """One point with its interval; hollow when its verdict is unclear, a cross when the case failed in the end."""
    assert p.latency_ms is not None
    face = "white" if p.verdict == "unclear" else colour
    marker = "x" if p.status == "failed" else marker
    bars = canvas.reach(p.latency_ms, p.low_ms, p.high_ms)
    axes.errorbar(p.x, p.latency_ms, bars, color=colour, marker=marker, markerfacecolor=face, zorder=3)


def _number(axes: Axes, p: Point, colour: str, *, upwards: bool, crowded: bool) -> None:
    """The rung's number beyond its interval, boxed where it is a warning; beyond that the letters of its findings.

    Where too many ladders are, numbers would lie on each other: only the boxes are left, about the marks.
    """
    if crowded:
        if p.warning:
            axes.plot(p.x, p.latency_ms or 0.0, marker="s", ms=9, mfc="none", mec=style.WARNING, mew=1.3, zorder=4)
        return
    edge, sign = (p.high_ms, 1) if upwards else (p.low_ms, -1)
    box = {"boxstyle": "square,pad=0.18", "facecolor": "white", "edgecolor": style.WARNING, "linewidth": 1.3}
    place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "path_effects": style.HALO}
    spot = (p.x, p.latency_ms if edge is None else edge)
    axes.annotate(p.label, spot, (0, 9 * sign), color=colour, bbox=box if p.warning else None, zorder=5, **place)
    axes.annotate(p.letters, spot, (0, 21 * sign), color=style.GREY, fontsize=8, zorder=5, **place)


def _name(axes: Axes, controls: Sequence[Point]) -> None:
    """Names of controls, towards the middle of the axes; those that would collide are moved apart."""
    left, right = axes.get_xlim()
    for towards in (1, -1):
        side = [p for p in controls if (1 if abs(p.x - left) <= abs(p.x - right) else -1) == towards]
        heights = scales.apart(axes, [p.latency_ms or 0 for p in side], 0.045)
        for p, height in zip(side, heights, strict=True):
            style.name_beside(axes, (p.x, height), p.label, towards)


# --- beside it -----------------------------------------------------------------------------------------------------


def _costs(figure: Figure, grid: GridSpec, column: int, shared: Axes, table: Sequence[Point]) -> None:
    """MACs over weight bytes: the same for every runtime, since they belong to the folded network."""
    macs, weights = (figure.add_subplot(grid[row, column], sharex=shared) for row in (0, 1))
    for name, (colour, marker, line) in _styles(table).items():
        ladder = [p for p in table if p.ladder == name and not p.control]
        xs = [p.x for p in ladder]
        look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": line}
        macs.plot(xs, _broken(p.mmacs for p in ladder), **look, alpha=0.5, mfc="white")
        macs.plot(xs, _broken(p.mmacs_useful for p in ladder), **look)
        weights.plot(xs, [p.weight_mb for p in ladder], **look)
    for p in table:
        if p.control:
            macs.plot(p.x, _broken([p.mmacs_useful])[0], marker="D", color=style.BLACK)
            weights.plot(p.x, p.weight_mb, marker="D", color=style.BLACK)
    for axes, title in ((macs, "MACs per inference (millions)"), (weights, "weights read per inference (MB)")):
        axes.set_title(title, loc="left")
        axes.set_ylim(0, 1.12 * axes.get_ylim()[1])
    macs.tick_params(labelbottom=False)
    weights.set_xlabel("depth")


def _published(axes: Axes, table: papers.Published) -> None:
    """A paper's latencies relative to its own row 0, so that one axis holds all its devices."""
    for (device, latency), (colour, marker, line) in zip(table.latency_ms.items(), style.DEVICES, strict=False):
        relative, name = [value / latency[0] for value in latency], f"{device}, {latency[0]:g} ms"
        axes.plot(table.removed, relative, color=colour, marker=marker, linestyle=line, ms=4.5, lw=1.1, label=name)
    axes.set_title(f"published: {table.title}\n{papers.CAPTION}", loc="left")
    axes.set_xlabel(f"activations removed, of {table.activations}")
    axes.set_ylabel("latency relative to the paper's own row 0")
    axes.set_ylim(bottom=0)
    axes.legend(
        title="row 0 took", title_fontsize=8.5, loc="lower center", ncols=2, columnspacing=1.0, handlelength=2.4
    )


# --- the key -------------------------------------------------------------------------------------------------------


def _key(run: Run, panels: Sequence[Panel], table: Sequence[Point]) -> Iterator[Line2D | Patch]:
    """Handles for what stands in the figure, and for nothing else."""
    looks = _styles(table)
    for name, look in looks.items():
        yield canvas.line(name, look, "" if canvas.crowded(looks) else ", rungs numbered")
    if any(p.control for p in table):
        yield canvas.handle("D", "untrained latency control", color=style.BLACK)
    if any(p.verdict == "unclear" for p in table):
        yield canvas.handle("o", "hollow: verdict unclear", color=style.BLACK, mfc="white")
    if any(p.status == "failed" and p.latency_ms is not None for p in table):
        yield canvas.handle("x", "cross: failed after these blocks", color=style.BLACK)
    if any(p.warning for p in table):
        yield canvas.handle("s", style.BOXED, color=style.WARNING, mfc="white", mew=1.3, ms=9)
    sizes = [size for panel in panels for _, size in _floors(panel)]
    if sizes:
        yield Patch(color=style.BAND, label=f"A/A floor of rung 0, ±{100 * math.expm1(max(sizes)):.1f} %")
    yield canvas.handle("o", "MACs: filled useful, hollow nominal", color=style.GREY, mfc="white")
    yield from (canvas.handle("", note) for note in _notes(run, table))


def _notes(run: Run, table: Sequence[Point]) -> Iterator[str]:
    """What letters stand for, what given networks are called, and which rows are not there."""
    letters = {letter: finding.kind for letter, finding in rows.lettered(run.findings)}
    shown = set() if canvas.crowded(_styles(table)) else {letter for p in table for letter in p.letters.split()}
    for kind in dict.fromkeys(letters.values()):
        mine = [letter for letter in letters if letter in shown and letters[letter] == kind]
        if mine:
            yield f"{' '.join(mine)}: {kind}"
    if run.plan.given:
        yield "; ".join(f"{n}: {each.name}" for n, each in enumerate(run.plan.given))
    unknown = dict.fromkeys(rows.title(row) for row in run.cases if row.depth is None)
    if unknown:
        yield f"not drawn, depth unknown: {', '.join(unknown)}"
    missing = dict.fromkeys(_full_name(p, table) for p in table if p.latency_ms is None)
    if missing:
        yield f"not measured: {', '.join(missing)}"


def _full_name(p: Point, table: Sequence[Point]) -> str:
    """A point's name among all: with its ladder and runtime where there are several."""
    ladder = f"{p.ladder} " if len(_styles(table)) > 1 else ""
    runtime = f" on {p.runtime} {p.precision}" if len({(q.runtime, q.precision) for q in table}) > 1 else ""
    return (p.label if p.control else f"{ladder}rung {p.label}") + runtime


def _styles(table: Sequence[Point]) -> Mapping[str, style.Look]:
    return canvas.looks([p.ladder for p in table if not p.control])

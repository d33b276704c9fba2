"""Latency against depth, device beside device: absolute above, relative to full depth below.

    a column per device, runtime and precision; ladders, controls; the line fitted to decided rungs, ms per layer, and the
    rung where it breaks

What is relative is one over the speed-up, which is paired within blocks: its interval is not the one of the latencies. Depth
falls from left to right, and the axes of the lower row are one. What is plotted lies beside the figure as CSV.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness import stats
from harness.errors import StoreError
from harness.records import Run, Speedup, Summary
from harness.report import canvas, rows, style
from harness.report.plotted import ms, to_csv
from harness.report.points import Point, points
from harness.report.text import digits

_COLUMNS = 4  # panels side by side


@dataclass(frozen=True)
class Place:
    """What is plotted of a row on a device: latency in ms, and relative to rung 0; what there is none of is None.

    `fitted_ms` is the height there of the line that was fitted to the decided rungs of its ladder.
    """

    run: str
    device: str
    runtime: str
    precision: str
    threads: int
    batch: int
    ladder: str
    label: str
    control: bool
    depth: int
    x: float
    latency_ms: float | None
    low_ms: float | None
    high_ms: float | None
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    verdict: str | None
    decided: bool
    status: str
    warning: bool
    fitted_ms: float | None = None

    @property
    def panel(self) -> tuple[str, str, str, str, int, int]:
        """What has a column of its own."""
        return self.run, self.device, self.runtime, self.precision, self.threads, self.batch


def draw(runs: Sequence[Run], out: Path) -> tuple[Path, ...]:
    """Draw latency against depth per device and runtime of one or several runs to `out`; return it and the points.

    Raises UsageError for another suffix, StoreError when nothing is measured, no depth is known or nothing can be written.
    """
    canvas.require_suffix(out)
    for run in runs:
        canvas.require_measured(run)
    fits: dict[tuple[object, ...], stats.Fit | None] = {}
    table = [place for run in runs for place in _places(run)]
    for place in table:
        if not place.control and (*place.panel, place.ladder) not in fits:
            fits[*place.panel, place.ladder] = _fit(table, place)
    table = [_fitted(place, fits.get((*place.panel, place.ladder))) for place in table]
    if not table:
        raise StoreError(f"run {runs[0].run}: no depth is known, no figure of it", f"See: harness show {runs[0].run}")
    return canvas.written(out, lambda: _figure(runs, table, fits), to_csv(Place, table))


def _places(run: Run) -> Iterator[Place]:
    """Yield a place per row of known depth, in the order of `points`."""
    panels = {(panel.runtime, panel.precision): panel for panel in rows.panels(run)}
    known = (row for panel in panels.values() for row in panel.rows if row.depth is not None)
    for point, row in zip(points(run), known, strict=True):
        yield _place(run, point, row)


def _place(run: Run, point: Point, row: Summary) -> Place:
    relative, low, high = _relative(row.speedup)
    return Place(
        run=run.run,
        device=run.device,
        runtime=row.runtime,
        precision=row.precision,
        threads=row.threads,
        batch=row.batch,
        ladder=row.ladder,
        label=point.label,
        control=point.control,
        depth=point.depth,
        x=point.x,
        latency_ms=ms(row.latency_ns.median if row.latency_ns else None),
        low_ms=point.low_ms,
        high_ms=point.high_ms,
        relative=relative,
        relative_low=low,
        relative_high=high,
        verdict=point.verdict,
        decided=canvas.decided(row),
        status=row.status,
        warning=point.warning,
    )


def _relative(found: Speedup | None) -> tuple[float | None, float | None, float | None]:
    """Latency over that of rung 0, with limits: one over the speed-up and its limits."""
    if found is None:
        return None, None, None
    low, high = (None if each is None else 1 / each for each in (found.high, found.low))
    return 1 / found.ratio, low, high


def _fit(table: Sequence[Place], of: Place) -> stats.Fit | None:
    """The line through the decided rungs of the ladder that a place is of."""
    mine = [p for p in table if p.panel == of.panel and p.ladder == of.ladder and not p.control and p.decided]
    return stats.line([p.depth for p in mine], [p.latency_ms or 0.0 for p in mine])


def _fitted(place: Place, fit: stats.Fit | None) -> Place:
    return place if fit is None or not place.decided else replace(place, fitted_ms=fit.at(place.depth))


# --- the figure ------------------------------------------------------------------------------------------------------


def _figure(runs: Sequence[Run], table: Sequence[Place], fits: Mapping[tuple[object, ...], stats.Fit | None]) -> Figure:
    panels = list(dict.fromkeys(place.panel for place in table))
    wide = min(_COLUMNS, len(panels))
    bands = -(-len(panels) // wide)
    figure = canvas.blank(max(7.0, 4.1 * wide + 0.4), 1.4 + 6.2 * bands)
    grid = figure.subplots(2 * bands, wide, squeeze=False, sharex=True, height_ratios=[1.15, 1] * bands)
    looks = canvas.looks([place.ladder for place in table if not place.control])
    several = len({run.run for run in runs}) > len({run.device for run in runs})
    for n, panel in enumerate(panels):
        mine = [place for place in table if place.panel == panel]
        above, below = (grid[2 * (n // wide) + row][n % wide] for row in (0, 1))
        told = [(name, fits.get((*panel, name))) for name in looks if any(p.ladder == name for p in mine)]
        _absolute(above, mine, looks, told, titled=_title(mine[0], several=several))
        _relatively(below, mine, looks)
        if n % wide == 0:
            above.set_ylabel("latency (ms)")
            below.set_ylabel("latency relative to full depth")
    for n in range(len(panels), bands * wide):
        for row in (0, 1):
            grid[2 * (n // wide) + row][n % wide].set_visible(False)
    _one_scale([axes for band in range(bands) for axes in grid[2 * band + 1]], table)
    grid[0][0].set_xlim(max(p.depth for p in table) + 0.7, min(p.depth for p in table) - 0.7)
    subject = ", ".join(dict.fromkeys(rows.subject(run) for run in runs))
    canvas.headed(figure, [subject, "latency against depth"], list(_key(runs, table, looks, fits)))
    return figure


def _title(of: Place, *, several: bool) -> str:
    threads = f"{of.threads} thread" + "s" * (of.threads != 1)
    run = f", run {of.run}" if several else ""
    return f"{of.device}{run}\n{of.runtime} {of.precision}, {threads}, batch {of.batch}"


def _one_scale(axes: Sequence[Axes], table: Sequence[Place]) -> None:
    """Give the relative axes one scale: that is what they are compared by."""
    top = max((p.relative_high or p.relative or 1.0 for p in table), default=1.0)
    for each in axes:
        each.set_ylim(0, 1.12 * max(top, 1.0))


def _absolute(
    axes: Axes,
    table: Sequence[Place],
    looks: Mapping[str, style.Look],
    fits: Sequence[tuple[str, stats.Fit | None]],
    titled: str,
) -> None:
    axes.set_title(style.plain(titled), loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))
    axes.tick_params(labelbottom=False)
    for n, (name, _) in enumerate(fits):
        ladder = [p for p in table if p.ladder == name and not p.control]
        for p in ladder:
            _mark(axes, p, looks[name], p.latency_ms, p.low_ms, p.high_ms)
            _number(axes, p, looks[name][0], p.latency_ms, p.high_ms if n % 2 == 0 else p.low_ms, 1 - 2 * (n % 2))
    for name, fit in fits:
        if fit is not None:
            _fit_line(axes, fit, [p for p in table if p.ladder == name and p.decided], looks[name])
    _controls(axes, table, [(p, p.latency_ms, p.low_ms, p.high_ms) for p in table if p.control])
    top = max((p.high_ms or p.latency_ms or 0.0 for p in table), default=0.0) or 1.0
    lines = [_words(name if len(fits) > 1 else "", fit) for name, fit in fits]
    axes.set_ylim(0, (1.16 + 0.075 * sum(text.count("\n") + 1 for text in lines)) * top)
    axes.text(
        0.02,
        0.985,
        style.plain("\n".join(lines)),
        transform=axes.transAxes,
        va="top",
        fontsize=8,
        path_effects=style.HALO,
        zorder=6,
    )


def _words(name: str, fit: stats.Fit | None) -> str:
    """What a fit says: what a layer costs on either side of its break, or why there is none."""
    of = f"{name}: " if name else ""
    if fit is None:
        return f"{of}no fit: fewer than {stats.LEAST_LINE} decided rungs"
    told = [_slope(each) for each in fit.slopes]
    if fit.breaks_at is None:
        return f"{of}{told[0]} ms per layer"
    return f"{of}{told[0]} ms per layer to depth {fit.breaks_at:g},\nbelow it {told[1]}"


def _slope(found: stats.Slope) -> str:
    """A slope with its interval, all to the digits that the interval leaves it."""
    _, _, decimals = digits(found.high - found.low or abs(found.value), 2).partition(".")
    value, low, high = (f"{each:.{len(decimals)}f}" for each in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]".replace("-", "\u2212")


def _fit_line(axes: Axes, fit: stats.Fit, ladder: Sequence[Place], look: style.Look) -> None:
    ends = [max(p.depth for p in ladder), min(p.depth for p in ladder)]
    xs = ends if fit.breaks_at is None else [ends[0], fit.breaks_at, ends[1]]
    axes.plot(xs, [fit.at(x) for x in xs], color=look[0], linestyle="-", lw=4.5, alpha=0.25, zorder=1)
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
    top = max((high or value or 0.0 for _, value, _, high in found), default=0.0)
    known = [(p, value, low, high) for p, value, low, high in found if value is not None]
    for towards in (1, -1):
        side = [each for each in known if (1 if 2 * each[0].depth >= deep + shallow else -1) == towards]
        heights = style.apart([value for _, value, _, _ in side], 0.09 * top)
        for (p, value, low, high), height in zip(side, heights, strict=True):
            _mark(axes, p, (style.BLACK, "D", "-"), value, low, high)
            style.name_beside(axes, (p.x, height), p.label, towards, size=8)


def _key(
    runs: Sequence[Run],
    table: Sequence[Place],
    looks: Mapping[str, style.Look],
    fits: Mapping[tuple[object, ...], stats.Fit | None],
) -> Iterator[Line2D]:
    """Handles for what stands in the figure, and for nothing else."""
    for name, look in looks.items():
        yield canvas.line(name, look, ", rungs numbered")
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

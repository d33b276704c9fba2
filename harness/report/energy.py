"""Energy per inference against depth and against latency.

    per runtime and precision:   gross, and net of idle | gross
                                 against depth          | against latency

Ladders have colours, markers and lines as in the figure of depth. The scenario that is compared is filled, another hollow;
net of idle, a diagnostic, is small and pale. Every interval is drawn. What is plotted lies beside the figure as CSV.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness.errors import StoreError
from harness.findings.views import count
from harness.records import Interval, Run
from harness.report import basis, canvas, cells, rows, style
from harness.report.plotted import to_csv
from harness.report.rows import Panel
from harness.report.spots import Spot, spots
from harness.report.text import UNICODE

_CHARACTER = 0.018  # of the width of an axis

_DISTURBED = {"contended", "throttled", "held-up"}  # statuses of rows whose sensors could be read


def draw(run: Run, out: Path) -> tuple[Path, ...]:
    """Draw energy against depth and latency to `out`, a row per runtime and precision, and its points to the CSV; return both.

    Raises UsageError for another suffix, StoreError when the run has no energy or nothing can be written.
    """
    canvas.require_suffix(out)
    table = tuple(spots(run))
    if run.virtual or not table:
        raise _nothing(run)
    return canvas.written(out, lambda: _figure(run, table), to_csv(Spot, table))


def _nothing(run: Run) -> StoreError:
    if run.virtual:
        what = "a virtual device's energies stand for no real one, no figure"
        return StoreError(f"run {run.run}: {what}", "Measure on a board.")
    reasons = dict.fromkeys(basis.why(row) for row in run.cases if row.energy_j is None)
    hint = f"Which sensors can be read says: harness check --device {run.device}"
    if {row.energy_status for row in run.cases} & _DISTURBED:
        hint = "Measure again when nothing else uses the device. What was read is drawn by --kind power."
    return StoreError(f"run {run.run}: no energy: {'; '.join(reasons) or 'nothing measured'}", hint)


# --- the figure ------------------------------------------------------------------------------------------------------


def _figure(run: Run, table: Sequence[Spot]) -> Picture:
    panels = [panel for panel in rows.panels(run) if _of(panel, table)]
    picture = canvas.blank(10.4, 1.3 + 3.9 * len(panels))
    grid = picture.subplots(len(panels), 2, squeeze=False, width_ratios=(1.15, 1))
    for pair, panel in zip(grid, panels, strict=True):
        _panel(pair, panel, _of(panel, table), _styles(table))
    title = [rows.subject(run), f"device {run.device}", "energy per inference"]
    canvas.headed(picture, title, list(_key(run, table)))
    return picture


def _of(panel: Panel, table: Sequence[Spot]) -> list[Spot]:
    return [p for p in table if (p.runtime, p.precision) == (panel.runtime, panel.precision)]


def _styles(table: Sequence[Spot]) -> Mapping[str, style.Look]:
    return canvas.looks([p.ladder for p in table if not p.control])


def _panel(pair: Sequence[Axes], panel: Panel, table: Sequence[Spot], looks: Mapping[str, style.Look]) -> None:
    scale, unit = cells.joules((p.gross_j for p in table), UNICODE)
    by_depth, by_latency = pair
    first = table[0]
    lengths = basis.lasting(p.window_s for p in table if p.compared)
    of = f"scope {first.scope} ({first.sensor} {first.channel}), {count(first.windows, 'window')} x {lengths} s"
    by_depth.set_title(canvas.fitted(f"{panel.title}\n{of}", 5.4), loc="left")
    said = f"{_scenarios(table, compared=True)}\nagainst latency, 95 % intervals of both"
    by_latency.set_title(canvas.fitted(said, 5.0), loc="left")
    for axes in pair:
        axes.set_ylabel(f"energy per inference ({unit}), {first.scope}")
    by_depth.set_xlabel("depth (convolutions and linear layers on the longest path)")
    by_latency.set_xlabel("latency (ms)")
    by_depth.set_xlim(max(p.depth for p in table) + 0.7, min(p.depth for p in table) - 0.7)
    by_depth.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    lines = [_line(panel, table, *key) for key in dict.fromkeys((p.ladder, p.scenario) for p in table)]
    for line in lines:
        _against_depth(by_depth, line, looks, scale)
        if line.compared:
            _against_latency(by_latency, line, looks, scale)
    top = max((p.gross_high_j or p.gross_j) / scale for p in table)
    bottom = min(0.0, *(1.05 * (p.net_low_j or p.net_j or 0.0) / scale for p in table))
    by_depth.set_ylim(bottom, 1.13 * top)
    by_latency.set_ylim(0, 1.13 * max((p.gross_high_j or p.gross_j) / scale for p in table if p.compared))
    by_latency.set_xlim(0, 1.06 * max(by_latency.get_xlim()[1], 1e-9))
    _name_all(pair, lines, looks, scale)


@dataclass(frozen=True)
class _Line:
    """A ladder, or the controls, in one scenario: a place per row, None where it has no energy."""

    places: Sequence[Spot | None]

    @property
    def spots(self) -> list[Spot]:
        """What there is of it."""
        return [p for p in self.places if p is not None]

    @property
    def compared(self) -> bool:
        return self.spots[0].compared

    @property
    def control(self) -> bool:
        return self.spots[0].control

    def look(self, looks: Mapping[str, style.Look]) -> tuple[str, str, style.LineStyle | None]:
        """Its colour, marker and line; controls have none between them."""
        return (style.BLACK, "D", None) if self.control else looks[self.spots[0].ladder]


def _line(panel: Panel, table: Sequence[Spot], ladder: str, scenario: str) -> _Line:
    found = {p.label: p for p in table if (p.ladder, p.scenario) == (ladder, scenario)}
    return _Line([found.get(rows.label(row)) for row in panel.ladders.get(ladder, panel.controls)])


def _against_depth(axes: Axes, line: _Line, looks: Mapping[str, style.Look], scale: float) -> None:
    colour, marker, stroke = line.look(looks)
    spots = line.spots
    if stroke:
        xs, ys = _course(line, lambda p: p.x, scale)
        axes.plot(xs, ys, color=colour, linestyle=stroke, lw=1.4 if line.compared else 0.8, zorder=2)
    face = colour if line.compared else "white"
    _points(axes, [p.x for p in spots], [_gross(p) for p in spots], scale, color=colour, marker=marker, mfc=face)
    if line.compared:
        nets = [(p.x, net) for p in spots if (net := _net(p)) is not None]
        pale: dict[str, Any] = {"color": colour, "marker": marker, "alpha": 0.4, "ms": 3.5}
        _points(axes, [x for x, _ in nets], [net for _, net in nets], scale, **pale)


def _against_latency(axes: Axes, line: _Line, looks: Mapping[str, style.Look], scale: float) -> None:
    colour, marker, stroke = line.look(looks)
    spots = [p for p in line.spots if p.latency_ms is not None]
    if stroke:
        xs, ys = _course(line, lambda p: math.nan if p.latency_ms is None else p.latency_ms, scale)
        axes.plot(xs, ys, color=colour, linestyle=stroke, lw=1.0, zorder=2)
    across = [Interval(p.latency_ms or 0.0, p.latency_low_ms, p.latency_high_ms) for p in spots]
    found = [_gross(p) for p in spots]
    _points(axes, [x.value for x in across], found, scale, xerr=_reach(across, 1.0), color=colour, marker=marker)


def _course(line: _Line, x: Callable[[Spot], float], scale: float) -> tuple[list[float], list[float]]:
    """Where a line runs; it breaks where a rung has no energy."""
    places = [(math.nan, math.nan) if p is None else (x(p), p.gross_j / scale) for p in line.places]
    return [x for x, _ in places], [y for _, y in places]


def _gross(p: Spot) -> Interval:
    return Interval(p.gross_j, p.gross_low_j, p.gross_high_j)


def _net(p: Spot) -> Interval | None:
    return None if p.net_j is None else Interval(p.net_j, p.net_low_j, p.net_high_j)


def _points(axes: Axes, xs: Sequence[float], found: Sequence[Interval], scale: float, **look: Any) -> None:
    heights = [each.value / scale for each in found]
    axes.errorbar(xs, heights, _reach(found, scale), **look, linestyle="none", zorder=3)


def _reach(found: Sequence[Interval], scale: float) -> tuple[list[float], list[float]]:
    """How far intervals reach below and above their values; nothing where there is none."""
    reached = [canvas.reach(each.value, each.low, each.high) for each in found]
    return [below / scale for (below,), _ in reached], [above / scale for _, (above,) in reached]


def _name_all(pair: Sequence[Axes], lines: Sequence[_Line], looks: Mapping[str, style.Look], scale: float) -> None:
    """Write numbers of rungs over and under their ladders in turn, and names of controls beside them."""
    by_depth, by_latency = pair
    ladders = [line for line in lines if line.compared and not line.control]
    for n, line in enumerate([] if canvas.crowded(looks) else ladders):
        for axes, places in ((by_depth, _at_depth(line)), (by_latency, _at_latency(line, by_latency.get_xlim()[1]))):
            for x, label, p in places:
                edge = (p.gross_low_j if n % 2 else p.gross_high_j) or p.gross_j
                away = (0, -9 if n % 2 else 9)
                colour = line.look(looks)[0]
                _write(axes, label, (x, edge / scale), away, colour, "center", boxed=p.warning and axes is by_depth)
    controls = [p for line in lines if line.compared and line.control for p in line.spots]
    for axes, at in ((by_depth, [p.x for p in controls]), (by_latency, [p.latency_ms or math.nan for p in controls])):
        left, right = axes.get_xlim()
        for towards in (1, -1):  # to the middle of the axes; those that would collide are moved apart
            side = [
                (x, p) for x, p in zip(at, controls, strict=True) if (abs(x - left) > abs(x - right)) == (towards < 0)
            ]
            heights = style.apart([p.gross_j / scale for _, p in side], 0.045 * axes.get_ylim()[1])
            for (x, p), height in zip(side, heights, strict=True):
                _write(axes, p.label, (x, height), (8 * towards, 0), style.BLACK, "left" if towards > 0 else "right")


def _at_depth(line: _Line) -> list[tuple[float, str, Spot]]:
    return [(p.x, p.label, p) for p in line.spots if p.warning or canvas.spaced(p.label, len(line.spots))]


def _at_latency(line: _Line, width: float) -> list[tuple[float, str, Spot]]:
    """Where numbers stand over latencies; those that would lie on each other share a place."""
    groups: list[list[Spot]] = []
    for p in sorted((p for p in line.spots if p.latency_ms is not None), key=_latency):
        room = 0.0 if not groups else _CHARACTER * width * (len(_numbers(groups[-1])) + len(p.label) + 1) / 2
        if groups and _latency(p) - _middle(groups[-1]) < room:
            groups[-1].append(p)
        else:
            groups.append([p])
    return [(_middle(group), _numbers(group), max(group, key=lambda p: p.gross_j)) for group in groups]


def _latency(p: Spot) -> float:
    return p.latency_ms or 0.0


def _middle(group: Sequence[Spot]) -> float:
    return sum(map(_latency, group)) / len(group)


def _numbers(group: Sequence[Spot]) -> str:
    return ",".join(p.label for p in sorted(group, key=lambda p: -p.x))


def _write(
    axes: Axes,
    label: str,
    spot: tuple[float, float],
    away: tuple[float, float],
    colour: str,
    side: Literal["left", "center", "right"],
    *,
    boxed: bool = False,
) -> None:
    place: dict[str, Any] = {"textcoords": "offset points", "va": "center", "path_effects": style.HALO, "zorder": 2.5}
    box = {"boxstyle": "square,pad=0.18", "facecolor": "white", "edgecolor": style.WARNING, "linewidth": 1.3}
    axes.annotate(style.plain(label), spot, away, ha=side, color=colour, bbox=box if boxed else None, **place)


def _key(run: Run, table: Sequence[Spot]) -> Iterator[Line2D]:
    """Handles for what stands in the figure, and for nothing else."""
    looks = _styles(table)
    for name, look in looks.items():
        yield canvas.line(name, look, "" if canvas.crowded(looks) else ", rungs numbered")
    if any(p.control for p in table):
        yield canvas.handle("D", "untrained latency control", color=style.BLACK)
    yield canvas.handle("o", "filled: " + _scenarios(table, compared=True) + ", compared", color=style.BLACK)
    if any(not p.compared for p in table):
        yield canvas.handle("o", "hollow: " + _scenarios(table, compared=False), color=style.BLACK, mfc="white")
    if any(p.compared and p.net_j is not None for p in table):
        yield canvas.handle("o", "small and pale: net of idle, a diagnostic", color=style.BLACK, alpha=0.4, ms=3.5)
    if any(p.warning and p.compared for p in table) and not canvas.crowded(looks):
        told = "boxed: fewer layers or faster, and more energy"
        yield canvas.handle("s", told, color=style.WARNING, mfc="white", mew=1.3, ms=9)
    missing = dict.fromkeys(rows.label(row) for row in run.cases if row.energy_j is None)
    if missing:
        yield canvas.handle("", f"no energy: {', '.join(missing)}")


def _scenarios(table: Sequence[Spot], *, compared: bool) -> str:
    found = {p.scenario: p.rate_hz for p in table if p.compared is compared}
    return " and ".join(name if hz is None else f"{name} at {hz:.3g} Hz" for name, hz in found.items())

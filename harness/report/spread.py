"""How latencies of single inferences are spread, case by case.

    a column per ladder, runtime and precision
    above: the share of inferences that were as fast or faster, a curve per rung (dark at full depth, light at the end)
    below: a line per case: a dot per process, its median, since processes are what is counted; the case's median with its
           95 % interval; p90 and p99 of all its inferences, with theirs

Inferences of one process resemble each other: a curve shows what happened, and claims nothing by its smoothness. Only inferences
of processes that count are drawn (the last attempt of each). What lies beyond the axes is told, with the largest. What is
plotted lies beside the figure as CSV: of more than a thousand inferences a curve shows every thousandth part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.errors import StoreError
from harness.records import Run, Summary
from harness.report import canvas, rows, style
from harness.report.plotted import ms, to_csv
from harness.report.rows import Panel
from harness.report.text import digits

if TYPE_CHECKING:
    import pandas as pd

    from harness import store

CURVE, MEDIAN, TAILS = "inferences", "process median", ("p90", "p99")
_COLUMNS = 3  # side by side
_CURVES = 14  # that are named
_PARTS = 1000  # of a curve
_BEYOND = 1.12  # times the largest p99, or process median, that axes reach; intervals are whole in any case
_JITTER = 0.22  # of a line's height: how far replicates of a block stand from its middle
_NAMED = (0.5, 0.3, 0.7, 0.4, 0.6)  # heights at which curves are named, in turn
_MARKERS = {"p90": ("|", 11), "p99": ("d", 6)}


@dataclass(frozen=True)
class Drawn:
    """What is plotted of a row: a place of its curve, a process's median, its median or a tail, in ms.

    `what`: `inferences` (then `fraction` of them took `latency_ms` or less), `process median` (of `block` and `replicate`),
    `median`, `p90` or `p99` (then with the limits of the 95 % interval).
    """

    runtime: str
    precision: str
    ladder: str
    label: str
    control: bool
    what: str
    latency_ms: float
    fraction: float | None = None
    block: int | None = None
    replicate: int | None = None
    low_ms: float | None = None
    high_ms: float | None = None


def draw(frames: store.Frames, out: Path) -> tuple[Path, ...]:
    """Draw the latencies of single inferences to `out`, and what is plotted to the CSV; return both.

    Raises UsageError for another suffix, StoreError when nothing is measured or nothing can be written.
    """
    run = frames.run
    canvas.require_suffix(out)
    canvas.require_measured(run)
    timed = frames.samples[(frames.samples.phase == "timed") & frames.samples.valid]
    by_case = {str(case): mine for case, mine in timed.groupby("case_id")}
    table = [
        each for row in run.cases if (row.case_id or "") in by_case for each in _drawn(row, by_case[row.case_id or ""])
    ]
    if not table:
        hint = f"Read them from its journals: harness run --resume {run.run}"
        raise StoreError(f"run {run.run}: no inference of it is stored, no figure of them", hint)
    return canvas.written(out, lambda: _figure(run, table), to_csv(Drawn, table))


def _drawn(row: Summary, samples: pd.DataFrame) -> Iterator[Drawn]:
    of: Any = {
        "runtime": row.runtime,
        "precision": row.precision,
        "ladder": row.ladder,
        "label": rows.label(row),
        "control": row.method == "control",
    }
    ascending = np.sort(samples.latency_ns.to_numpy(dtype=np.float64)) / 1e6
    n = ascending.size
    ranks = np.arange(n) if n <= _PARTS else np.unique(np.linspace(0, n - 1, _PARTS + 1).astype(int))
    for rank in ranks:
        yield Drawn(**of, what=CURVE, latency_ms=float(ascending[rank]), fraction=float((rank + 1) / n))
    processes: Any = samples.groupby(["block", "replicate"])
    for (block, replicate), group in processes:
        median = float(group.latency_ns.median()) / 1e6
        yield Drawn(**of, what=MEDIAN, latency_ms=median, block=int(block), replicate=int(replicate))
    if found := row.latency_ns:
        yield Drawn(**of, what="median", latency_ms=found.median / 1e6, low_ms=ms(found.low), high_ms=ms(found.high))
        for name in TAILS:
            tail, value = found.tails.get(name), getattr(found, name)
            if value is not None:
                limits = (ms(tail.low), ms(tail.high)) if tail else (None, None)
                yield Drawn(**of, what=name, latency_ms=value / 1e6, low_ms=limits[0], high_ms=limits[1])


# --- the figure ------------------------------------------------------------------------------------------------------


def _figure(run: Run, table: Sequence[Drawn]) -> Figure:
    shown = list(_shown(run, table))
    wide = min(_COLUMNS, len(shown))
    bands = -(-len(shown) // wide)
    low = 0.9 + 0.3 * max(len(_labels(mine)) for _, _, mine in shown)
    figure = canvas.blank(max(7.6, 5.0 * wide + 0.4), 1.3 + (3.3 + low) * bands)
    grid = figure.subplots(2 * bands, wide, squeeze=False, height_ratios=(3.3, low) * bands)
    for axes in grid.flat:
        axes.set_visible(False)
    for n, (panel, name, mine) in enumerate(shown):
        _column([grid[2 * (n // wide) + row][n % wide] for row in (0, 1)], panel, name, mine)
    title = [rows.subject(run), f"device {run.device}", "latencies of single inferences"]
    canvas.headed(figure, title, list(_key(table)))
    return figure


def _shown(run: Run, table: Sequence[Drawn]) -> Iterator[tuple[Panel, str, list[Drawn]]]:
    """Yield what has a column: a ladder of which something is drawn; controls stand below the first, or alone."""
    for panel in rows.panels(run):
        mine = [each for each in table if (each.runtime, each.precision) == (panel.runtime, panel.precision)]
        rungs, controls = ([each for each in mine if each.control is wanted] for wanted in (False, True))
        for name in dict.fromkeys(each.ladder for each in rungs):
            yield panel, name, [*(each for each in rungs if each.ladder == name), *controls]
            controls = []
        if controls:
            yield panel, "controls", controls


def _labels(table: Sequence[Drawn]) -> list[tuple[bool, str]]:
    return list(dict.fromkeys((each.control, each.label) for each in table))


def _column(pair: Sequence[Axes], panel: Panel, name: str, table: Sequence[Drawn]) -> None:
    above, below = pair
    several = f", ladder {name}" if len(panel.ladders) > 1 else ""
    above.set_title(canvas.fitted(f"{panel.title}{several}", 5.0), loc="left")
    below.sharex(above)
    cases = _labels(table)
    looks = _looks(cases)
    shown = [each for each in table if each.what != CURVE]
    edge = max(_BEYOND * max(each.latency_ms for each in shown), *(1.02 * (each.high_ms or 0.0) for each in shown))
    start = 0.96 * min(min(each.latency_ms for each in table), *(each.low_ms or each.latency_ms for each in shown))
    every = -(-len(cases) // _CURVES)  # of many curves not each is named: lines below have their colours and names
    for place, case in enumerate(cases):
        mine = [each for each in table if (each.control, each.label) == case]
        curve = [each for each in mine if each.what == CURVE]
        _curve(above, place // every, curve, looks[case], named=place % every == 0)
        _line(below, place, mine, looks[case][0])
    for axes in pair:
        axes.set_visible(True)
        axes.set_xlim(start, edge)
        axes.grid(visible=True, axis="both")
    above.set_ylim(0, 1.01)
    above.set_ylabel("share of inferences as fast or faster")
    above.tick_params(labelbottom=False)
    below.set_yticks(range(len(cases)), [_name(case) for case in cases])
    below.set_ylim(len(cases) - 0.4, -0.6)
    below.set_xlabel("latency (ms)")
    beyond = [each for each in table if each.what == CURVE and each.latency_ms > edge]
    if beyond:
        most = digits(max(each.latency_ms for each in beyond))
        above.annotate(
            f"curves go on to {most} ms \u2192",
            (0.99, 0.03),
            xycoords="axes fraction",
            ha="right",
            color=style.GREY,
            fontsize=8,
            path_effects=style.HALO,
        )


def _name(case: tuple[bool, str]) -> str:
    control, label = case
    return style.plain(label if control else f"rung {label}")


def _looks(cases: Sequence[tuple[bool, str]]) -> dict[tuple[bool, str], tuple[Any, style.LineStyle]]:
    """Rungs from dark to light, controls black and broken: their order is left in grey."""
    rungs = [case for case in cases if not case[0]]
    shades = colormaps["viridis"](np.linspace(0.0, 0.82, max(2, len(rungs))))
    found: dict[tuple[bool, str], tuple[Any, style.LineStyle]] = {
        case: (tuple(shades[n]), "-") for n, case in enumerate(rungs)
    }
    broken: Sequence[style.LineStyle] = ("--", ":", "-.")
    controls = [case for case in cases if case[0]]
    return {**found, **{case: (style.BLACK, broken[n % 3]) for n, case in enumerate(controls)}}


def _curve(axes: Axes, place: int, curve: Sequence[Drawn], look: tuple[Any, style.LineStyle], *, named: bool) -> None:
    """A step at each latency, with its name on it."""
    xs, ys = [each.latency_ms for each in curve], [each.fraction or 0.0 for each in curve]
    axes.step([xs[0], *xs], [0.0, *ys], where="post", color=look[0], linestyle=look[1], lw=1.2)
    if not named:
        return
    height = _NAMED[place % len(_NAMED)]
    at = next((x for x, y in zip(xs, ys, strict=True) if y >= height), xs[-1])
    told: dict[str, Any] = {
        "textcoords": "offset points",
        "ha": "left" if curve[0].control else "center",
        "va": "center",
    }
    away = (4, 0) if curve[0].control else (0, 0)
    name = style.plain(curve[0].label)
    axes.annotate(name, (at, height), away, **told, color=look[0], fontsize=8, path_effects=style.HALO, zorder=5)


def _line(axes: Axes, place: int, table: Sequence[Drawn], colour: Any) -> None:
    """One case: processes, the median, tails."""
    processes = [each for each in table if each.what == MEDIAN]
    heights = [place + _JITTER * (-1) ** (each.block or 0) * (1 + (each.replicate or 0)) / 2 for each in processes]
    xs = [each.latency_ms for each in processes]
    axes.plot(xs, heights, linestyle="none", marker="o", ms=3, color=colour, alpha=0.55, mew=0, zorder=2)
    for each in table:
        across = np.array(canvas.reach(each.latency_ms, each.low_ms, each.high_ms))
        look: dict[str, Any] = {"color": style.BLACK, "linestyle": "none", "elinewidth": 1.0, "xerr": across}
        if each.what == "median":
            axes.errorbar(each.latency_ms, place, marker="o", ms=4.5, mfc="white", zorder=3, **look)
        elif each.what in TAILS:
            marker, size = _MARKERS[each.what]
            axes.errorbar(each.latency_ms, place, marker=marker, ms=size, mfc="white", zorder=3, **look)


def _key(table: Sequence[Drawn]) -> Iterator[Line2D]:
    """Handles for what stands in the figure, and for nothing else."""
    found = {each.what for each in table}
    yield canvas.handle(
        "", "inferences of a rung, by its number", color=_looks([(False, "0")])[False, "0"][0], linestyle="-"
    )
    if any(each.control for each in table):
        yield canvas.handle("", "of an untrained latency control", color=style.BLACK, linestyle="--")
    yield canvas.handle("o", "median of a process", color=style.GREY, ms=3)
    if "median" in found:
        yield canvas.handle("o", "median of process medians, 95 % interval", color=style.BLACK, mfc="white", ms=4.5)
    for name in TAILS:
        if name in found:
            marker, size = _MARKERS[name]
            told = f"{name} of all inferences, 95 % interval where known"
            yield canvas.handle(marker, told, color=style.BLACK, mfc="white", ms=size)

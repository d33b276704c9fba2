"""Latency over runs in time, a panel per device: medians with their 95 % intervals, series by colour, marker and line.

A line joins what was measured undisturbed on one and the same network: it breaks where the variant changed. Runs that were
contended, throttled or fell back are hollow and join nothing. Devices that are emulated have no times. The axis is logarithmic
where series are far apart, and does not begin at 0: a history is looked at for its changes. Annotations (change points, say)
are vertical lines with their words. What is plotted lies beside the figure as CSV.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.report import canvas, pasts, scales, style
from harness.report.pasts import Past
from harness.report.plotted import to_csv

_WIDTH, _HIGH = 9.6, 2.5  # inches of the figure, of a panel
_FAR = 6.0  # times: from there on the axis is logarithmic
_LEAST = 0.1  # of the middle: an axis shows so much to each side, so that noise does not look like change
_MANY = 60  # points of a series, from which on they are smaller
_LOOKS: Sequence[style.Look] = (
    *style.LADDERS,
    *((style.BLACK, "D", "-"), ("#882255", "X", "--"), ("#332288", "<", "-."), ("#44AA99", "p", ":")),
    ("#999933", "*", "-"),
)


@dataclass(frozen=True)
class Annotation:
    """Something that happened at a time (UTC), in a few words; on all devices, or on one."""

    at: datetime
    text: str
    device: str | None = None


def draw(rows: Iterable[Mapping[str, Any]], out: Path, annotations: Sequence[Annotation] = ()) -> tuple[Path, ...]:
    """Draw the latencies of cases (rows of the store's index) over time to `out`, and the points to the CSV; return both.

    Raises UsageError for another suffix or too many series, StoreError where nothing was timed or nothing can be written.
    """
    canvas.require_suffix(out)
    table = pasts.pasts(rows)
    return canvas.written(out, lambda: _figure(table, annotations), to_csv(Past, table))


def _figure(table: Sequence[Past], annotations: Sequence[Annotation]) -> Figure:
    timed = [past for past in table if past.latency_ms is not None]
    devices = list(dict.fromkeys(past.device for past in timed))
    looks = dict(zip(dict.fromkeys(past.series for past in timed), _LOOKS, strict=False))
    figure = canvas.blank(_WIDTH, 1.35 + _HIGH * max(len(devices), 1.3) + 0.19 * len(looks) / 2)
    grid: list[Axes] = list(figure.subplots(len(devices), 1, squeeze=False, sharex=True)[:, 0])
    for axes, device in zip(grid, devices, strict=True):
        mine = [past for past in timed if past.device == device]
        _panel(axes, mine, looks)
        _annotate(axes, [each for each in annotations if each.device in (None, device)])
        axes.set_title(style.plain(_title(device, [past for past in table if past.device == device])), loc="left")
    _time(grid, [past.started for past in timed] + [each.at for each in annotations])
    alike, differ = pasts.shared(timed)
    subject = [pasts.words(timed[0], alike)] if alike else []
    canvas.headed(figure, ["latency over time", *subject], list(_key(table, looks, differ, annotations)))
    return figure


def _title(device: str, mine: Sequence[Past]) -> str:
    runs = len({past.run for past in mine if past.latency_ms is not None})
    without = len({past.run for past in mine} - {past.run for past in mine if past.latency_ms is not None})
    return f"{device}: {runs} run{'s' * (runs != 1)}" + (f", and {without} without a latency" if without else "")


def _time(grid: Sequence[Axes], times: Sequence[datetime]) -> None:
    """One axis of time for all devices, with room at both ends."""
    room = max(0.03 * (max(times) - min(times)), timedelta(minutes=30))
    ends: Any = (min(times) - room, max(times) + room)
    grid[0].set_xlim(*ends)
    locator = dates.AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    grid[-1].xaxis.set_major_locator(locator)
    grid[-1].xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    grid[-1].set_xlabel("time when the run began (UTC)")


# --- one device ------------------------------------------------------------------------------------------------------


def _panel(axes: Axes, mine: Sequence[Past], looks: Mapping[tuple[Any, ...], style.Look]) -> None:
    axes.set_ylabel("latency (ms)")
    for series, look in looks.items():
        found = [past for past in mine if past.series == series]
        for _, same in groupby((past for past in found if not past.set_aside), key=lambda past: past.variant):
            _course(axes, list(same), look)
        size = 3.2 if len(found) > _MANY else 4.6
        _points(axes, [past for past in found if not past.set_aside], look, size, hollow=False)
        _points(axes, [past for past in found if past.set_aside], look, size, hollow=True)
    _scale(axes, mine)


def _course(axes: Axes, same: Sequence[Past], look: style.Look) -> None:
    """The line between the points of one network."""
    at: Any = [past.started for past in same]
    axes.plot(at, [past.latency_ms or 0.0 for past in same], color=look[0], linestyle=look[2], lw=0.8, alpha=0.7)


def _points(axes: Axes, found: Sequence[Past], look: style.Look, size: float, *, hollow: bool) -> None:
    """Medians with their intervals."""
    if not found:
        return
    bars = [canvas.reach(past.latency_ms or 0.0, past.low_ms, past.high_ms) for past in found]
    marker: dict[str, Any] = {"marker": look[1], "ms": size, "mfc": "white" if hollow else look[0], "mew": 0.8}
    how: dict[str, Any] = {"color": look[0], "linestyle": "none", "elinewidth": 0.7, "capsize": 0, "zorder": 3}
    at: Any = [past.started for past in found]
    reach = [[below[0] for below, _ in bars], [above[0] for _, above in bars]]
    axes.errorbar(at, [past.latency_ms or 0.0 for past in found], reach, **how, **marker)


def _scale(axes: Axes, mine: Sequence[Past]) -> None:
    """Logarithmic where series are far apart; else about what there is, and never so close that noise looks like change."""
    low = min(each for past in mine for each in (past.latency_ms, past.low_ms) if each is not None)
    high = max(each for past in mine for each in (past.latency_ms, past.high_ms) if each is not None)
    if low > 0 and high > _FAR * low:
        scales.logarithmic(axes, 0.85 * low, 1.25 * high)
        return
    middle, half = (low + high) / 2, max(0.58 * (high - low), _LEAST * (low + high) / 2, 1e-9)
    axes.set_ylim(max(0.0, middle - half), middle + 1.1 * half)


def _annotate(axes: Axes, found: Sequence[Annotation]) -> None:
    """Vertical lines with their words beside them, below the upper edge, each lower than the last."""
    for n, each in enumerate(sorted(found, key=lambda each: each.at)):
        at: Any = each.at
        axes.axvline(at, color=style.GREY, lw=0.9, linestyle=(0, (4, 2)), zorder=1.5)
        axes.annotate(
            style.plain(each.text),
            (at, 1.0),
            (3, -3 - 10 * (n % 3)),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color=style.GREY,
            path_effects=style.HALO,
            zorder=5,
        )


# --- the key ---------------------------------------------------------------------------------------------------------


def _key(
    table: Sequence[Past],
    looks: Mapping[tuple[Any, ...], style.Look],
    differ: Sequence[str],
    annotations: Sequence[Annotation],
) -> Iterator[Line2D]:
    """Handles for what stands in the figure, and for nothing else."""
    for series, (colour, marker, line) in looks.items():
        past = next(each for each in table if each.series == series)
        label = pasts.words(past, differ) or "median of process medians, 95 % interval"
        yield canvas.handle(marker, label, color=colour, linestyle=line)
    if differ:
        yield canvas.handle("", "bars: 95 % intervals of medians of process medians")
    aside = dict.fromkeys(
        past.run_state if past.status == "ok" else past.status
        for past in table
        if past.set_aside and past.latency_ms is not None
    )
    if aside:
        told = f"hollow, joined with nothing: {', '.join(str(each) for each in aside)}"
        yield canvas.handle("o", told, color=style.BLACK, mfc="white")
    if _changed(table):
        yield canvas.handle("", "a line breaks where the network is another")
    if annotations:
        yield canvas.handle("", "annotated", color=style.GREY, linestyle=(0, (4, 2)), lw=0.9)
    virtual = {past.device for past in table if past.virtual}
    if virtual:
        yield canvas.handle("", f"not drawn, virtual: {', '.join(sorted(virtual))}")


def _changed(table: Sequence[Past]) -> bool:
    """Whether a series was of more than one network."""
    found: dict[tuple[Any, ...], set[str | None]] = {}
    for past in table:
        if past.latency_ms is not None and not past.set_aside:
            found.setdefault((past.device, *past.series), set()).add(past.variant)
    return any(len(variants) > 1 for variants in found.values())

"""Power over time: the passes of one block, each in a small picture with its window, idle first.

What is drawn bold is the channel that energies come from, or a meter's total; its parts are thin. A counter of energy is drawn
as the mean power between its readings. Stretches without a reading are hatched: there nothing is drawn, and no line bridges
them. What is plotted lies beside the figure as CSV.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness import store
from harness.errors import StoreError, UsageError
from harness.records import Run, Summary
from harness.report import basis, canvas, rows, style
from harness.wire import IDLE, SCENARIOS

if TYPE_CHECKING:
    import pandas as pd

COUNTER = "energy_counter"
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
_AROUND = 0.1  # of a window: so much of a controller's meter is drawn before and after it, 2 s at least
_GAP = 4.0  # times a channel's usual distance of readings: from there on no line is drawn between two


class Name(NamedTuple):
    """A channel."""

    sensor: str
    channel: str
    scope: str
    kind: str
    total: bool


class _Look(NamedTuple):
    colour: str
    line: style.LineStyle
    width: float


_PART = _Look(style.GREY, "-", 0.6)


@dataclass(frozen=True)
class Pane:
    """One pass: whose it is in words, the length of its window, and its readings, `at_s` from where the window begins."""

    runtime: str
    case_id: str | None
    scenario: str
    title: str
    length_s: float
    valid: bool
    readings: pd.DataFrame


def draw(frames: store.Frames, out: Path, block: int = 1) -> tuple[Path, ...]:
    """Draw the power of one block to `out`, and its readings to the CSV beside it; return both.

    Raises UsageError for another suffix or a block that there is not, StoreError when the run has no energy passes.
    """
    canvas.require_suffix(out)
    run, there = frames.run, sorted({int(n) for n in frames.windows.block})
    if not there:
        reasons = dict.fromkeys(basis.why(row) for row in run.cases if row.energy_j is None)
        raise StoreError(
            f"run {run.run}: no energy passes, no power over time: {'; '.join(reasons) or 'nothing measured'}",
            f"Which sensors can be read says: harness check --device {run.device}",
        )
    if block not in there:
        raise UsageError(
            f"--block {block}: run {run.run} has no such block of energy passes", f"It has {_range(there)}."
        )
    shown = tuple(panes(frames, block))
    return canvas.written(out, lambda: _figure(run, shown, block), _csv(shown, block))


def _range(blocks: Sequence[int]) -> str:
    return f"block {blocks[0]}" if len(blocks) == 1 else f"blocks {blocks[0]} to {blocks[-1]}"


def panes(frames: store.Frames, block: int) -> Iterator[Pane]:
    """Yield the passes of a block by runtime, the last attempt of each: idle, then cases in their order, by scenario."""
    names = {row.case_id: _title(row) for row in reversed(frames.run.cases)}
    here = frames.windows[frames.windows.block == block]
    power = frames.power[(frames.power.block == block).fillna(value=False) | frames.power.scenario.isna()]
    last = here.sort_values("attempt").groupby(["runtime", "scenario", "case_id"], dropna=False).tail(1)
    order = [(IDLE, None), *((scenario, case) for case in reversed(names) for scenario in SCENARIOS)]
    for runtime in dict.fromkeys(last.runtime):
        mine = last[last.runtime == runtime]
        found = {(w.scenario, w.case_id if isinstance(w.case_id, str) else None): w for w in mine.itertuples()}
        for scenario, case in order:
            if window := found.get((scenario, case)):
                yield _pane(power, window, names.get(case, ""))


def _title(row: Summary) -> str:
    return rows.title(row) if row.rung is None else f"rung {rows.title(row)}"


def _pane(power: pd.DataFrame, window: Any, name: str) -> Pane:
    case = window.case_id if isinstance(window.case_id, str) else None
    own = (power.block == window.block) & (power.scenario == window.scenario) & (power.attempt == window.attempt)
    own &= power.case_id.isna() if case is None else power.case_id == case
    around = max(2e9, _AROUND * (window.end_ns - window.start_ns))
    remote = power.scenario.isna() & power.start_ns.between(window.start_ns - around, window.end_ns + around)
    readings = power[(power.runtime == window.runtime) & (own.fillna(value=False) | remote)]
    readings = readings.assign(at_s=(readings.start_ns - window.start_ns).astype("float64") / 1e9)
    why = ["contended"] * bool(window.contended) + ["throttled"] * bool(window.throttled)
    words = (
        *filter(None, (name, window.scenario)),
        *(each if window.valid else f"{each}: not counted" for each in why),
    )
    length_s = (window.end_ns - window.start_ns) / 1e9
    return Pane(window.runtime, case, window.scenario, ", ".join(words), length_s, bool(window.valid), readings)


def _csv(shown: Sequence[Pane], block: int) -> str:
    """All readings that are drawn, and the gaps, without a value."""
    import pandas as pd

    columns = ["runtime", "block", "scenario", "case_id", "window_s", "sensor", "channel", "scope", "kind", "total"]
    parts = [
        pane.readings.assign(
            runtime=pane.runtime,
            block=block,
            scenario=pane.scenario,
            case_id=pane.case_id or "",
            window_s=pane.length_s,
        )
        for pane in shown
    ]
    table = pd.concat(parts, ignore_index=True)[[*columns, "at_s", "value", "unit", "status", "reason"]]
    return str(table.to_csv(index=False, lineterminator="\n"))


# --- the figure ------------------------------------------------------------------------------------------------------


def _figure(run: Run, shown: Sequence[Pane], block: int) -> Figure:
    scenarios = [scenario for scenario in SCENARIOS if any(pane.scenario == scenario for pane in shown)]
    lines = [_line(line, scenarios) for line in _lines(shown)]
    figure = canvas.blank(10.4, 1.4 + 1.35 * len(lines))
    width = max(1, len(scenarios))
    grid = figure.subplots(len(lines), width, squeeze=False, sharey=True, sharex=True)
    looks = _looks(run, shown)
    several = len({pane.runtime for pane in shown}) > 1
    for cells, line in zip(grid, lines, strict=True):
        for axes, pane in zip(cells, line, strict=True):
            if pane is None:
                axes.set_axis_off()
            else:
                _draw(axes, pane, looks, f"{pane.runtime} " * several)
    tops = [axes.dataLim.ymax for axes in figure.axes if axes.lines]
    grid[0][0].set_ylim(0, 1.08 * max((top for top in tops if np.isfinite(top) and top > 0), default=1.0))
    for axes in grid[-1]:
        axes.set_xlabel("time from the window's start (s)")
    for column in range(width):  # axes that have none below them keep their numbers
        lowest = max(n for n, line in enumerate(lines) if line[column])
        grid[lowest][column].tick_params(labelbottom=True)
    scopes = " and ".join(dict.fromkeys(name.scope for name in looks)) or "unknown"
    figure.supylabel(f"power (W), scope {scopes}", fontsize=9)
    virtual = ", virtual" if run.virtual else ""
    canvas.headed(
        figure,
        [rows.subject(run), f"device {run.device}{virtual}", f"energy passes of block {block}"],
        list(_key(shown, looks)),
    )
    return figure


def _lines(shown: Sequence[Pane]) -> Iterator[list[Pane]]:
    """Panes that stand side by side: those of one case."""
    for key in dict.fromkeys((pane.runtime, pane.case_id) for pane in shown):
        yield [pane for pane in shown if (pane.runtime, pane.case_id) == key]


def _line(found: Sequence[Pane], scenarios: Sequence[str]) -> list[Pane | None]:
    """A column for each scenario, whatever is missing; what is idle stands in the first."""
    if found[0].scenario == IDLE:
        return [found[0], *[None] * (len(scenarios) - 1)]
    named = {pane.scenario: pane for pane in found}
    return [named.get(scenario) for scenario in scenarios]


def _looks(run: Run, shown: Sequence[Pane]) -> dict[Name, _Look]:
    """How channels that are totals look, in the order in which they came; those that energies come from are bold."""
    chosen = {(e.sensor, e.channel, e.kind) for job in run.jobs if (e := job.energy)}
    totals = dict.fromkeys(name for pane in shown for name in _channels(pane) if name.total)
    return {
        name: _Look(
            style.LADDERS[n % len(style.LADDERS)][0],
            style.LADDERS[n % len(style.LADDERS)][2],
            1.4 if (name.sensor, name.channel, name.kind) in chosen else 0.8,
        )
        for n, name in enumerate(totals)
    }


def _channels(pane: Pane) -> Iterator[Name]:
    known = pane.readings[pane.readings.channel.notna()]
    columns = ["sensor", "channel", "scope", "kind", "total"]
    yield from (Name(*row) for row in known[columns].drop_duplicates().itertuples(index=False, name=None))


def _draw(axes: Axes, pane: Pane, looks: Mapping[Name, _Look], before: str) -> None:
    colour = style.BLACK if pane.valid else style.WARNING
    axes.set_title(style.plain(before + pane.title), loc="left", fontsize=8.5, color=colour, pad=3)
    axes.axvspan(0, pane.length_s, color=style.BAND, lw=0, zorder=0)
    for name in sorted(_channels(pane), key=lambda name: name.total):
        look = looks.get(name, _PART)
        at_s, watts, holes = _curve(pane, name)
        axes.plot(at_s, watts, color=look.colour, linestyle=look.line, lw=look.width, zorder=3 if name.total else 2)
        for start, end in holes if name.total else ():
            axes.axvspan(start, end, facecolor="none", edgecolor=style.WARNING, hatch="////", lw=0.6, zorder=1)
    unopened = pane.readings[pane.readings.channel.isna()]
    for n, (sensor, status) in enumerate(zip(unopened.sensor, unopened.status, strict=True)):
        spot = (0.01, 0.06 + 0.14 * n)
        axes.annotate(
            style.plain(f"{sensor}: {status}"), spot, xycoords="axes fraction", color=style.WARNING, fontsize=8
        )


def _curve(pane: Pane, name: Name) -> tuple[Floats, Floats, list[tuple[float, float]]]:
    """A channel as a line, seconds and W, broken where readings lack, and the stretches in which they do."""
    mine = pane.readings
    for column, wanted in (("sensor", name.sensor), ("channel", name.channel), ("kind", name.kind)):
        mine = mine[mine[column] == wanted]
    good = mine[mine.status == "ok"]
    at_s, values = good.at_s.to_numpy(np.float64), good.value.to_numpy(np.float64)
    failed = mine[mine.status != "ok"].at_s.to_numpy(np.float64)
    if at_s.size < 2:
        return at_s, values if name.kind != COUNTER else np.full(at_s.size, np.nan), _span(failed)
    steps = np.diff(at_s)
    between = np.searchsorted(failed, at_s[:-1]) != np.searchsorted(failed, at_s[1:])
    broken = between | (steps > _GAP * np.median(steps))
    holes = [(at_s[n], at_s[n + 1]) for n in np.flatnonzero(broken)]
    holes += [(a, b) for a, b in _span(failed[(failed < at_s[0]) | (failed > at_s[-1])])]
    if name.kind == COUNTER:
        return *_rates(at_s, values, broken), holes
    after = np.flatnonzero(broken) + 1
    return np.insert(at_s, after, np.nan), np.insert(values, after, np.nan), holes


def _rates(at_s: Floats, joules: Floats, broken: Bools) -> tuple[Floats, Floats]:
    """A counter's mean power between readings, as steps; none where it is broken, stood on one time or went backwards."""
    steps, taken = np.diff(at_s), np.diff(joules)
    unknown = broken | (steps <= 0) | (taken < 0)
    watts = np.where(unknown, np.nan, taken / np.where(steps > 0, steps, 1.0))
    return np.repeat(at_s, 2)[1:-1], np.repeat(watts, 2)


def _span(times: Floats) -> list[tuple[float, float]]:
    return [(float(times[0]), float(times[-1]))] if times.size else []


def _key(shown: Sequence[Pane], looks: Mapping[Name, _Look]) -> Iterator[Line2D | Patch]:
    """Handles for what stands in the figure, and for nothing else."""
    for name, look in looks.items():
        counted = ", mean between readings of its counter" if name.kind == COUNTER else ""
        label = f"{name.sensor} {name.channel}, scope {name.scope}{counted}"
        yield Line2D([], [], color=look.colour, linestyle=look.line, lw=look.width, label=style.plain(label))
    if any(not name.total for pane in shown for name in _channels(pane)):
        yield Line2D([], [], color=_PART.colour, lw=_PART.width, label="parts of a total, never added")
    yield Patch(color=style.BAND, label="window")
    if any(_curve(pane, name)[2] for pane in shown for name in _channels(pane) if name.total):
        yield Patch(facecolor="none", edgecolor=style.WARNING, hatch="////", lw=0.6, label="no reading")

"""The energy of one window from one trace of readings, in J, with what its meter leaves unknown.

Power (`instant_power`, `averaged_power`), values p_i that were new at t_i, a window from 0 to T:

    E = integral of the line through (t_i - A / 2, p_i), its ends interpolated linearly at 0 and T      (trapezoid)

A mean over the A s before a reading lies A / 2 earlier. A value that is held for U s counts once, not as often as it is read
(what is read at 50 Hz would be weighted by chance, in step with the inferences), and was new half of the span in which it
came before the reading that shows it. A pass begins and ends in idleness, so power steps by D (inside less outside, from
the readings on both sides) at both edges, and readings that draw from both sides lose part of it: with a mean distance m,
D m / 2. That is given back, E + D_0 k + D_T k, where k = s / sqrt(2 pi) for the standard deviation s of that distance,
s^2 = A^2 / 12 + U^2 / 12 + spacing^2 / 6 (boxcar, age, line between two readings; half of E|x| of a normal). What may
remain is half of it, and D U / 2 for an age that is not half the update period (U unknown: the spacing); it has the same sign
in every window of a case (`bias_j`).

Counters, values e_i: only a reading that shows a new value tells when the meter counted, between the reading before (at
most U earlier) and itself; so it is put into the middle of that span d_i, and E = e(T) - e(0) by linear interpolation.
Phases are random from window to window, so each end is off by a uniform error of +- P d / 2 (`edge_j`, its standard
uncertainty: P sqrt(d_0^2 + d_T^2) / sqrt(12); without finding the changes it would be twice that). Where power steps by D at
an edge, a straight line between two values c apart lies D c x (1 - x) too high at x c; that is taken off, D c / 8 is what may
remain (`bias_j`).

Rounding to steps of r gives each end of a counter r / sqrt(12) (`quantum_j` = r / sqrt(6)). A rounded power keeps its
error for as long as it stays on one step: T r / sqrt(12) sqrt(sum of w_k^2), w_k the share of readings on step k; that is
r / sqrt(12 n) where n steps are equally frequent, and r / sqrt(12) where there is one (GUM, JCGM 100:2008, F.2.2.1 and 5.1.2).

Covered is what lies between two readings at most three periods apart (the median spacing, or U if that is longer); below
95 % there is no figure, and none where a counter gave errors within its window: nobody knows what it counted meanwhile.
A clock that is off by b s may shift both edges: P b (`bias_j`). Times are relative to a window's start, so that 64 bits of a
float are enough.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from harness import wire
from harness.stats.processes import Floats
from harness.stats.readings import Blank, Drawn, Readings

COVERED = 0.95  # the least part of a window that readings must cover
LEAST = 3  # new values within a window: fewer tell nothing of its edges
_AROUND = 5  # values on each side of an edge that tell its power
_BREAKS = frozenset(("error", "permission"))  # nobody knows what a counter counted meanwhile
_PERIODS = 3.0  # a longer pause between two readings is a hole


@dataclass(frozen=True, eq=False)
class _Cut:
    """What a trace gave around a window: times in s from its start, values, and the window's length."""

    readings: Readings
    t: Floats
    v: Floats
    length: float

    @property
    def channel(self) -> wire.Channel:
        return self.readings.trace.channel

    @property
    def inside(self) -> npt.NDArray[np.bool_]:
        return (self.t >= 0) & (self.t <= self.length)

    def moved(self, lag: float) -> _Cut:
        return _Cut(self.readings, self.t - lag, self.v, self.length)

    def coverage(self) -> float:
        """The part of the window between two readings that follow each other closely."""
        first, last = self.t[:-1].clip(0, self.length), self.t[1:].clip(0, self.length)
        close = np.diff(self.t) <= _PERIODS * self.readings.period_s
        return min(1.0, float((last - first)[close].sum()) / self.length)


def energy(readings: Readings, start_ns: int, end_ns: int) -> Drawn | Blank:
    """Return the energy of the window, or why there is none. Formulas above."""
    length = (end_ns - start_ns) / 1e9
    reach = int(1e9 * (length + 60))  # a trace of a whole job is long; readings a minute away say nothing of a window
    near = slice(*np.searchsorted(readings.at_ns, _unbroken(readings, start_ns, end_ns, reach)))
    cut = _Cut(readings, (readings.at_ns[near] - start_ns) / 1e9, readings.values[near], length)
    said = _said(readings, start_ns, end_ns)
    if cut.t.size == 0:
        return _blank(said, "uncovered", "no reading in or near the window", 0.0)
    kinds: dict[str, Callable[[_Cut, Counter[tuple[str, str]]], Drawn | Blank]] = {"energy_counter": _counted}
    found = kinds.get(cut.channel.kind, _integrated)(cut, said)
    if isinstance(found, Drawn) and found.energy_j <= 0:  # many plugs say 0 W of what they are too coarse for
        return Blank("error", "by its meter nothing was drawn, and what is switched on draws more", found.coverage)
    return found


def _unbroken(readings: Readings, start_ns: int, end_ns: int, reach_ns: int) -> tuple[int, int]:
    """From when to when readings tell of the window: a counter's beyond its next break count something else."""
    first, last = start_ns - reach_ns, end_ns + reach_ns
    if readings.trace.channel.kind == "energy_counter":
        broken = [gap.t_ns for gap in readings.trace.gaps if gap.status in _BREAKS]
        first = max([first, *(at for at in broken if at < start_ns)])
        last = min([last, *(at for at in broken if at > end_ns)])
    return first, last


def _said(readings: Readings, start_ns: int, end_ns: int) -> Counter[tuple[str, str]]:
    """What a sensor said instead of numbers within a window: how often, by status and reason.

    Of a counter also between the edges and the readings around them: its value at an edge is taken from both.
    """
    if readings.trace.channel.kind == "energy_counter":
        before = readings.at_ns[readings.at_ns <= start_ns][-1:]
        after = readings.at_ns[readings.at_ns >= end_ns][:1]
        start_ns, end_ns = min([start_ns, *before]), max([end_ns, *after])
    return Counter((gap.status, gap.reason) for gap in readings.trace.gaps if start_ns <= gap.t_ns <= end_ns)


def _blank(said: Counter[tuple[str, str]], status: str, reason: str, coverage: float) -> Blank:
    """A window without a figure; what the sensor said of it is the reason, where it said something."""
    if said:
        status, why = said.most_common(1)[0][0]
        reason = f"{why} ({reason})"
    return Blank(status, reason, coverage)


def _hole(cut: _Cut, said: Counter[tuple[str, str]], coverage: float) -> Blank | None:
    if coverage < COVERED:
        return _blank(said, "uncovered", "readings cover less than 95 % of it", coverage)
    return None


def _slow() -> Blank:
    return Blank("too-short", f"it holds fewer than {LEAST} new values of its meter: lengthen it (--window)", 1.0)


# --- power ---------------------------------------------------------------------------------------------------------


def _integrated(cut: _Cut, said: Counter[tuple[str, str]]) -> Drawn | Blank:
    coverage = cut.moved(cut.channel.average_s / 2).coverage()
    hole = _hole(cut, said, coverage)
    if hole is not None:
        return hole
    cut = _fresh(cut)
    values = cut.v[cut.inside]
    if values.size < LEAST:
        return _slow()
    times = np.concatenate(((0.0,), cut.t[cut.inside], (cut.length,)))
    drawn = float(np.trapezoid(np.interp(times, cut.t, cut.v), times))
    steps, blur = [_step(cut, edge, inward) for edge, inward in ((0.0, 1), (cut.length, -1))], _blur_s(cut)
    late = max(map(abs, steps)) * (cut.channel.update_s or cut.readings.spacing_s) / 2
    lost = (1 - coverage) * cut.length * float(np.ptp(values)) / 2
    _, counts = np.unique(values, return_counts=True)
    shares = counts / values.size
    return Drawn(
        energy_j=drawn + blur * sum(steps),
        seconds=cut.length,
        coverage=coverage,
        bias_j=blur * sum(map(abs, steps)) / 2 + late + lost + abs(drawn) / cut.length * cut.readings.bound_s,
        quantum_j=cut.length * _step_size_w(cut) / math.sqrt(12) * math.sqrt(float(shares @ shares)),
    )


def _step_size_w(cut: _Cut) -> float:
    """The meter's smallest step; where it is not told, the smallest between two values, or a unit of one value's last digit."""
    if cut.channel.resolution:
        return cut.channel.resolution
    values = np.unique(cut.v)
    if values.size > 1:
        return float(np.diff(values).min())
    return 10.0 ** min(0, int(Decimal(repr(float(values[0]))).normalize().as_tuple().exponent))


def _fresh(cut: _Cut) -> _Cut:
    """The readings that can be new ones, each where its value belongs: one that is held counts once, not as often as read."""
    update, since = cut.channel.update_s, np.diff(cut.t, prepend=-math.inf)
    kept, last = [], -1
    for index in range(cut.t.size):
        if last < 0 or cut.v[index] != cut.v[last] or cut.t[index] - cut.t[last] >= update:
            kept.append(index)
            last = index
    at = cut.t - np.minimum(since, update) / 2 - cut.channel.average_s / 2
    return _Cut(cut.readings, at[kept], cut.v[kept], cut.length)


def _blur_s(cut: _Cut) -> float:
    """What an edge loses of a step there, s: half the mean distance from which a reading draws its power."""
    variance = (cut.channel.average_s**2 + cut.channel.update_s**2) / 12 + cut.readings.period_s**2 / 6
    return math.sqrt(variance / (2 * math.pi))


def _step(cut: _Cut, edge: float, inward: int) -> float:
    """By how much power is higher inside an edge than outside, W: between means, beyond what an average blurs."""
    lag = (cut.channel.average_s + cut.channel.update_s) / 2
    width = max(2 * lag, 5 * cut.readings.period_s)
    before = cut.v[(cut.t >= edge - lag - width) & (cut.t <= edge - lag)]
    after = cut.v[(cut.t >= edge + lag) & (cut.t <= edge + lag + width)]
    if not (before.size and after.size):
        return 0.0  # nobody saw the other side
    return inward * float(after.mean() - before.mean())


# --- counters ------------------------------------------------------------------------------------------------------


def _counted(cut: _Cut, said: Counter[tuple[str, str]]) -> Drawn | Blank:
    coverage = cut.coverage()
    if _BREAKS.intersection(status for status, _ in said):
        return _blank(said, "error", "within a counter's window", coverage)
    hole = _hole(cut, said, coverage)
    if hole is not None:
        return hole
    around = (cut.t >= -_PERIODS * cut.readings.period_s) & (cut.t <= cut.length + _PERIODS * cut.readings.period_s)
    if (np.diff(cut.v[around]) < 0).any():
        return Blank("error", "the counter went backwards", coverage)
    t, v, span = _knots(cut)
    within = int(np.count_nonzero((t >= 0) & (t <= cut.length)))
    if within < LEAST:
        return _slow()
    longest = _PERIODS * max(cut.readings.period_s, float(np.median(np.diff(t))))
    still = max(t[0], cut.length - t[-1])
    if still > longest:
        return Blank("stale", "the counter stood still at an end of it", coverage)
    (first, first_span), (last, last_span) = (_level(t, v, span, edge) for edge in (0.0, cut.length))
    bends = [_bend(t, v, edge) for edge in (0.0, cut.length)]
    drawn = last - bends[1][0] - (first - bends[0][0])
    power = drawn / cut.length
    return Drawn(
        energy_j=drawn,
        seconds=cut.length,
        coverage=coverage,
        bias_j=sum(bound for _, bound in bends) + power * cut.readings.bound_s,
        quantum_j=cut.channel.resolution / math.sqrt(6),
        edge_j=power * math.hypot(first_span, last_span) / math.sqrt(12),
    )


def _knots(cut: _Cut) -> tuple[Floats, Floats, Floats]:
    """When a counter is known to have had which value: middles of the spans in which it changed, values, spans (s).

    The first and the last reading, at most an update period old, serve where no change lies beyond an end of the window.
    """
    new = 1 + np.flatnonzero(np.diff(cut.v))
    span, update = cut.t[new] - cut.t[new - 1], cut.channel.update_s
    if update:
        span = np.minimum(span, update)
    at = cut.t[new] - span / 2
    first = [0] if update and not (at <= 0).any() else []
    last = [cut.t.size - 1] if update and not (at >= cut.length).any() and cut.t.size - 1 not in new else []
    ends = (cut.t[first] - update / 2, at, cut.t[last] - update / 2)
    spans = (np.full(len(first), update), span, np.full(len(last), update))
    return np.concatenate(ends), np.concatenate((cut.v[first], cut.v[new], cut.v[last])), np.concatenate(spans)


def _level(t: Floats, v: Floats, span: Floats, edge: float) -> tuple[float, float]:
    """The counter's value at an edge, and the span in which the change next to it lies; beyond the last it goes on as before."""
    if t[0] <= edge <= t[-1]:
        return float(np.interp(edge, t, v)), float(span[np.argmin(np.abs(t - edge))])
    near = 0 if edge < t[0] else -1
    slope = (v[-1] - v[0]) / (t[-1] - t[0])
    away = edge - t[near]
    return float(v[near] + slope * away), float(span[near] + abs(away))


def _bend(t: Floats, v: Floats, edge: float) -> tuple[float, float]:
    """By how much a straight line between two values lies above a counter whose power steps at this edge, and a bound, J."""
    after = int(np.clip(np.searchsorted(t, edge), 1, t.size - 1))
    first, last, span = max(after - 1 - _AROUND, 0), min(after + _AROUND, t.size - 1), float(t[after] - t[after - 1])
    if not t[after - 1] <= edge <= t[after]:
        return 0.0, 0.0
    if first == after - 1 or last == after:  # nobody saw the other side
        return 0.0, float(v[-1] - v[0]) / float(t[-1] - t[0]) * span / 4
    before_w = (v[after - 1] - v[first]) / (t[after - 1] - t[first])
    step_w = float((v[last] - v[after]) / (t[last] - t[after]) - before_w)
    place = (edge - float(t[after - 1])) / span
    return step_w * span * place * (1 - place), abs(step_w) * span / 8

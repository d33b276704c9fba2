"""The energy of one window from one trace of readings, in J, with what its meter leaves unknown.

Power (`instant_power`, `averaged_power`), readings p_i at t_i, a window from 0 to T:

    E = integral of the line through (t_i - lag, p_i), its ends interpolated linearly at 0 and T      (trapezoid)

A mean over the A s before a reading lies A / 2 earlier (`lag`): moved there, it is the power under a centred boxcar, which
changes an integral at its edges alone, by at most D A / 8 where power steps by D. A value that becomes a new one every U s
is U / 2 old on average, and may itself be a mean over U: off by at most D U at an edge (U unknown: the spacing of readings). D is
taken from the readings on both sides of the edge. Such an error has the same sign in every window of a case (`bias_j`).

Counters, values e_i: only a reading that shows a new value tells when the meter counted, between the reading before (at
most U earlier) and itself; so it is put into the middle of that span d_i, and E = e(T) - e(0) by linear interpolation.
Phases are random from window to window, so each end is off by a uniform error of +- P d / 2 (`edge_j`, its standard
uncertainty: P sqrt(d_0^2 + d_T^2) / sqrt(12); without finding the changes it would be twice that).

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
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness import wire
from harness.stats.processes import Floats

COVERED = 0.95  # the least part of a window that readings must cover
LEAST = 3  # new values within a window: fewer tell nothing of its edges
_PERIODS = 3.0  # a longer pause between two readings is a hole


@dataclass(frozen=True)
class Drawn:
    """The energy of a window of `seconds`, J. `bias_j`: at most so far off, with one sign in all windows of a case;
    `quantum_j` and `edge_j`: standard uncertainties of rounding and of the edges; `coverage` a fraction.
    """

    energy_j: float
    seconds: float
    coverage: float
    bias_j: float = 0.0
    quantum_j: float = 0.0
    edge_j: float = 0.0

    @property
    def power_w(self) -> float:
        """Mean power."""
        return self.energy_j / self.seconds


@dataclass(frozen=True)
class Blank:
    """A window without a figure: uncovered, too-slow, or what its sensor said (stale, permission, error, unsupported)."""

    status: str
    reason: str
    coverage: float = 0.0


@dataclass(frozen=True, eq=False)
class Readings:
    """A trace for arithmetic. `bound_s`: by how much its times may be off."""

    trace: wire.Trace
    bound_s: float = 0.0

    @cached_property
    def at_ns(self) -> npt.NDArray[np.int64]:
        """Times of the readings."""
        return np.asarray(self.trace.t_ns, dtype=np.int64)

    @cached_property
    def values(self) -> Floats:
        """The readings in the unit of the channel."""
        return np.asarray(self.trace.values, dtype=np.float64)

    @cached_property
    def spacing_s(self) -> float:
        """The median time from one reading to the next; infinite below two."""
        return float(np.median(np.diff(self.at_ns))) / 1e9 if self.at_ns.size > 1 else math.inf

    @property
    def period_s(self) -> float:
        """The nominal period: how often a new value can be expected."""
        return max(self.spacing_s, self.trace.channel.update_s)


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
    near = slice(*np.searchsorted(readings.at_ns, (start_ns - reach, end_ns + reach)))
    cut = _Cut(readings, (readings.at_ns[near] - start_ns) / 1e9, readings.values[near], length)
    said = _said(readings, start_ns, end_ns)
    if cut.t.size == 0:
        return _blank(said, "uncovered", "no reading in or near the window", 0.0)
    kinds: dict[str, Callable[[_Cut, Counter[tuple[str, str]]], Drawn | Blank]] = {"energy_counter": _counted}
    return kinds.get(cut.channel.kind, _integrated)(cut, said)


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
        return _blank(said, "uncovered", f"readings cover {100 * coverage:.0f} % of a window", coverage)
    return None


def _slow(cut: _Cut, values: int) -> Blank:
    least = LEAST * max(cut.readings.period_s, cut.length / max(values, 1))
    return Blank(
        "too-slow",
        f"a window of {cut.length:g} s holds {values} new values: windows of {least:.3g} s and more may do (--window)",
        1.0,
    )


# --- power ---------------------------------------------------------------------------------------------------------


def _integrated(cut: _Cut, said: Counter[tuple[str, str]]) -> Drawn | Blank:
    lag = (cut.channel.average_s + cut.channel.update_s) / 2
    cut = cut.moved(lag)
    coverage = cut.coverage()
    hole = _hole(cut, said, coverage)
    if hole is not None:
        return hole
    if np.count_nonzero(cut.inside) < LEAST:
        return _slow(cut, int(np.count_nonzero(cut.inside)))
    values = cut.v[cut.inside]
    times = np.concatenate(((0.0,), cut.t[cut.inside], (cut.length,)))
    drawn = float(np.trapezoid(np.interp(times, cut.t, cut.v), times))
    lost = (1 - coverage) * cut.length * float(np.ptp(values)) / 2
    steps = sum(_step(cut, edge, lag) for edge in (0.0, cut.length)) * (
        cut.channel.update_s + cut.channel.average_s / 8
    )
    _, counts = np.unique(values, return_counts=True)
    shares = counts / values.size
    return Drawn(
        energy_j=drawn,
        seconds=cut.length,
        coverage=coverage,
        bias_j=steps + lost + abs(drawn) / cut.length * cut.readings.bound_s,
        quantum_j=cut.length * cut.channel.resolution / math.sqrt(12) * math.sqrt(float(shares @ shares)),
    )


def _step(cut: _Cut, edge: float, lag: float) -> float:
    """How far power differs on the two sides of an edge, W: between means, beyond what an average blurs."""
    width = max(2 * lag, cut.channel.update_s, 5 * cut.readings.spacing_s)
    before = cut.v[(cut.t >= edge - lag - width) & (cut.t <= edge - lag)]
    after = cut.v[(cut.t >= edge + lag) & (cut.t <= edge + lag + width)]
    if not (before.size and after.size):
        return float(np.ptp(cut.v[cut.inside]))  # nobody saw the other side
    return abs(float(after.mean() - before.mean()))


# --- counters ------------------------------------------------------------------------------------------------------


def _counted(cut: _Cut, said: Counter[tuple[str, str]]) -> Drawn | Blank:
    coverage = cut.coverage()
    if {status for status, _ in said} & {"error", "permission"}:
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
        return _slow(cut, within)
    longest = _PERIODS * max(cut.readings.period_s, float(np.median(np.diff(t))))
    still = max(t[0], cut.length - t[-1])
    if still > longest:
        return Blank("stale", f"the counter stood still for {still:.3g} s at an end of the window", coverage)
    (first, first_span), (last, last_span) = (_level(t, v, span, edge) for edge in (0.0, cut.length))
    drawn = last - first
    power = drawn / cut.length
    return Drawn(
        energy_j=drawn,
        seconds=cut.length,
        coverage=coverage,
        bias_j=power * cut.readings.bound_s,
        quantum_j=cut.channel.resolution / math.sqrt(6),
        edge_j=power * math.hypot(first_span, last_span) / math.sqrt(12),
    )


def _knots(cut: _Cut) -> tuple[Floats, Floats, Floats]:
    """When a counter is known to have had which value: middles of the spans in which it changed, values, spans (s)."""
    new = 1 + np.flatnonzero(np.diff(cut.v))
    span = cut.t[new] - cut.t[new - 1]
    if cut.channel.update_s:
        span = np.minimum(span, cut.channel.update_s)
    return cut.t[new] - span / 2, cut.v[new], span


def _level(t: Floats, v: Floats, span: Floats, edge: float) -> tuple[float, float]:
    """The counter's value at an edge, and the span in which the change next to it lies; beyond the last it goes on as before."""
    if t[0] <= edge <= t[-1]:
        return float(np.interp(edge, t, v)), float(span[np.argmin(np.abs(t - edge))])
    near = 0 if edge < t[0] else -1
    slope = (v[-1] - v[0]) / (t[-1] - t[0])
    away = edge - t[near]
    return float(v[near] + slope * away), float(span[near] + abs(away))

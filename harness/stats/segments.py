"""Where a whole series changed its level: its history cut into segments, for a page. Pure: a series in, segments out.

The cuts are those that make least, over all partitions into segments of at least SHORTEST nights (dynamic programming:
Jackson et al., IEEE Signal Processing Letters 2005; PELT finds the same ones),

    sum over segments of squared distances from the segment's mean  +  PENALTY ln(n) s^2 (1 + rho) / (1 - rho) per cut

A night farther than 4 robust sds from the median of the five about it is put back to that median first (Hampel): no segment
can be so short. s and rho come from differences between nights one and two apart, which steps hardly touch: d_k is 1.4826 MAD
of them, s^2 = d_1^2 / (2 (1 - rho)), rho = (d_2 / d_1)^2 - 1, for an AR(1) series, held between 0.25 and 0.8 as in `levels`.
Then the weakest cut goes, as long as one is left whose levels differ by less than `least` or with p > ALPHA (normal, of two
means of AR(1) series). p is that of one given cut: it says how clear a change is, not how seldom one is found where there is
none; how often that is, benchmarks/regressions.py measures, beside ruptures' PELT.

`judge` (`changes`) decides at night what is told; this looks back, with the nights that followed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.stats.levels import RHO
from harness.stats.processes import Floats

SHORTEST = 3  # nights
ALPHA = 0.001
PENALTY = 3.0
_SPIKE = 4.0  # robust sds
_LEAST_SD = 1e-9  # on the log scale: what rounding leaves of a series that never moved


@dataclass(frozen=True)
class Segment:
    """Nights of one level: positions `first` to `last` of the series, and the mean on the log scale, spikes put back.

    `ratio`: to the level before, with `p` of the cut between the two; None and 1 for the first segment and where an upgrade
    cuts.
    """

    first: int
    last: int
    level: float
    ratio: float | None = None
    p: float = 1.0


def segments(logs: Floats, least: float = 0.02, breaks: Sequence[int] = ()) -> tuple[Segment, ...]:
    """Cut a series of log values, NaN where none counts, at its changes of level and at `breaks` (upgrades).

    `least`: the smallest change that counts, as a fraction. A series without a night that counts has no segments.
    """
    nights = np.flatnonzero(np.isfinite(logs))
    upgrades = {int(np.searchsorted(nights, at)) for at in breaks}
    edges = sorted({0, len(nights), *upgrades})
    found: list[Segment] = []
    for a, b in pairwise(edges):
        found += _between_upgrades(logs[nights[a:b]], nights[a:b].tolist(), math.log1p(least))
    return tuple(found)


def _between_upgrades(raw: Floats, nights: list[int], least: float) -> list[Segment]:
    values = _without_spikes(raw)
    unit = _long_run_variance(values)
    edges = [0, *_cuts(values, PENALTY * math.log(max(2, len(values))) * unit), len(values)]
    while len(edges) > 2:
        places = range(1, len(edges) - 1)
        weakest = max(places, key=lambda k: _weakness(values, edges[k - 1 : k + 2], unit, least))
        if _weakness(values, edges[weakest - 1 : weakest + 2], unit, least) <= ALPHA:
            break
        del edges[weakest]
    return [_segment(values, nights, edges, k, unit) for k in range(len(edges) - 1)]


def _segment(values: Floats, nights: list[int], edges: list[int], k: int, unit: float) -> Segment:
    a, b = edges[k : k + 2]
    level = float(values[a:b].mean())
    if not k:
        return Segment(nights[a], nights[b - 1], level)
    apart, p = _cut(values, edges[k - 1 : k + 2], unit)
    return Segment(nights[a], nights[b - 1], level, math.exp(apart), p)


def _weakness(values: Floats, edges: Sequence[int], unit: float, least: float) -> float:
    """p of a cut; of those with less than the least change the smallest change first, beyond any p."""
    apart, p = _cut(values, edges, unit)
    return p if abs(apart) >= least else 2.0 - abs(apart) / least


def _cut(values: Floats, edges: Sequence[int], unit: float) -> tuple[float, float]:
    a, at, b = edges
    apart = float(values[at:b].mean() - values[a:at].mean())
    return apart, math.erfc(abs(apart) / math.sqrt(2 * unit * (1 / (at - a) + 1 / (b - at))))


def _cuts(values: Floats, penalty: float) -> list[int]:
    """The positions, without 0 and n, at which the best partition cuts."""
    n = len(values)
    if n < 2 * SHORTEST:
        return []
    sums, squares = (
        np.concatenate([[0.0], np.cumsum(each)]) for each in (values - values.mean(), (values - values.mean()) ** 2)
    )
    best, came = np.full(n + 1, np.inf), np.zeros(n + 1, dtype=int)
    best[0] = -penalty
    for end in range(SHORTEST, n + 1):
        starts = np.arange(0, end - SHORTEST + 1)
        inside = squares[end] - squares[starts] - (sums[end] - sums[starts]) ** 2 / (end - starts)
        costs = best[starts] + inside + penalty
        came[end] = int(np.argmin(costs))
        best[end] = costs[came[end]]
    cuts, at = [], n
    while at > 0:
        at = int(came[at])
        cuts.append(at)
    return cuts[-2::-1]


def _without_spikes(values: Floats) -> Floats:
    if len(values) < 5:
        return values
    around = np.lib.stride_tricks.sliding_window_view(np.pad(values, 2, mode="reflect"), 5)
    middle = np.median(around, axis=1)
    robust = 1.4826 * float(np.median(np.abs(values - middle)))
    return np.where(np.abs(values - middle) > _SPIKE * robust, middle, values)


def _long_run_variance(values: Floats) -> float:
    """s^2 (1 + rho) / (1 - rho): n times the variance of a mean of n nights."""
    if len(values) < 2 * SHORTEST:
        return math.inf  # nothing is cut
    one, two = (max(1.4826 * float(np.median(np.abs(values[k:] - values[:-k]))), _LEAST_SD) for k in (1, 2))
    rho = min(max((two / one) ** 2 - 1, RHO[0]), RHO[1])
    variance = one**2 / (2 * (1 - rho))
    return variance * (1 + rho) / (1 - rho)

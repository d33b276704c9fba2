"""The same case in two runs: unpaired, as nothing ran beside its like.

Blocks of one run share nothing with blocks of the other, so levels are compared, not differences. A block counts once, by
the median of ln(process median) over its processes, as processes of one block are not independent of each other. With
c the 20 % trimmed mean over the n blocks of a run, s_w their winsorised standard deviation, h the blocks that are left:

    ln ratio = c(before) - c(after),  v = s_w^2 (n - 1) / (h (h - 1)) * n / n_eff,  hw = t(1 - a / 2, f) * sqrt(v_1 + v_2 + b)

(Yuen, Biometrika 1974; f by Welch and Satterthwaite). Two things that pairing cancels are added:

- n_eff = n (1 - rho) / (1 + rho): a device that wanders makes neighbouring blocks alike, and n of them say less (rho: lag-1
  autocorrelation of the blocks, plus 1 / n, its bias in short series; from 0 to 0.9). It cures slow swings within a run,
  not a walk that never comes back.
- b = sd_1^2 + sd_2^2, the variances between jobs of a calibrated device: what differs from one job to the next, and no
  block of either can show. Without a calibration it is missing, and intervals are too narrow by it.

Intervals hold for all m cases of the comparison at once: a = 0.05 / m (Bonferroni). Resampling whole blocks (max-t, as in
`ladders`) would use that cases of one run go up and down together; but most jobs end below 20 blocks, where it is too
narrow, and two rules would make verdicts change for no reason that a reader sees.

The stopping rule looks at paired differences, whose spread says little of that of levels: the error is not split over looks
(tests/stats/test_across.py simulates jobs that stop by the rule).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from harness.records import Verdict
from harness.stats import widths
from harness.stats.comparisons import verdict
from harness.stats.processes import Floats, Process, by_block, last_attempts
from harness.stats.steady import effective, lag1

ALPHA = 0.05  # of all cases of a comparison together
_RHO = 0.9  # more autocorrelation than this cannot be told from drift

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Side:
    """A case as one run measured it. `floor`: size of the A/A floor of its job on the log scale (`floor_size`).

    `between_jobs_sd`: of the device, as a fraction, from so many calibration `jobs`; None: not calibrated.
    """

    processes: Sequence[Process]
    floor: float | None
    resolution_ns: float = 0.0
    between_jobs_sd: float | None = None
    jobs: int = 3


@dataclass(frozen=True)
class Across:
    """Latency before over latency after, unpaired: above 1 it became faster. The interval holds for all cases at once."""

    ratio: float
    low: float | None
    high: float | None
    verdict: Verdict


@dataclass(frozen=True)
class _Part:
    """A part of the variance of a log ratio, with its degrees of freedom."""

    variance: float
    freedom: float


def across(
    pairs: Mapping[Key, tuple[Side, Side]], alike: Collection[Key] = ()
) -> tuple[dict[Key, Across | None], float | None]:
    """Compare cases of two runs, (before, after) by name, and return what came out and the floor between the runs.

    `alike` names pairs that are the same artifact on a device of which all known facts are equal: what differs there,
    differs by itself, so that no smaller difference of *another* pair is called `faster` or `slower`. That floor is the
    farthest that an interval of these reaches from 1, on the log scale; None without any. A pair is None where a side has
    no process, and without interval, `unclear`, where one has a single block.
    """
    means = {name: _log_ratio(*pair) for name, pair in pairs.items()}
    compared = sum(mean is not None for mean in means.values())
    spans = {name: _half_width(*pair, ALPHA / compared) for name, pair in pairs.items() if means[name] is not None}
    between = _between(means, spans, alike)
    found: dict[Key, Across | None] = {}
    for name, (before, after) in pairs.items():
        mean = means[name]
        floor = _floor(before.floor, after.floor, None if name in alike else between)
        slowed = any(process.throttled for side in (before, after) for process in last_attempts(side.processes))
        found[name] = None if mean is None else _said(mean, spans[name], floor, slowed)
    return found, between


def _said(mean: float, width: float | None, floor: float | None, slowed: bool) -> Across:
    said: Verdict = "unclear" if slowed else verdict(mean, width, floor)
    low, high = (None, None) if width is None else widths.limits(mean, width)
    return Across(math.exp(mean), low, high, said)


def _between(
    means: Mapping[Key, float | None], half_widths: Mapping[Key, float | None], alike: Collection[Key]
) -> float | None:
    """How far the intervals of pairs that ought to be alike reach from 1."""
    reached = []
    for name in alike:
        mean, width = means.get(name), half_widths.get(name)
        if mean is not None and width is not None:
            reached.append(abs(mean) + width)
    return max(reached, default=None)


def _floor(before: float | None, after: float | None, between: float | None) -> float | None:
    """The largest floor; None where a run has none."""
    return None if before is None or after is None else max(before, after, between or 0.0)


def _log_ratio(before: Side, after: Side) -> float | None:
    levels = _levels(before), _levels(after)
    return widths.centre(levels[0]) - widths.centre(levels[1]) if all(level.size for level in levels) else None


def _half_width(before: Side, after: Side, alpha: float) -> float | None:
    """Half-width of the interval on the log scale; None where a side has fewer than two blocks."""
    from scipy.special import stdtrit  # takes longer to import than showing a run takes

    sides = [(side, _levels(side)) for side in (before, after)]
    if min(levels.size for _, levels in sides) < 2:
        return None
    parts = [_within(levels) for _, levels in sides] + [_of_jobs(before, after)]
    total = sum(part.variance for part in parts)
    seen = sum(widths.clock(side.resolution_ns, last_attempts(side.processes)) for side in (before, after))
    if total == 0:
        return seen
    freedom = total**2 / sum(part.variance**2 / part.freedom for part in parts)
    return max(float(stdtrit(freedom, 1 - alpha / 2)) * math.sqrt(total), seen)


def _levels(side: Side) -> Floats:
    """The levels of the blocks, in order."""
    blocks = by_block(last_attempts(side.processes))
    return np.array([blocks[block] for block in sorted(blocks)], dtype=np.float64)


def _within(levels: Floats) -> _Part:
    """What one run's blocks leave unknown of its level."""
    n, rho = levels.size, lag1(levels)
    kept = min(max((rho or 0.0) + 1 / n, 0.0), _RHO) if rho is not None else 0.0
    worth = max(effective(n, kept), 2.0)
    left = n - 2 * (n // widths.CUT)
    variance = (widths.spread(levels) * widths.standard_error(n)) ** 2 * n / worth
    return _Part(variance, max((left - 1) * worth / n, 1.0))


def _of_jobs(before: Side, after: Side) -> _Part:
    known = [side for side in (before, after) if side.between_jobs_sd is not None]
    variance = sum((side.between_jobs_sd or 0.0) ** 2 for side in known)
    return _Part(variance, max(min((side.jobs for side in known), default=2) - 1, 1))

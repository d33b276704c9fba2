"""Samples to estimates, intervals, comparisons and verdicts. Pure: numbers in, frozen records out.

The process is the unit of replication: thousands of inferences within one share its memory layout, its clock and its
neighbours, and an interval over them would be far too narrow. So every process counts once, by the logarithm of its
median; a block counts once, by the mean over its processes; and intervals are Student's t over blocks:

    y_b = mean over replicates r of ln median(latency_ns of process b, r)
    d_b = y_b(reference) - y_b(case)                                 paired: what slows a whole block cancels
    speed-up = exp(mean d),  interval = exp(mean d -+ hw),  hw = t(1 - a / 2, n - 1) * sd(d) / sqrt(n)

with a = alpha / number of looks, so that the interval holds at all planned looks together (Bonferroni). The agent
stops by the same rule, written in plain Python (devices/agent/stopping.py); a test holds the two together.

A latency is the median of process medians, m; its interval is for that median, t over blocks on the log scale:

    exp(ln m -+ hw),  hw = sqrt(pi / 2) * t(1 - 0.05 / 2, n - 1) * sd(y) / sqrt(n)

sqrt(pi / 2) is the standard error of a median over that of a mean, for normal logs and many blocks (a little less for
few: there the interval errs on the wide side). The median stays where one disturbed process would move a mean.

Latencies are integers of nanoseconds, never negative. A clock coarser than the inference reads 0; on the log scale
one nanosecond, the unit of what is stored, stands for a smaller median, so that ratios stay finite. No interval is
narrower than what the clock can see: its resolution over the median, for a ratio the sum of both sides'. The agent's
stopping rule knows nothing of this bound; with a clock of nanoseconds it is far below what blocks can reach.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.records import Estimate, Speedup, Verdict
from harness.wire import ProcessEvent, Protocol

SAME = 0.02  # an effect within +-2 % is called `same`
CONFIDENCE = 0.95  # of the interval of a median
RESOLUTION_NS = 1.0  # of what is stored
MAX_BLOCKS = 2**20  # where `blocks_needed` ceases to count, as the agent does: no one will wait for it
# The smallest n for which a two-sided 95 % order-statistic interval of the quantile exists: q^n <= 0.025.
QUANTILE_SAMPLES: Mapping[str, int] = {"p90": 36, "p95": 72, "p99": 368}

_MEDIAN = math.sqrt(math.pi / 2)  # standard error of a median over that of a mean

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Process:
    """One fresh process: the timed latencies of a case in ns, in order. Raises ValueError on impossible ones."""

    case_id: str
    block: int
    replicate: int
    attempt: int
    latency_ns: npt.NDArray[Any] | Sequence[int]
    contended: bool = False
    steady: bool = True

    def __post_init__(self) -> None:
        samples = np.asarray(self.latency_ns, dtype=np.float64)
        if samples.ndim != 1 or samples.size == 0:
            raise ValueError("a process needs at least one latency")
        if not (np.isfinite(samples).all() and samples.min() >= 0):
            raise ValueError("latencies must be finite and not negative")

    @classmethod
    def of(cls, event: ProcessEvent, *, contended: bool | None = None) -> Process:
        """The process as its journal event tells it, or `contended` as who knows the whole journal judges it."""
        key = (event.case_id, event.block, event.replicate, event.attempt)
        judged = event.contended if contended is None else contended
        return cls(*key, np.asarray(event.latency_ns), judged, event.steady)

    @cached_property
    def median_ns(self) -> float:
        """Median latency, ns."""
        return float(np.median(self.latency_ns))

    @property
    def log_median(self) -> float:
        """Natural logarithm of the median in ns, at least that of RESOLUTION_NS."""
        return math.log(max(self.median_ns, RESOLUTION_NS))


def last_attempts(processes: Iterable[Process]) -> tuple[Process, ...]:
    """Keep, of each (case, block, replicate), the last attempt: earlier ones were disturbed and measured again."""
    last: dict[tuple[str, int, int], Process] = {}
    for process in processes:
        key = (process.case_id, process.block, process.replicate)
        if key not in last or process.attempt > last[key].attempt:
            last[key] = process
    return tuple(last[key] for key in sorted(last))


# --- one case ------------------------------------------------------------------------------------------------------


def estimate(processes: Iterable[Process], resolution_ns: float = 0.0) -> Estimate:
    """Latency of one case, ns, from all its processes (last attempts count), read on a clock of this resolution.

    `median` is the median of process medians; `low` and `high` its 95 % interval, None below two blocks. Tails, mean
    and sd are of the pooled samples: a tail is None where n cannot bound it (QUANTILE_SAMPLES), sd below two samples.
    Raises ValueError without processes, or when they are of several cases.
    """
    counted = last_attempts(processes)
    if len({process.case_id for process in counted}) != 1:
        raise ValueError("an estimate needs processes, all of one case")
    pooled = np.concatenate([np.asarray(process.latency_ns, dtype=np.float64) for process in counted])
    median = float(np.median([process.median_ns for process in counted]))
    low, high = _median_interval(counted, median, _clock(resolution_ns, counted))
    return Estimate(
        median=median,
        low=low,
        high=high,
        p90=_quantile(pooled, "p90"),
        p95=_quantile(pooled, "p95"),
        p99=_quantile(pooled, "p99"),
        mean=float(pooled.mean()),
        sd=float(pooled.std(ddof=1)) if pooled.size > 1 else None,
        samples=int(pooled.size),
        processes=len(counted),
    )


def absent(estimate: Estimate) -> dict[str, str]:
    """Why numbers of an estimate are None, by their key (`latency_ns.p99`), for `Summary.reasons`."""
    reasons = {
        f"latency_ns.{name}": f"n too small: {estimate.samples} samples, a 95 % interval of {name} needs {least}"
        for name, least in QUANTILE_SAMPLES.items()
        if getattr(estimate, name) is None
    }
    if estimate.low is None:
        reasons |= dict.fromkeys(("latency_ns.low", "latency_ns.high"), "one block: an interval needs two")
    if estimate.sd is None:
        reasons["latency_ns.sd"] = "one sample: a standard deviation needs two"
    return reasons


def _median_interval(processes: Sequence[Process], median: float, clock: float) -> tuple[float | None, float | None]:
    mean_width = _half_width(np.array(list(_by_block(processes).values())), 1 - CONFIDENCE)
    if mean_width is None:
        return None, None
    centre, width = math.log(max(median, RESOLUTION_NS)), max(_MEDIAN * mean_width, clock)
    low, high = math.exp(centre - width), math.exp(centre + width)
    return min(low, median), max(high, median)  # against rounding, and a median below what is stored


def _clock(resolution_ns: float, *sides: Sequence[Process]) -> float:
    """What a clock cannot see of a latency (of a ratio: of both sides), on the log scale."""
    medians = (float(np.median([process.median_ns for process in side])) for side in sides if side)
    return sum(resolution_ns / max(median, RESOLUTION_NS) for median in medians)


def _quantile(pooled: Floats, name: str) -> float | None:
    return float(np.quantile(pooled, int(name[1:]) / 100)) if pooled.size >= QUANTILE_SAMPLES[name] else None


# --- a case against its reference ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reach:
    """How far a comparison has come: half-width on the log scale, and the blocks still needed for the one asked for.

    Both are None below two common blocks; `blocks_needed` also where no number of blocks would do: the clock is too coarse.
    """

    half_width: float | None
    blocks_needed: int | None


def reach(
    case: Iterable[Process], reference: Iterable[Process], protocol: Protocol, resolution_ns: float = 0.0
) -> Reach:
    """How far the comparison of a case with its reference has come."""
    counted, baseline = last_attempts(case), last_attempts(reference)
    ratios, clock = differences(counted, baseline), _clock(resolution_ns, counted, baseline)
    width = half_width(ratios, protocol)
    if width is None:
        return Reach(None, None)
    return Reach(max(width, clock), None if clock > protocol.half_width else blocks_needed(ratios, protocol))


def least(reaches: Sequence[Reach]) -> Reach:
    """The widest and longest of several comparisons of one case; None where one of them does not know."""
    widths, needed = [each.half_width for each in reaches], [each.blocks_needed for each in reaches]
    return Reach(
        None if None in widths else max(width for width in widths if width is not None),
        None if None in needed else max(more for more in needed if more is not None),
    )


def speedup(
    case: Iterable[Process], reference: Iterable[Process], protocol: Protocol, resolution_ns: float = 0.0
) -> Speedup | None:
    """How many times as fast the case is as its reference, paired within blocks.

    The interval holds at every planned look; it is None below two common blocks. The reference against itself is 1 by
    definition: no interval, no verdict (`floor` is what it can say). None when no block holds both.
    """
    counted, baseline = last_attempts(case), last_attempts(reference)
    if counted and baseline and counted[0].case_id == baseline[0].case_id:
        return Speedup(ratio=1.0, low=None, high=None, verdict=None)
    ratios = differences(counted, baseline)
    if ratios.size == 0:
        return None
    mean, width = float(ratios.mean()), reach(counted, baseline, protocol, resolution_ns).half_width
    return _speedup(mean, width, verdict(mean, width, floor_size(floor(baseline, protocol, resolution_ns))))


def floor(reference: Iterable[Process], protocol: Protocol, resolution_ns: float = 0.0) -> Speedup | None:
    """The reference's ratio to itself (A/A): in each block the first half of its replicates against the rest.

    An honest harness finds 1 within the interval; what it finds beyond is noise that a comparison inherits. None when
    no block holds two replicates.
    """
    counted = last_attempts(reference)
    blocks: dict[int, list[float]] = defaultdict(list)
    for process in counted:
        blocks[process.block].append(process.log_median)
    halves = [(values[: len(values) // 2], values[len(values) // 2 :]) for values in blocks.values() if len(values) > 1]
    ratios = np.array([np.mean(first) - np.mean(rest) for first, rest in halves])
    if not ratios.size:
        return None
    width = half_width(ratios, protocol)
    seen = None if width is None else max(width, _clock(resolution_ns, counted, counted))
    return _speedup(float(ratios.mean()), seen, None)


def floor_size(floor: Speedup | None) -> float | None:
    """How far the interval of an A/A floor reaches from 1, on the log scale; None when there is no interval."""
    if floor is None or floor.low is None or floor.high is None:
        return None
    return max(abs(math.log(floor.low)), abs(math.log(floor.high)))


def verdict(mean: float, half_width: float | None, floor: float | None) -> Verdict:
    """Say what a log ratio (`mean` +- `half_width`) supports, given the size of the A/A floor on the log scale.

    `faster` or `slower`: the whole interval lies beyond 1 and the effect exceeds the floor. `same`: neither, the whole
    interval lies within +-2 %, and the floor is at most 2 % (an effect below the floor may well be `same`). All else, a
    missing interval or floor included, is `unclear`.
    """
    if half_width is None or floor is None:
        return "unclear"
    low, high = mean - half_width, mean + half_width
    if (low > 0 or high < 0) and abs(mean) > floor:
        return "faster" if mean > 0 else "slower"
    if math.log(1 - SAME) <= low and high <= math.log(1 + SAME) and floor <= SAME:
        return "same"
    return "unclear"


def differences(case: Iterable[Process], reference: Iterable[Process]) -> Floats:
    """The paired log ratios d_b, one per block that holds both, in block order; positive: the case is faster."""
    ours, theirs = _by_block(last_attempts(case)), _by_block(last_attempts(reference))
    return np.array([theirs[block] - ours[block] for block in sorted(ours.keys() & theirs.keys())], dtype=np.float64)


def half_width(differences: Floats, protocol: Protocol) -> float | None:
    """Half-width of the interval of their mean, valid at every look, on the log scale; None below two blocks."""
    return _half_width(differences, protocol.alpha / len(protocol.looks))


def blocks_needed(differences: Floats, protocol: Protocol) -> int | None:
    """How many more blocks should bring the half-width to the protocol's, their spread staying what it is.

    0 when it is reached; None below two blocks; counted up to MAX_BLOCKS in all.
    """
    done = int(differences.size)
    if done < 2:
        return None
    spread, totals = float(differences.std(ddof=1)), range(2, MAX_BLOCKS)
    alpha = protocol.alpha / len(protocol.looks)
    first = bisect_left(totals, True, key=lambda n: _width(spread, n, alpha) <= protocol.half_width)
    return max(0, 2 + first - done)


def projected(half_width: float, blocks: int, total: int, protocol: Protocol) -> float:
    """The half-width that one of so many blocks becomes at `total` blocks, their spread staying what it is."""
    alpha = protocol.alpha / len(protocol.looks)
    return half_width * _width(1.0, total, alpha) / _width(1.0, blocks, alpha)


def _by_block(processes: Iterable[Process]) -> dict[int, float]:
    blocks: dict[int, list[float]] = defaultdict(list)
    for process in processes:
        blocks[process.block].append(process.log_median)
    return {block: math.fsum(values) / len(values) for block, values in blocks.items()}


def _half_width(values: Floats, alpha: float) -> float | None:
    return _width(float(values.std(ddof=1)), values.size, alpha) if values.size > 1 else None


def _width(sd: float, n: int, alpha: float) -> float:
    from scipy.special import stdtrit  # takes longer to import than showing a run takes

    return float(stdtrit(n - 1, 1 - alpha / 2)) * sd / math.sqrt(n)


def _speedup(mean: float, width: float | None, verdict: Verdict | None) -> Speedup:
    if width is None:
        return Speedup(math.exp(mean), None, None, verdict)
    return Speedup(math.exp(mean), math.exp(mean - width), math.exp(mean + width), verdict)

"""A case against its reference, paired within blocks."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.records import Speedup, Verdict
from harness.stats import widths
from harness.stats.processes import Floats, Process, by_block, last_attempts
from harness.wire import Protocol

SAME = 0.02  # an effect within +-2 % is called `same`
MAX_BLOCKS = 5 * 2**18  # where `blocks_needed` ceases to count, as the agent does: no one will wait for it


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
    ratios, seen = differences(counted, baseline), widths.clock(resolution_ns, counted, baseline)
    width = half_width(ratios, protocol)
    if width is None:
        return Reach(None, None)
    return Reach(max(width, seen), None if seen > protocol.half_width else blocks_needed(ratios, protocol))


def least(reaches: Sequence[Reach]) -> Reach:
    """The widest and longest of several comparisons of one case; None where one of them does not know."""
    reached, needed = [each.half_width for each in reaches], [each.blocks_needed for each in reaches]
    return Reach(
        None if None in reached else max(width for width in reached if width is not None),
        None if None in needed else max(more for more in needed if more is not None),
    )


def speedup(
    case: Iterable[Process], reference: Iterable[Process], protocol: Protocol, resolution_ns: float = 0.0
) -> Speedup | None:
    """How many times as fast the case is as its reference, paired within blocks.

    The interval holds at every planned look; it is None below two common blocks. The reference against itself is 1 by
    definition: no interval, no verdict (`floor` is what it can say). None when no block holds both. Where a process of
    a common block was throttled to the last attempt, the verdict is `unclear`: it ran at another clock than its partner.
    """
    counted, baseline = last_attempts(case), last_attempts(reference)
    if counted and baseline and counted[0].case_id == baseline[0].case_id:
        return Speedup(ratio=1.0, low=None, high=None, verdict=None)
    ratios = differences(counted, baseline)
    if ratios.size == 0:
        return None
    mean, width = widths.centre(ratios), reach(counted, baseline, protocol, resolution_ns).half_width
    said = verdict(mean, width, floor_size(floor(baseline, protocol, resolution_ns)))
    return _speedup(mean, width, "unclear" if _throttled(counted, baseline) else said)


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
    ratios = np.array([np.median(first) - np.median(rest) for first, rest in halves])
    if not ratios.size:
        return None
    width = half_width(ratios, protocol)
    seen = None if width is None else max(width, widths.clock(resolution_ns, counted, counted))
    return _speedup(widths.centre(ratios), seen, None)


def floor_size(floor: Speedup | None) -> float | None:
    """How far the interval of an A/A floor reaches from 1, on the log scale; None when there is no interval."""
    if floor is None or floor.low is None or floor.high is None:
        return None
    return max(abs(math.log(floor.low)), abs(math.log(floor.high)))


def verdict(mean: float, half_width: float | None, floor: float | None) -> Verdict:
    """Say what a log ratio (`mean` +- `half_width`) supports, given the size of the A/A floor on the log scale.

    `faster` or `slower`: the whole interval lies beyond 1 and the effect exceeds the floor. `same`: neither, the whole
    interval lies within +-2 %, and the floor is at most 2 % (an effect below the floor may well be `same`). All else, a
    missing interval or floor included, is `unclear`. (`speedup` says so as well where a counted process was throttled.)
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
    ours, theirs = by_block(last_attempts(case)), by_block(last_attempts(reference))
    return np.array([theirs[block] - ours[block] for block in sorted(ours.keys() & theirs.keys())], dtype=np.float64)


def half_width(differences: Floats, protocol: Protocol) -> float | None:
    """Half-width of the interval of their trimmed mean, valid at every look, on the log scale; None below two blocks."""
    return widths.half_width(differences, protocol.alpha / len(protocol.looks))


def blocks_needed(differences: Floats, protocol: Protocol) -> int | None:
    """How many more blocks should bring the half-width to the protocol's, their spread staying what it is.

    0 when it is reached; None below two blocks; else a multiple of five in all, as one more value is cut off there and the
    interval widens a little; counted up to MAX_BLOCKS.
    """
    if differences.size < 2:
        return None
    done, spread, alpha = differences.size, widths.spread(differences), protocol.alpha / len(protocol.looks)
    if widths.width(spread, done, alpha) <= protocol.half_width:
        return 0
    fives = range(1, MAX_BLOCKS // widths.CUT)
    first = bisect_left(fives, True, key=lambda n: widths.width(spread, widths.CUT * n, alpha) <= protocol.half_width)
    return max(0, widths.CUT * (1 + first) - done)


def projected(half_width: float, blocks: int, total: int, protocol: Protocol) -> float:
    """The half-width that one of so many blocks becomes at `total` blocks, their spread staying what it is."""
    alpha = protocol.alpha / len(protocol.looks)
    return half_width * widths.width(1.0, total, alpha) / widths.width(1.0, blocks, alpha)


def _throttled(case: Sequence[Process], reference: Sequence[Process]) -> bool:
    """Whether a process was throttled in a block that holds both."""
    common = {process.block for process in case} & {process.block for process in reference}
    return any(process.throttled for process in (*case, *reference) if process.block in common)


def _speedup(mean: float, width: float | None, verdict: Verdict | None) -> Speedup:
    if width is None:
        return Speedup(math.exp(mean), None, None, verdict)
    return Speedup(math.exp(mean), *widths.limits(mean, width), verdict)

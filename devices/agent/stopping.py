"""When a job has measured enough: Student-t intervals on paired log-ratios, looked at after planned blocks.

For a case and its reference, block b gives d_b = mean ln(reference's process medians) - mean ln(case's process
medians). At a look the interval of the mean of d_1..d_n has half-width t * sd / sqrt(n), with t at
1 - alpha / (2 * looks) and n - 1 degrees of freedom (Bonferroni over the planned looks). Plain Python, as it travels.
"""

import math
from statistics import NormalDist
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from harness.wire import Protocol

LogMedians = Dict[Tuple[str, int], List[float]]  # (case_id, block) -> ln(process median, ns), one per replicate
_MOST_BLOCKS = 1_000_000
_MANY = 200  # degrees of freedom


class Reach(NamedTuple):
    """How far a comparison has come: half-width on the log scale, and the blocks still needed for the one asked for."""

    half_width: Optional[float]
    blocks_needed: Optional[int]


def t_quantile(probability: float, df: int) -> float:
    """Return t with P(T <= t) = `probability` >= 1/2 of Student's t, by bisection on the angle atan(t / sqrt(df)).

    For many degrees of freedom by expansion about the normal quantile (Abramowitz & Stegun 26.7.5).
    """
    if df > _MANY:
        return _expanded(NormalDist().inv_cdf(probability), df)
    central = 2 * probability - 1
    low, high = 0.0, math.pi / 2
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return math.sqrt(df) * math.tan(middle)
        if _central_at(middle, df) < central:
            low = middle
        else:
            high = middle


def _expanded(z: float, df: int) -> float:
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / df + second / df**2 + third / df**3


def _central_at(theta: float, df: int) -> float:
    """P(|T| <= sqrt(df) * tan(theta)) for a whole number of degrees of freedom (Abramowitz & Stegun 26.7.3, 26.7.4)."""
    sine, square = math.sin(theta), math.cos(theta) ** 2
    odd = df % 2
    term = total = (math.cos(theta) if odd else 1.0) if df > 1 else 0.0
    for k in range(2 + odd, df - 1, 2):
        term *= square * (k - 1) / k
        total += term
    return 2 / math.pi * (theta + sine * total) if odd else sine * total


def differences(medians: LogMedians, case: str, reference: str, blocks: int) -> List[float]:
    """Return d_b for the blocks 1..`blocks` in which both were measured."""
    pairs = ((medians.get((reference, b)), medians.get((case, b))) for b in range(1, blocks + 1))
    return [_mean(ours) - _mean(theirs) for ours, theirs in pairs if ours and theirs]


def reach(values: Sequence[float], protocol: Protocol) -> Reach:
    """Return the half-width that `values` (one d_b per block) give, and the blocks still needed; None below two."""
    n = len(values)
    if n < 2:
        return Reach(None, None)
    mean = _mean(values)
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    return Reach(half_width(sd, n, protocol), max(0, _blocks(sd, protocol) - n))


def half_width(sd: float, blocks: int, protocol: Protocol) -> float:
    """Half-width on the log scale of an interval on `blocks` differences with standard deviation `sd`."""
    return t_quantile(1 - protocol.alpha / len(protocol.looks) / 2, blocks - 1) * sd / math.sqrt(blocks)


def _blocks(sd: float, protocol: Protocol) -> int:
    """Fewest blocks whose half-width at this `sd` is narrow enough: doubled until enough, then bisected."""
    low, high = 1, 2
    while high < _MOST_BLOCKS and half_width(sd, high, protocol) > protocol.half_width:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if half_width(sd, middle, protocol) > protocol.half_width else (low, middle)
    return high


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)

"""When a job has measured enough: Student-t intervals on paired log-ratios, looked at after planned blocks.

For a case and its reference, block b gives d_b = median ln(reference's process medians) - median ln(case's process
medians). At a look a fifth of d_1..d_n is cut off on either side, which leaves h of them; the interval of their mean has
half-width t * s * sqrt((n - 1) / (h * (h - 1))), with t at 1 - alpha / (2 * looks) and h - 1 degrees of freedom (Bonferroni
over the planned looks) and s the standard deviation of all, each that was cut off replaced by the nearest that was not
(Tukey & McLaughlin, 1963). One process that is slower as a whole, by where its memory lies, so decides nothing. Plain
Python, as it travels; `harness.stats.widths` says the same with NumPy.
"""

import math
from statistics import NormalDist, median
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from harness.wire import Protocol

LogMedians = Dict[Tuple[str, int], List[float]]  # (case_id, block) -> ln(process median, ns), one per replicate
_CUT = 5  # one value in five is cut off on either side
_MOST_FIVES = 2**18  # where the blocks still needed cease to be counted, in fives
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
    return [median(ours) - median(theirs) for ours, theirs in pairs if ours and theirs]


def reach(values: Sequence[float], protocol: Protocol) -> Reach:
    """Return the half-width that `values` (one d_b per block) give, and the blocks still needed; None below two."""
    n = len(values)
    if n < 2:
        return Reach(None, None)
    spread = _spread(sorted(values))
    width = half_width(spread, n, protocol)
    needed = 0 if width <= protocol.half_width else max(0, _blocks(spread, protocol) - n)
    return Reach(width, needed)


def half_width(spread: float, blocks: int, protocol: Protocol) -> float:
    """Half-width on the log scale of an interval on `blocks` differences of winsorised standard deviation `spread`."""
    left = blocks - 2 * (blocks // _CUT)
    quantile = t_quantile(1 - protocol.alpha / len(protocol.looks) / 2, left - 1)
    return quantile * spread * math.sqrt((blocks - 1) / (left * (left - 1)))


def _spread(ordered: Sequence[float]) -> float:
    """The winsorised standard deviation of values in order."""
    n = len(ordered)
    low, high = ordered[n // _CUT], ordered[n - n // _CUT - 1]
    clipped = [min(max(value, low), high) for value in ordered]
    mean = math.fsum(clipped) / n
    return math.sqrt(math.fsum((value - mean) ** 2 for value in clipped) / (n - 1))


def _blocks(spread: float, protocol: Protocol) -> int:
    """Fewest blocks, in fives, whose half-width at this spread is narrow enough: doubled until enough, then bisected.

    In fives, because one more value is cut off there and the interval widens a little.
    """
    low, high = 0, 1
    while high < _MOST_FIVES and half_width(spread, _CUT * high, protocol) > protocol.half_width:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        narrow = half_width(spread, _CUT * middle, protocol) <= protocol.half_width
        low, high = (low, middle) if narrow else (middle, high)
    return _CUT * high

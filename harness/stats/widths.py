"""What bounds the width of an interval on the log scale: Student's t of a trimmed mean, and what the clock can see.

A process can be slower as a whole, by a tenth or a quarter, for no reason but where its memory came to lie: one in
twenty was on the machine that this was written on. A mean, and still more a standard deviation, is at the mercy of such
blocks; a fifth cut off on either side costs little where there are none (Yuen, Biometrika 1974).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.stats.processes import RESOLUTION_NS, Floats, Process

CUT = 5  # one value in five is cut off on either side
_EXPONENT = 700.0  # e^709.8 is the largest float


def centre(values: Floats) -> float:
    """The 20 % trimmed mean: of what is left when a fifth of the values (rounded down) is cut off on either side."""
    cut = values.size // CUT
    return float(np.sort(values)[cut : values.size - cut].mean())


def spread(values: Floats) -> float:
    """The winsorised standard deviation: with each value that was cut off in place of it the nearest that was not."""
    cut, ordered = values.size // CUT, np.sort(values)
    return float(np.clip(values, ordered[cut], ordered[values.size - cut - 1]).std(ddof=1))


def half_width(values: Floats, alpha: float) -> float | None:
    """Half-width of the interval of the trimmed mean that misses with probability `alpha`; None below two values."""
    return width(spread(values), values.size, alpha) if values.size > 1 else None


def width(spread: float, n: int, alpha: float) -> float:
    """Half-width of such an interval from the winsorised standard deviation of `n` values: `n` - 2 `n` // 5 are left."""
    from scipy.special import stdtrit  # takes longer to import than showing a run takes

    left = n - 2 * (n // CUT)
    return float(stdtrit(left - 1, 1 - alpha / 2)) * spread * standard_error(n)


def standard_error(n: int) -> float:
    """Of the trimmed mean of `n` values, for a winsorised standard deviation of 1 (Tukey & McLaughlin, 1963)."""
    left = n - 2 * (n // CUT)
    return math.sqrt((n - 1) / (left * (left - 1)))


def limits(centre: float, width: float) -> tuple[float, float]:
    """Return exp(centre -+ width), finite and above 0: two blocks that differ wildly give more than a float can hold."""
    return math.exp(max(centre - width, -_EXPONENT)), math.exp(min(centre + width, _EXPONENT))


def clock(resolution_ns: float, *sides: Sequence[Process]) -> float:
    """What a clock cannot see of a latency (of a ratio: of both sides), on the log scale."""
    medians = (float(np.median([process.median_ns for process in side])) for side in sides if side)
    return sum(resolution_ns / max(median, RESOLUTION_NS) for median in medians)

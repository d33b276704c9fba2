"""What bounds the width of an interval on the log scale: Student's t, and what the clock can see."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.stats.processes import RESOLUTION_NS, Floats, Process

_EXPONENT = 700.0  # e^709.8 is the largest float


def half_width(values: Floats, alpha: float) -> float | None:
    """Half-width of the interval of the mean of these values that misses with probability `alpha`; None below two."""
    return width(float(values.std(ddof=1)), values.size, alpha) if values.size > 1 else None


def width(sd: float, n: int, alpha: float) -> float:
    """Half-width of such an interval from the standard deviation of `n` values."""
    from scipy.special import stdtrit  # takes longer to import than showing a run takes

    return float(stdtrit(n - 1, 1 - alpha / 2)) * sd / math.sqrt(n)


def limits(centre: float, width: float) -> tuple[float, float]:
    """Return exp(centre -+ width), finite and above 0: two blocks that differ wildly give more than a float can hold."""
    return math.exp(max(centre - width, -_EXPONENT)), math.exp(min(centre + width, _EXPONENT))


def clock(resolution_ns: float, *sides: Sequence[Process]) -> float:
    """What a clock cannot see of a latency (of a ratio: of both sides), on the log scale."""
    medians = (float(np.median([process.median_ns for process in side])) for side in sides if side)
    return sum(resolution_ns / max(median, RESOLUTION_NS) for median in medians)

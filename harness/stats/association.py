"""Whether two properties of processes go along with each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.records import Correlation
from harness.stats.steady import ranks

_LEAST = 10  # processes: fewer say nothing


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Correlation | None:
    """Return Spearman's correlation with its two-sided p-value (Student's t approximation).

    None below 10 pairs, or where one side does not vary. Raises ValueError when the sides are not equally long.
    """
    if len(first) != len(second):
        raise ValueError("a correlation needs pairs")
    n = len(first)
    if n < _LEAST or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    rho = float(np.corrcoef(ranks(np.asarray(first, float)), ranks(np.asarray(second, float)))[0, 1])
    if abs(rho) > 1 - 1e-12:
        return Correlation(math.copysign(1.0, rho), 0.0, n)
    from scipy.special import stdtr  # takes longer to import than showing a run takes

    t = abs(rho) * math.sqrt((n - 2) / (1 - rho * rho))
    return Correlation(rho, 2 * float(stdtr(n - 2, -t)), n)

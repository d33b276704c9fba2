"""A line of latency over depth, or two that meet at a rung: how much a layer costs, and where that changes.

Least squares over the rungs of a ladder, every rung counting once. The broken line is continuous,

    y = a + b x + c max(0, k - x),   slope b above the break k, b - c below it

with k among the depths that were measured, two others at least to each side. It is preferred where its Bayesian information
criterion (Schwarz, 1978), n ln(RSS / n) + p ln n, is lower by more than DECISIVE than that of one line; p = 4 with k
counted, and 2. DECISIVE is there since k is searched for: with it one straight ladder of 7 rungs in sixteen seems to break,
and one of 9 in thirty, without it one in four (tests/stats/test_kinks.py). A slope's interval is Student's t from the
scatter about the line: it speaks of these rungs, and for a broken line takes the break as given. Few points fit anything:
below LEAST_LINE there is no fit, below LEAST_BREAK no break.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.stats.processes import Floats

LEAST_LINE = 5  # rungs
LEAST_BREAK = 7  # rungs: three of a segment's points and one degree of freedom more than a broken line takes
DECISIVE = 6.0  # of BIC: "strong" evidence (Kass & Raftery, 1995)
_EXACT = 1e-9  # of the values' size: what rounding leaves of a perfect fit


@dataclass(frozen=True)
class Slope:
    """What one more step of x costs, with the 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Fit:
    """A line, or two that meet at `breaks_at`: `slopes` from large x to small, the height at x, `points` it rests on."""

    slopes: tuple[Slope, ...]
    breaks_at: float | None
    points: int
    coefficients: tuple[float, ...]

    def at(self, x: float) -> float:
        """The height of the line at x."""
        return float(_design(np.array([x]), self.breaks_at)[0] @ np.array(self.coefficients))


def line(xs: Sequence[float], ys: Sequence[float]) -> Fit | None:
    """Fit y over x; None below LEAST_LINE points, or where x takes fewer than three values."""
    x, y = np.asarray(xs, dtype=np.float64), np.asarray(ys, dtype=np.float64)
    known = np.unique(x)
    if x.size < LEAST_LINE or known.size < 3:
        return None
    tried = known[2:-2] if x.size >= LEAST_BREAK else known[:0]
    one, *broken = (_solved(x, y, at) for at in (None, *map(float, tried)))
    best = min(broken, key=_rank, default=one)
    return (best if _rank(best) < _rank(one) - DECISIVE else one)[1]


def _rank(solved: tuple[float, Fit]) -> float:
    return solved[0]


def _design(x: Floats, breaks_at: float | None) -> Floats:
    columns = [np.ones_like(x), x]
    return np.stack(columns if breaks_at is None else [*columns, np.maximum(0.0, breaks_at - x)], axis=1)


def _solved(x: Floats, y: Floats, breaks_at: float | None) -> tuple[float, Fit]:
    """The criterion and the fit with a break there, or without one."""
    from scipy.special import stdtrit  # takes longer to import than showing a run takes

    design = _design(x, breaks_at)
    found = np.linalg.lstsq(design, y, rcond=None)[0]
    n, k = design.shape
    rss = max(float(np.sum((y - design @ found) ** 2)), n * (_EXACT * max(1e-100, float(np.abs(y).max()))) ** 2)
    spread = rss / (n - k) * np.linalg.inv(design.T @ design)
    ways = [np.array([0.0, 1.0, 0.0][:k])] + ([np.array([0.0, 1.0, -1.0])] if breaks_at is not None else [])
    reach = float(stdtrit(n - k, 0.975))
    slopes = []
    for way in ways:
        value, half = float(way @ found), reach * math.sqrt(float(way @ spread @ way))
        slopes.append(Slope(value, value - half, value + half))
    criterion = n * math.log(rss / n) + (k + (breaks_at is not None)) * math.log(n)
    return criterion, Fit(tuple(slopes), breaks_at, n, tuple(map(float, found)))

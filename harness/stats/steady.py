"""Whether a series of latencies kept one level, and what its samples are worth. Pure: a series in, numbers out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SHIFT = 0.02  # a smaller shift of level is not called one
_WINDOWS = 32  # a series is looked at in at most so many windows
_LEAST = 10  # inferences in a window: fewer leave a median at the mercy of outliers
_SEGMENT = 3  # windows in a segment, at least
# Standard errors that chance reaches in under 1 % of series (white or AR(1) up to 0.5, 2 % heavy outliers), by simulation;
# the fewer windows, the less is known of their spread: tests/stats/test_steady.py.
_SCORE, _SCORE_PER_WINDOW = 4.5, 24.0


@dataclass(frozen=True)
class Change:
    """A stretch of a series at another level: its first and last sample, and by how much (a fraction) it lies off the rest."""

    first: int
    last: int
    shift: float


def change(latency_ns: Floats) -> Change | None:
    """Find the stretch whose level differs most from the rest, by more than 2 % and more than chance; else None.

    Circular binary segmentation (Olshen et al., Biostatistics 2004) on the logarithms of window medians, so that single
    outliers say nothing and a bump in the middle is found like a step. The spread is that of the windows within the two
    levels found. Series of fewer than 6 windows of 10 inferences cannot be judged: None.
    """
    windows = min(_WINDOWS, latency_ns.size // _LEAST)
    if windows < 2 * _SEGMENT:
        return None
    edges = np.linspace(0, latency_ns.size, windows + 1).astype(int)
    levels = np.array([np.median(latency_ns[a:b]) for a, b in pairwise(edges)])
    logs = np.log(np.maximum(levels, 1.0))
    first, last, shift = _widest(logs)
    score = (_SCORE + _SCORE_PER_WINDOW / windows) * _standard_error(logs, first, last, shift)
    if abs(math.expm1(shift)) <= SHIFT or abs(shift) <= score:
        return None
    return Change(int(edges[first]), int(edges[last]) - 1, math.expm1(shift))


def _widest(logs: Floats) -> tuple[int, int, float]:
    """The stretch [first, last) whose mean, weighed by its length, lies farthest from the mean of the rest."""
    n = logs.size
    sums = np.concatenate([[0.0], np.cumsum(logs)])
    first, last = np.triu_indices(n + 1, k=_SEGMENT)
    length = last - first
    fits = n - length >= _SEGMENT
    first, last, length = first[fits], last[fits], length[fits]
    inside = sums[last] - sums[first]
    shift = inside / length - (sums[n] - inside) / (n - length)
    best = int(np.argmax(np.abs(shift) * np.sqrt(length * (n - length) / n)))
    return int(first[best]), int(last[best]), float(shift[best])


def _standard_error(logs: Floats, first: int, last: int, shift: float) -> float:
    """Of the shift: from the residuals' spread (by quartiles, against outlying windows), widened for autocorrelation."""
    residuals = logs.copy()
    residuals[first:last] -= shift
    residuals -= residuals.mean()
    quartiles = np.quantile(residuals, (0.25, 0.75))
    spread = max(float(quartiles[1] - quartiles[0]) / 1.349, float(residuals.std()))
    rho = max(lag1(residuals) or 0.0, 0.0)
    length = last - first
    return spread * math.sqrt(1 / length + 1 / (logs.size - length)) * math.sqrt((1 + rho) / (1 - min(rho, 0.9)))


def lag1(series: Floats) -> float | None:
    """Lag-1 autocorrelation of a series; None below 3 values, or where all are equal.

    Of ranks, not of values: one slow inference among thousands would hide all else.
    """
    if series.size < 3:
        return None
    placed = ranks(series)
    centred = placed - placed.mean()
    total = float(centred @ centred)
    return float(centred[:-1] @ centred[1:]) / total if total > 0 else None


def ranks(series: Floats) -> Floats:
    """Return the ranks from 1, equal values sharing their mean rank."""
    _, place, counts = np.unique(series, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: Floats = ends - (counts - 1) / 2.0
    return means[place]


def effective(samples: int, rho: float | None) -> float:
    """How many independent samples `samples` of lag-1 autocorrelation `rho` are worth: n (1 - rho) / (1 + rho), at most n."""
    kept = min(max(rho or 0.0, 0.0), 0.999)
    return samples * (1 - kept) / (1 + kept)

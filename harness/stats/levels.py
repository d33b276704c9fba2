"""Whether the last nights of many series lie off the nights before them: estimates and p-values. Pure: arrays in, arrays out.

For each series and each window of the last m nights, with n nights before them as its reference,

    shift = T(last m) - M(reference),   t = shift / (s sqrt(v(m) e(m) + v(n))),   v(n) = (1 + 2 sum (1 - j / n) rho^j) / n

T is the median of up to three nights (of two, the one nearer to the reference) and else their 20 % trimmed mean, at least one
night cut off on either side: one night alone never moves it beyond all others. e(m) is what T's variance is over a mean's. M
and s are mean and standard deviation of the reference without nights beyond 4 robust sds (1.4826 MAD) from its median. v(n)
is the variance of a mean of n values of an AR(1) series over that of one (Box & Jenkins, 1970), with rho the lag-1
autocorrelation of the reference, plus 1 / n, its bias in short series; between 0.25 and 0.8, since a few dozen nights cannot
show that there is none. p is two-sided, from Student's t with n (1 - rho^2) / (1 + rho^2) - 1 degrees of freedom (Bartlett,
1946: what the nights are worth for a variance). s is no less than the standard error of a night's value, or than what the
caller knows.

Where nothing changes, p times the number of windows is about what it says as long as the autocorrelation is below 0.3, and
too small where nights hang together for longer: tests/stats/test_changes.py has both. What keeps false alarms rare there is
the least change, and the second run.

The reference ends before the longest window, so that a ramp does not draw it along; where it would hold fewer than 20 nights,
before the last m.

That is a generalised likelihood ratio of a step at an unknown night (Lorden, 1971), as Page's CUSUM is of one of known size,
with spikes cut off; a ramp is found by its later windows. A creeping drift draws its reference with it, so the last nights
are also compared with the first of the segment.

A level that changed some nights ago leaves few nights of its own: the spread of up to `reach` nights is then taken from
before the change too, each segment about its own level. Nothing but the level is assumed to change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.stats.processes import Floats

LEAST_LEVEL = 3  # nights before a level is a reference
SETTLED = 20  # nights before the longest window that are a reference by themselves
LEAST_NOISE = 8  # nights, of all segments, before a spread is one
_SPIKE = 4.0  # robust sds
RHO = (0.25, 0.8)
_MEDIAN_EFFICIENCY, _TRIMMED_EFFICIENCY = (
    1.35,
    1.15,
)  # variance over a mean's, normal: of a median of 3, of 20 % trimmed means
_LEAST_SD = 1e-9  # on the log scale: what rounding leaves of a series that never moved


@dataclass(frozen=True)
class Past:
    """Series side by side, the newest night last: `now` [S, reach + longest window], NaN before a segment began; `first` [S,
    reach], its first nights; `before` [S, reach], nights of earlier segments about their levels; `noise` [S], a least sd.
    """

    now: Floats
    first: Floats
    before: Floats
    noise: Floats


@dataclass(frozen=True)
class Evidence:
    """By window and series [W, S]: the reference's level and the shift from it on the log scale, the shift's standard error,
    its degrees of freedom and p; NaN where unknown, and 1 for p. The last window is that beside the segment's first nights.
    """

    level: Floats
    shift: Floats
    error: Floats
    freedom: Floats
    p: Floats


def evidence(past: Past, windows: Sequence[int]) -> Evidence:
    """Compare the last m nights with those before, for m in `windows`; the most also with the segment's first nights."""
    from scipy.special import stdtr

    parts = [_window(past, _reference(past, m, max(windows)), m) for m in windows]
    parts.append(_window(past, past.first, max(windows)))
    level, shift, error, freedom = (np.stack(each) for each in zip(*parts, strict=True))
    with np.errstate(invalid="ignore"):
        p = 2.0 * stdtr(freedom, -np.abs(shift) / error)
    return Evidence(level, shift, error, freedom, np.where(np.isfinite(p), p, 1.0))


def _reference(past: Past, m: int, longest: int) -> Floats:
    """The nights before the longest window where those are enough, else the nights before these m."""
    reach = past.first.shape[1]
    settled = past.now[:, :-longest][:, -reach:]
    enough = np.isfinite(settled).sum(axis=1, keepdims=True) >= SETTLED
    return np.where(enough, settled, past.now[:, :-m][:, -reach:])


def _window(past: Past, reference: Floats, m: int) -> tuple[Floats, Floats, Floats, Floats]:
    recent, kept = past.now[:, -m:], _without_spikes(reference)
    level, n = _mean(kept), np.isfinite(kept).sum(axis=1)
    sd, rho, counted = _noise(np.concatenate([past.before, kept - level[:, None]], axis=1), reference.shape[1])
    sd = np.maximum(sd, np.maximum(past.noise, _LEAST_SD))
    variance = _variance(np.full_like(rho, m), rho) * _inefficiency(m) + _variance(n, rho)
    enough = (n >= LEAST_LEVEL) & (counted >= LEAST_NOISE) & np.isfinite(recent).all(axis=1)
    shift = np.where(enough, centre(recent, level) - level, np.nan)
    freedom = np.maximum(counted * (1 - rho**2) / (1 + rho**2) - 1, 1.0)
    return level, shift, sd * np.sqrt(variance), freedom


def centre(recent: Floats, level: Floats) -> Floats:
    """The robust centre of each row of `recent` [S, m]: see T in the docstring of this file."""
    m = recent.shape[1]
    ranked = np.sort(recent, axis=1)
    if m == 2:
        low, high = ranked.T
        nearer: Floats = np.where(np.abs(low - level) < np.abs(high - level), low, high)
        return nearer
    cut = min(-(-m // 5), (m - 1) // 2)
    kept: Floats = ranked[:, cut : m - cut].mean(axis=1)
    return kept


def _inefficiency(m: int) -> float:
    return 1.0 if m <= 2 else _MEDIAN_EFFICIENCY if m == 3 else _TRIMMED_EFFICIENCY


def _variance(n: npt.NDArray[Any], rho: Floats) -> Floats:
    """Of a mean of n values of an AR(1) series, over that of one: the closed form of v(n)."""
    number: Floats = np.maximum(n.astype(np.float64), 1.0)
    value: Floats = ((1 + rho) / (1 - rho) - 2 * rho * (1 - rho**number) / (number * (1 - rho) ** 2)) / number
    return value


def _without_spikes(values: Floats) -> Floats:
    middle = median(values)[:, None]
    robust = 1.4826 * median(np.abs(values - middle))[:, None]
    with np.errstate(invalid="ignore"):
        return np.where((np.abs(values - middle) <= _SPIKE * robust) | (values == middle), values, np.nan)


def _noise(residuals: Floats, reach: int) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Standard deviation, bounded lag-1 autocorrelation, and how many nights they rest on: the last `reach` that are
    known."""
    known = np.isfinite(residuals)
    known &= known[:, ::-1].cumsum(axis=1)[:, ::-1] <= reach
    values, counted = np.where(known, residuals, 0.0), known.sum(axis=1)
    total = (values**2).sum(axis=1)
    both = (values[:, 1:] * values[:, :-1]).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.where(total > 0, both / total, 0.0) + 1.0 / counted
        sd = np.sqrt(total / (counted - 1))
    return sd, np.clip(np.nan_to_num(rho, posinf=RHO[0]), *RHO), counted


def _mean(values: Floats) -> Floats:
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(known, values, 0.0).sum(axis=1) / known.sum(axis=1)
    return mean


def median(values: Floats) -> Floats:
    """Of each row, of what is not NaN; NaN where nothing is. (np.nanmedian warns of such rows, and is slow.)"""
    ranked = np.sort(values, axis=1)  # NaN last
    counted, rows = np.isfinite(values).sum(axis=1), np.arange(len(values))
    upper = np.minimum(counted // 2, values.shape[1] - 1)
    middle: Floats = (ranked[rows, np.maximum(counted - 1, 0) // 2] + ranked[rows, upper]) / 2
    return middle

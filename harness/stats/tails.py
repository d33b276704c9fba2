"""Tail quantiles of pooled inferences, with order-statistic intervals and LoadGen's one-sided bound.

The two-sided 95 % interval of the p-quantile runs from the l-th to the u-th smallest of n samples, with l and u from the
binomial distribution of how many lie below it: exact for independent samples, of whatever distribution. Inferences are
not independent: they follow each other within a process, and share its layout and their block's clock. So ranks are
those of n_eff samples, stretched to n (Woodruff, JASA 1952; Korn & Graubard, Survey Methodology 1998):

    n_eff = n / deff * (t(0.975, n_eff) / t(0.975, blocks - 1))^2,   t(.., n_eff) taken as the normal 1.96

with deff, at least 1, the larger of two: what the share of samples below the quantile varies by between blocks, over what
it would for independent ones; and (1 + rho) / (1 - rho) with rho the lag-1 autocorrelation within processes (with one
block the only one known: the interval then speaks of that block alone). Where n_eff cannot support a limit, it is None.

Few blocks seldom hold the worst one there is, and it is the worst that make a tail: where none was seen, blocks look alike
and the spread of their shares says that all is well. So for the upper limit n_eff is at most

    blocks * p / (w - (1 - p)),   w = twice the largest share beyond the quantile of any block, at most 1

that is, shares vary by as much as shares from 0 to w of mean 1 - p can (Bhatia & Davis, Am. Math. Monthly 2000). With blocks
that differ much w is 1 and blocks are what is counted: 36 for p90, whatever they hold. With blocks alike a dozen will do.
Without this the upper limit missed in 8-17 % instead of 2.5 % where one process in twelve met a neighbour
(benchmarks/coverage.py); with it, it is None more often, and holds.

The one-sided bound is LoadGen's ("early stopping", MLPerf inference) and, for parity with it, takes inferences as
independent: with t the largest for which P(Binom(n, 1 - p) <= t) <= 1 %, drop the t - 1 largest, report the maximum left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from harness.records import Tail
from harness.stats.processes import Floats, Process
from harness.stats.steady import effective

# The smallest n for which a two-sided 95 % order-statistic interval of the quantile exists: q^n <= 0.025.
QUANTILE_SAMPLES: Mapping[str, int] = {"p90": 36, "p95": 72, "p99": 368}
# The smallest n with a one-sided 99 % bound.
BOUND_SAMPLES: Mapping[str, int] = {"p90": 64, "p95": 130, "p99": 662}

_MISS = 0.025  # on each side
_BOUND_MISS = 0.01


def tails(processes: Sequence[Process]) -> dict[str, Tail]:
    """Return p90, p95 and p99 of the pooled inferences of these processes (all counted ones of one case), ns."""
    ordered = sorted(processes, key=lambda process: process.block)
    pooled, blocks = np.concatenate([p.samples for p in ordered]), _sizes(ordered)
    worth = sum(effective(p.samples.size, p.lag1) for p in ordered) / pooled.size
    ascending = np.sort(pooled)
    return {name: _tail(name, pooled, ascending, blocks, worth) for name in QUANTILE_SAMPLES}


def _sizes(ordered: Sequence[Process]) -> Floats:
    """How many samples each block holds, in order."""
    blocks = np.array([process.block for process in ordered])
    sizes = np.array([process.samples.size for process in ordered], dtype=np.float64)
    return np.add.reduceat(sizes, np.flatnonzero(np.diff(blocks, prepend=blocks[0] - 1)))


def _tail(name: str, pooled: Floats, ascending: Floats, blocks: Floats, worth: float) -> Tail:
    """One quantile; `pooled` in order of blocks, of the sizes `blocks`; `worth`: share left after autocorrelation."""
    n, share = pooled.size, int(name[1:]) / 100
    if n < QUANTILE_SAMPLES[name]:  # fewer than any bound needs
        return Tail(None, None, None, None)
    value = float(np.quantile(ascending, share))
    worth_low, worth_high = _independent(pooled <= value, blocks, worth)
    low, high = ranks(n, worth_low, share)[0], ranks(n, worth_high, share)[1]
    below, above = (None if rank is None else float(ascending[rank - 1]) for rank in (low, high))
    return Tail(value, below, above, bound(ascending, share))


def _independent(below: npt.NDArray[np.bool_], blocks: Floats, worth: float) -> tuple[int, int]:
    """How many independent samples tell as much of the share that lies below the quantile: for its limits, at least 1."""
    n, k = below.size, blocks.size
    if k < 2:
        return max(1, int(n * worth)), max(1, int(n * worth))
    from scipy.special import ndtri, stdtrit  # takes longer to import than showing a run takes

    starts = np.concatenate([[0], np.cumsum(blocks)[:-1]]).astype(int)
    share, shares = float(below.mean()), np.add.reduceat(below.astype(np.float64), starts) / blocks
    seen = k / (k - 1) * float(np.sum((blocks * (shares - share) / n) ** 2))
    few = (ndtri(1 - _MISS) / stdtrit(k - 1, 1 - _MISS)) ** 2
    low = few * min(n * worth, share * (1 - share) / seen if seen else n)
    beyond, most = 1 - share, min(1.0, 2 * float(1 - shares.min()))
    high = min(low, k * share / (most - beyond)) if beyond > 0 else low
    return max(1, int(low)), max(1, int(high))


def ranks(n: int, independent: int, share: float) -> tuple[int | None, int | None]:
    """Return the ranks, from 1, between which the quantile lies in 95 % of cases; n samples worth `independent` ones.

    For independent == n the order-statistic interval of the binomial distribution. None where there is no such rank.
    """
    low = _binomial(_MISS, independent, share)
    high = _binomial(1 - _MISS, independent, share) + 1
    stretch = (n + 1) / (independent + 1)
    return (
        max(1, int(low * stretch)) if low >= 1 else None,
        min(n, int(np.ceil(high * stretch - 1e-9))) if high <= independent else None,
    )


def bound(ascending: Floats, share: float) -> float | None:
    """Return LoadGen's one-sided 99 % bound of a quantile of sorted samples; None where n is too small for one."""
    dropped = _binomial(_BOUND_MISS, ascending.size, 1 - share) - 1
    return float(ascending[ascending.size - dropped]) if dropped >= 1 else None


def _binomial(probability: float, n: int, share: float) -> int:
    """The smallest k with P(Binom(n, share) <= k) >= probability."""
    from scipy.special import bdtr

    middle, spread = n * share, (n * share * (1 - share)) ** 0.5
    first = max(0, int(middle - 6 * spread) - 2)  # below lies less than any probability asked for
    tried = np.arange(first, min(n, int(middle + 6 * spread) + 2) + 1)
    return first + int(np.argmax(bdtr(tried, n, share) >= probability))

"""Intervals of all rungs of a ladder at once: with the stated confidence none of them misses.

A ladder is read as a whole (where does the curve bend, which rung is the first to pay), so its intervals must hold
together. They are those of `comparisons`, at every planned look, but wider: each is mean d -+ c * sd(d) / sqrt(n) with

- below 20 blocks c = t(1 - a / (2 m), n - 1) for m cases (Bonferroni). It needs no knowledge of how the cases vary
  together, which so few blocks do not give; the correlation by the shared reference would narrow it by a few per cent;
- from 20 blocks on c = the (1 - a)-quantile of the largest |t*| of all cases, over resamples of whole blocks, all cases
  drawn together, centred and studentised (max-t: Westfall & Young, 1993; Romano & Wolf, Econometrica 2005).

Cases that were decided early lack later blocks; then each of the two groups gets its share of a: m_1 / m and m_2 / m.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.records import Speedup
from harness.stats import resampling, widths
from harness.stats.processes import Floats, Process, by_block, last_attempts
from harness.wire import Protocol

Interval = tuple[float, float]

_TIMES = 10_000  # resamples: a hundred of them lie beyond the quantile at 1 %


@dataclass(frozen=True)
class _Rung:
    """A case's log ratios by block, and what its clock can see."""

    ratios: Mapping[int, float]
    clock: float

    @property
    def values(self) -> Floats:
        return np.array([self.ratios[block] for block in sorted(self.ratios)])


def joint(
    cases: Mapping[str, Iterable[Process]],
    reference: Iterable[Process],
    protocol: Protocol,
    resolution_ns: float = 0.0,
) -> dict[str, Interval | None]:
    """Return simultaneous intervals of the speed-ups of all `cases` over their reference.

    They hold together, at every planned look, with confidence 1 - alpha. Each contains the pointwise interval of
    `speedup`. None for a case below two common blocks and for the reference itself, which do not count as members.
    """
    baseline = last_attempts(reference)
    rungs = {name: _rung(last_attempts(case), baseline, resolution_ns) for name, case in cases.items()}
    members = {name: rung for name, rung in rungs.items() if rung is not None and len(rung.ratios) > 1}
    alpha = protocol.alpha / len(protocol.looks)
    found = _intervals(members, alpha)
    return {name: found.get(name) for name in cases}


def with_joint(speedups: Mapping[str, Speedup], joint: Mapping[str, Interval | None]) -> dict[str, Speedup]:
    """Return the speed-ups with their joint limits filled in, where there are any."""
    limits = {name: joint.get(name) or (None, None) for name in speedups}
    return {
        name: replace(speedup, joint_low=limits[name][0], joint_high=limits[name][1])
        for name, speedup in speedups.items()
    }


def _rung(case: Sequence[Process], baseline: Sequence[Process], resolution_ns: float) -> _Rung | None:
    if case and baseline and case[0].case_id == baseline[0].case_id:
        return None
    ours, theirs = by_block(case), by_block(baseline)
    ratios = {block: theirs[block] - ours[block] for block in ours.keys() & theirs.keys()}
    return _Rung(ratios, widths.clock(resolution_ns, case, baseline))


def _intervals(members: Mapping[str, _Rung], alpha: float) -> dict[str, Interval]:
    many = [rung for rung in members.values() if len(rung.ratios) >= resampling.BLOCKS]
    largest = _largest(many, alpha * len(many) / len(members)) if many else 0.0
    found = {}
    for name, rung in members.items():
        values, n = rung.values, len(rung.ratios)
        mean, spread = float(values.mean()), float(values.std(ddof=1))
        if n >= resampling.BLOCKS:
            width = max(largest * spread / math.sqrt(n), widths.width(spread, n, alpha), rung.clock)
        else:
            width = max(widths.width(spread, n, alpha / len(members)), rung.clock)
        found[name] = widths.limits(mean, width)
    return found


def _largest(rungs: Sequence[_Rung], alpha: float) -> float:
    """The (1 - alpha)-quantile of the largest |t*| of these rungs, over resamples of whole blocks."""
    blocks = sorted(set().union(*(rung.ratios for rung in rungs)))
    centred = np.array([[rung.ratios.get(block, np.nan) for rung in rungs] for block in blocks])
    centred -= np.nanmean(centred, axis=0)
    held, values = np.isfinite(centred).astype(np.float64), np.nan_to_num(centred)
    drawn = resampling.draws(values, len(blocks), _TIMES).astype(np.float64)
    number = drawn @ held
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = drawn @ values / number
        variance = (drawn @ values**2 / number - mean**2) * number / (number - 1)
        largest = np.nanmax(np.where(variance > 0, np.abs(mean) / np.sqrt(variance / number), 0.0), axis=1)
    return float(np.quantile(largest, 1 - alpha))

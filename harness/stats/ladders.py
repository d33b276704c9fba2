"""Intervals of all rungs of a ladder at once: with the stated confidence none of them misses.

A ladder is read as a whole (where does the curve bend, which rung is the first to pay), so its intervals must hold
together. They are those of `comparisons`, at every planned look, but wider: each is the trimmed mean of d -+ c standard
errors with

- below 20 blocks c = t(1 - a / (2 m), h - 1) for m cases (Bonferroni). It needs no knowledge of how the cases vary
  together, which so few blocks do not give; the correlation by the shared reference would narrow it by a few per cent;
- from 20 blocks on c = the (1 - a)-quantile of the largest |t*| of all cases, over resamples of whole blocks, all cases
  drawn together, trimmed, centred and studentised (max-t: Westfall & Young, 1993; Romano & Wolf, Econometrica 2005).

Cases that were decided early lack later blocks; then each of the two groups gets its share of a: m_1 / m and m_2 / m.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

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
        mean, spread = widths.centre(values), widths.spread(values)
        if n >= resampling.BLOCKS:
            together = largest * spread * widths.standard_error(n) if spread > 0 else 0.0  # `largest` may be infinite
            width = max(together, widths.width(spread, n, alpha), rung.clock)
        else:
            width = max(widths.width(spread, n, alpha / len(members)), rung.clock)
        found[name] = widths.limits(mean, width)
    return found


def _largest(rungs: Sequence[_Rung], alpha: float) -> float:
    """The (1 - alpha)-quantile of the largest |t*| of these rungs, over resamples of whole blocks."""
    blocks = sorted(set().union(*(rung.ratios for rung in rungs)))
    table = np.array([[rung.ratios.get(block, np.nan) for rung in rungs] for block in blocks])
    counts = resampling.draws(np.nan_to_num(table), len(blocks), _TIMES)
    drawn = np.repeat(np.tile(np.arange(len(blocks)), _TIMES), counts.ravel()).reshape(_TIMES, len(blocks))
    largest = np.zeros(_TIMES)
    for rung, column in zip(rungs, table.T, strict=True):
        largest = np.maximum(largest, _studentised(column[drawn] - widths.centre(rung.values)))
    return float(np.quantile(largest, 1 - alpha, method="higher"))  # between two that are infinite lies no number


def _studentised(drawn: Floats) -> Floats:
    """|trimmed mean| over its standard error, of each row; nan: blocks that do not hold the case."""
    ordered = np.sort(drawn, axis=1)  # nan last
    number = np.isfinite(ordered).sum(axis=1, keepdims=True)
    cut = number // widths.CUT
    place = np.arange(ordered.shape[1])[None, :]
    kept, held = (place >= cut) & (place < number - cut), place < number
    edges = (np.take_along_axis(ordered, np.clip(at, 0, None), axis=1) for at in (cut, number - cut - 1))
    clipped = np.where(held, np.clip(ordered, *edges), 0.0)
    left = kept.sum(axis=1)
    centre = np.where(kept, ordered, 0.0).sum(axis=1) / np.maximum(left, 1)
    mean = clipped.sum(axis=1) / np.maximum(number[:, 0], 1)
    squares = (np.where(held, clipped - mean[:, None], 0.0) ** 2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(squares / (left * (left - 1.0)))  # the winsorised variance times (n - 1) / (h (h - 1))
        apart = np.where(centre != 0, np.inf, 0.0)  # a clock so coarse that what was drawn is all equal, and off
        return np.where(left > 1, np.where(error > 0, np.abs(centre) / error, apart), 0.0)

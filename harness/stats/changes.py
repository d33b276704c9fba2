"""Is tonight a change, by how much, since when: the nightly decision about each series of medians. Pure.

A series is one quantity (latency, energy, build time, p99) of one case on one device, one number a night, on the log scale. A
decision takes two calls. `judge` at the end of the night names series as `suspected`; the caller measures these again, in
fresh processes, the same night; `judge` with what came confirms them or does not. A change is `confirmed` where all of this
holds:

- the shift of the last 2, 3, 5, 8 or 14 usable nights from the nights before, or of the last 14 from the first of the segment
  (`levels`), is at least `least`, up or down, with p <= `alpha` over all six together (Bonferroni: the smallest p times 6);
- p stands after Benjamini and Hochberg's procedure (JRSS B, 1995) at q = 0.05 over all series of the night. Their tests
  depend positively on each other (one device, one night), for which it holds (Benjamini & Yekutieli, 2001);
- tonight's run was made again, and the second run alone lies at least half the shift off the old level.

So a change is confirmed on its second night at the earliest, and a spike of one night never is. `suspected` asks for less: p
<= `suspect`, tonight alone counting too. A night that was contended, throttled or not measured decides nothing. What is
confirmed begins a new segment: the caller adds `since` to the history's `breaks`, as it does for an upgrade, and levels are
counted from there. A segment of three nights is a reference, its spread taken from the nights before it; a series of fewer
than eight nights in all is unjudged.

The tail (p99) has a rule of its own, `TAIL`: that of a thousand inferences moves by 10 to 16 % between equal jobs here
(benchmarks/data), so a change is at least 15 %, over three nights or more, of which two must agree. Quantities without noise
(bytes of an artifact, accuracy of one network on one test set, fold error) are not tested but compared: `exact`.

Why not a library: ruptures 1.1.10 (BSD) cuts a whole series into segments and knows no p-value, no night and no re-run.
Apache Otava 0.8.0 pins numpy 2.2.0 and brings BigQuery and Slack, MongoDB's signal-processing-algorithms 2.1.6 wants numpy <
2. `segments` is tried beside ruptures, and this rule beside conbench's, asv's and FAI-PEP's, in benchmarks/regressions.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.stats.levels import LEAST_LEVEL, LEAST_NOISE, Evidence, Past, evidence
from harness.stats.processes import Floats

State = Literal["unjudged", "unchanged", "suspected", "confirmed"]
Q = 0.05  # share of false ones among what one night confirms
REACH = 60  # nights of a reference
_AGREES = 0.5  # of the shift: how far off the old level the second run must lie


@dataclass(frozen=True)
class Rule:
    """What counts as a change: its `least` size, a fraction (0.02: 2 %, up or down), over which `windows` of nights, at which p.

    Raises ValueError where `least` is not above 0, or a window is of fewer than two nights.
    """

    least: float = 0.02
    windows: tuple[int, ...] = (2, 3, 5, 8, 14)
    alpha: float = 0.003
    suspect: float = 0.01

    def __post_init__(self) -> None:
        if not self.least > 0 or min(self.windows) < 2:
            raise ValueError("a rule needs a least change above 0 and windows of two nights or more")

    def resolving(self, resolution: float | None) -> Rule:
        """The rule with a least change no smaller than what the device resolves (`Calibration.resolution`; None: unknown)."""
        return replace(self, least=max(self.least, resolution or 0.0))


TYPICAL = Rule()
TAIL = Rule(least=0.15, windows=(3, 5, 8, 14))


@dataclass(frozen=True, eq=False)
class History:
    """A series: natural logarithms, one for each planned night, the newest last; NaN where nothing was measured.

    `usable`: False where the run was contended or throttled. `breaks`: positions at which a segment begins (an upgrade, a
    change confirmed earlier). `again`: of tonight's second run alone, if there was one; `logs[-1]` is then of both runs'
    processes together. `noise`: a least standard deviation of a night's value, such as its standard error or the device's
    between jobs. Raises ValueError where lengths differ.
    """

    logs: Floats
    usable: npt.NDArray[np.bool_] | None = None
    breaks: tuple[int, ...] = ()
    again: float | None = None
    noise: float = 0.0
    rule: Rule = TYPICAL

    def __post_init__(self) -> None:
        if self.usable is not None and len(self.usable) != len(self.logs):
            raise ValueError("a history needs one flag a night")

    @property
    def counted(self) -> npt.NDArray[np.bool_]:
        """Which nights count."""
        known = np.isfinite(self.logs)
        return known if self.usable is None else known & self.usable


@dataclass(frozen=True)
class Judgement:
    """What is said of a series tonight. `ratio`: the level now over the level before, with its 95 % interval; None where
    unjudged.

    The shift is that of the window with the smallest p: large by chance a little, as what was searched for is; where nothing
    changed, that of the most nights. `since`: position of the first night at the new level, where it is `suspected` or
    `confirmed`. `p`: over all windows, before Benjamini and Hochberg; `adjusted`: after; 1 where no shift is of the least
    size. `reason`: why it is unjudged.
    """

    state: State
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    since: int | None = None
    p: float = 1.0
    adjusted: float = 1.0
    reason: str = ""


@dataclass(frozen=True)
class Tolerance:
    """How far a quantity without noise may move: `absolute`, in its own unit, plus `relative`, a fraction of what it was."""

    absolute: float = 0.0
    relative: float = 0.0


BYTES = Tolerance()
FOLD_ERROR = Tolerance(
    absolute=1e-6, relative=1.0
)  # float32 rounding is 1e-7 of the output; twice the error is another fold


def exact(values: Floats, tolerance: Tolerance, breaks: Sequence[int] = ()) -> Judgement:
    """Judge tonight, the last value, of a quantity without noise: confirmed where it lies off the level's first value by more
    than allowed.

    `values`: in their own unit, NaN where missing. The first value since the last of `breaks` counts, so that small steps add
    up. Nothing is measured again: the same bytes would come. For accuracies of one network allow one example of the test set
    (`absolute`: 1 / n).
    """
    if not len(values) or not math.isfinite(values[-1]):
        return Judgement("unjudged", reason="not measured tonight")
    start = max(breaks, default=0)
    known = start + np.flatnonzero(np.isfinite(values[start:-1]))
    if not known.size:
        return Judgement("unjudged", reason="nothing before it at this level")
    before, now = float(values[known[0]]), float(values[-1])
    ratio = now / before if before else None
    if abs(now - before) <= tolerance.absolute + tolerance.relative * abs(before):
        return Judgement("unchanged", ratio)
    return Judgement("confirmed", ratio, since=len(values) - 1, p=0.0, adjusted=0.0)


def judge(histories: Sequence[History]) -> tuple[Judgement, ...]:
    """Judge tonight, the last position, of all series of one night together; call again with those `suspected` measured
    again."""
    judged: dict[int, Judgement] = {}
    for rule in {history.rule for history in histories}:
        mine = [place for place, history in enumerate(histories) if history.rule == rule]
        judged |= dict(zip(mine, _alike([histories[place] for place in mine], rule), strict=True))
    return _corrected([judged[place] for place in range(len(histories))], histories)


def _alike(histories: Sequence[History], rule: Rule) -> list[Judgement]:
    """Judge series of one rule, before the correction for the number of them."""
    found = evidence(_past(histories, max(rule.windows)), (1, *rule.windows))
    return [_one(history, found, column, rule) for column, history in enumerate(histories)]


def _one(history: History, found: Evidence, column: int, rule: Rule) -> Judgement:
    if reason := _unjudged(history):
        return Judgement("unjudged", reason=reason)
    shift, p = found.shift[:, column], found.p[:, column]
    if not np.isfinite(shift).any():
        return Judgement("unjudged", reason=f"fewer than {LEAST_LEVEL} nights at this level, or {LEAST_NOISE} in all")
    large = np.where(np.abs(shift) >= math.log1p(rule.least), p, 2.0)
    tonight, best = float(large[0]), 1 + int(np.argmin(large[1:]))
    joint = min(1.0, float(large[best]) * (len(p) - 1))
    if min(tonight, joint) > rule.suspect:
        return _told("unchanged", found, int(np.flatnonzero(np.isfinite(shift[:-1]))[-1]), column, joint)
    state: State = "confirmed" if joint <= rule.alpha and _agrees(history, found, best, column) else "suspected"
    window = best if joint <= tonight or state == "confirmed" else 0
    return _told(state, found, window, column, joint, _since(history, found.level[window, column], max(rule.windows)))


def _unjudged(history: History) -> str:
    if not len(history.logs) or not math.isfinite(history.logs[-1]):
        return "not measured tonight"
    return "" if history.counted[-1] else "tonight's run was contended or throttled"


def _agrees(history: History, found: Evidence, window: int, column: int) -> bool:
    """Whether the second run alone lies far enough off the old level, on the same side."""
    if history.again is None or not math.isfinite(history.again):
        return False
    shift = float(found.shift[window, column])
    return (history.again - float(found.level[window, column])) / shift >= _AGREES


def _told(state: State, found: Evidence, window: int, column: int, p: float, since: int | None = None) -> Judgement:
    from scipy.special import stdtrit

    shift, error = float(found.shift[window, column]), float(found.error[window, column])
    half = float(stdtrit(found.freedom[window, column], 0.975)) * error
    return Judgement(state, math.exp(shift), math.exp(shift - half), math.exp(shift + half), since, p)


def _since(history: History, level: float, longest: int) -> int:
    """The first of the last nights at the new level: the cut that leaves least squares, the old level being known."""
    nights = np.flatnonzero(history.counted)
    nights = nights[nights >= max(history.breaks, default=0)][-longest:]
    off = history.logs[nights] - level
    sums = off[::-1].cumsum()[::-1]  # of this night and all later ones
    return int(nights[int(np.argmax(sums**2 / np.arange(len(nights), 0, -1)))])


def _corrected(judged: list[Judgement], histories: Sequence[History]) -> tuple[Judgement, ...]:
    """Benjamini and Hochberg over what was judged: what does not stand is suspected only."""
    from scipy.stats import false_discovery_control

    places = [place for place, each in enumerate(judged) if each.state != "unjudged"]
    if not places or all(judged[place].p >= 1.0 for place in places):
        return tuple(judged)
    adjusted = false_discovery_control([judged[place].p for place in places], method="bh")
    for place, value in zip(places, adjusted, strict=True):
        each = replace(judged[place], adjusted=float(value))
        judged[place] = replace(each, state="suspected") if each.state == "confirmed" and value > Q else each
    return tuple(judged)


def _past(histories: Sequence[History], longest: int) -> Past:
    size = len(histories)
    now, first = np.full((size, REACH + longest), np.nan), np.full((size, REACH), np.nan)
    before, noise = np.full((size, REACH), np.nan), np.empty(size)
    for row, history in enumerate(histories):
        counted, noise[row] = history.counted, history.noise
        start = max(history.breaks, default=0)
        here = history.logs[start:][counted[start:]]
        if here.size:
            now[row, -min(here.size, now.shape[1]) :] = here[-now.shape[1] :]
        if here.size > longest:
            early = here[:-longest][:REACH]
            first[row, -early.size :] = early
        if start:
            earlier = _about_levels(history, counted)[-REACH:]
            before[row, REACH - earlier.size :] = earlier
    return Past(now, first, before, noise)


def _about_levels(history: History, counted: npt.NDArray[np.bool_]) -> Floats:
    """The nights of earlier segments, each about the median of its segment."""
    edges = sorted({0, *history.breaks})
    parts = [history.logs[a:b][counted[a:b]] for a, b in pairwise(edges)]
    return np.concatenate([part - np.median(part) for part in parts if part.size] or [np.empty(0)])

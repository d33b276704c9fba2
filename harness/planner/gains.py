"""What was measured -> what each option gains on the device: ratios to ns, and one slope from isolated to in place. Pure.

A segment by itself keeps its weights in the cache and feels no neighbour: the sign of its gain holds in the whole network, the
size was off by up to three times (docs/planner.md). In the whole network its gain is what it is, but a small share of a latency
that varies more. So a gain by itself is multiplied by the device's slope, as the other options have it, and widened by what that
does not know; and where an option was measured both ways, the two are averaged, each by what it is sure of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.records import Speedup
from harness.records.planned import Gain, GainBasis, Option
from harness.stats import Floats

LEAST = 3  # options in both tables that a slope needs
FACTOR = 3.0  # how far isolated gains were off at most where no slope is known
_MAD = 1.4826  # standard deviation of a normal over its median absolute deviation
_MAD_TELLS = 0.37  # degrees of freedom of that deviation, over those of the usual one
_ERRORS = 2.57  # standard errors in the half-width of an interval over six blocks, those of a table
_UNEXPLAINED = 0.25  # of the variance of slopes, at least: that noise explains all of it is never sure


@dataclass(frozen=True)
class Compared:
    """One comparison of a job: the reference's latency and how many times as fast the case is; or why there is none."""

    reference_ns: float | None = None
    speedup: Speedup | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Saved:
    """What is saved in ns, with its 95 % interval."""

    ns: float
    low: float
    high: float

    @property
    def is_decided(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def widened(self, half: float) -> Saved:
        """The same estimate with another half-width."""
        return Saved(self.ns, self.ns - half, self.ns + half)

    def beside(self, expected: Saved) -> Saved | None:
        """The mean of two independent estimates, each weighed by the inverse square of its half-width.

        None where they contradict each other: they are further apart than noise lets them be.
        """
        apart = math.hypot(self.half, expected.half)
        if apart == 0 or abs(self.ns - expected.ns) > apart:
            return None
        weight = (expected.half / apart) ** 2
        mean = weight * self.ns + (1 - weight) * expected.ns
        return Saved(mean, mean, mean).widened(self.half * expected.half / apart)


@dataclass(frozen=True)
class Correction:
    """What isolated gains are to be multiplied by: the slope, and the 95 % interval in which the next option's lies."""

    slope: float
    low: float
    high: float

    def apply(self, saved: Saved) -> Saved:
        """The gain in place of an option that was measured by itself: no corner of both intervals is left out."""
        corners = [factor * side for factor in (self.low, self.high) for side in (saved.low, saved.high)]
        return Saved(self.slope * saved.ns, min(corners), max(corners))


UNKNOWN = Correction(1.0, 1 / FACTOR, FACTOR)
"""Where too few options were measured both ways: the size as it is, within a factor of three, the sign as it is."""


def saved(compared: Compared) -> Saved | None:
    """What a comparison says in ns; None where it failed, or has no interval. At a ratio of r, 1 - 1/r of the reference goes."""
    ratio, whole = compared.speedup, compared.reference_ns
    if compared.failure or ratio is None or whole is None or ratio.low is None or ratio.high is None:
        return None
    return Saved(*(whole * (1 - 1 / each) for each in (ratio.ratio, ratio.low, ratio.high)))


def correction(pairs: Sequence[tuple[Saved, Saved]]) -> Correction | None:
    """The line through the origin of gains in place over isolated ones, of options that have both; None below three.

    The slope is that of least absolute deviations, the median of in place / isolated weighted by the isolated gain: one odd
    option moves neither it nor the interval, which is Student's t for one more option's true slope: from the median deviation
    less what noise in place has in it, and from what the line itself is unsure of. Options whose isolated gain may be 0 say
    nothing of a ratio.
    """
    known = [(alone.ns, whole.ns, whole.half) for alone, whole in pairs if alone.is_decided]
    if len(known) < LEAST:
        return None
    alone, whole, half = np.array(known, dtype=np.float64).T
    slopes, n = whole / alone, len(known)
    slope = _weighted_median(slopes, np.abs(alone))
    spread = (_MAD * float(np.median(np.abs(slopes - slope)))) ** 2
    noise = float(np.median((half / (_ERRORS * alone)) ** 2))
    between = max(spread - noise, _UNEXPLAINED * spread)
    from scipy.special import stdtrit  # takes longer to import than showing a plan takes

    width = float(stdtrit(_MAD_TELLS * (n - 1), 0.975)) * math.sqrt(between + spread / n)
    return Correction(slope, slope - width, slope + width)


def gains(
    options: Sequence[Option], isolated: Mapping[str, Compared], in_place: Mapping[str, Compared]
) -> tuple[tuple[Gain, ...], Correction | None]:
    """What each option gains that was measured, and the device's correction. `isolated` goes by signature, `in_place` by name."""
    alone = {option.name: isolated[option.signature] for option in options if option.signature in isolated}
    both = {name: pair for name in alone if (pair := _pair(alone[name], in_place.get(name)))}
    half = math.sqrt(math.fsum(whole.half**2 for _, whole in both.values()) / max(1, len(both)))  # noise that all share
    measured = [option.name for option in options if option.name in alone or option.name in in_place]
    found = (_gain(name, alone.get(name), in_place.get(name), _of_others(name, both), half) for name in measured)
    return tuple(found), correction([*both.values()])


def _pair(alone: Compared, whole: Compared | None) -> tuple[Saved, Saved] | None:
    """What an option saves by itself and in place, where both are known."""
    one, other = saved(alone), saved(whole or Compared())
    return None if one is None or other is None else (one, other)


def _of_others(name: str, both: Mapping[str, tuple[Saved, Saved]]) -> Correction | None:
    """The correction as all other options have it: an option's own gain in place must not speak twice."""
    return correction([pair for other, pair in both.items() if other != name])


def _gain(name: str, alone: Compared | None, whole: Compared | None, others: Correction | None, half: float) -> Gain:
    """In place, averaged with what the isolated one leads to expect; or the one that there is; else why neither.

    In that mean a gain in place is as unsure as those of all options together: six blocks know little of one's own noise.
    """
    told = whole or alone or Compared()
    best, by_itself = saved(told), saved(alone or Compared())
    basis: GainBasis = "in place" if whole is not None else "isolated"
    if best is not None and whole is None:
        best = (others or UNKNOWN).apply(best)
    elif best is not None and by_itself is not None and others is not None:
        mean = best.widened(half).beside(others.apply(by_itself))
        best, basis = (best, basis) if mean is None else (mean, "both")
    return Gain(
        option=name,
        gain_ns=best.ns if best else None,
        low_ns=best.low if best else None,
        high_ns=best.high if best else None,
        basis=basis if best else None,
        kept_ns=alone.reference_ns if alone else None,
        isolated=alone.speedup if alone else None,
        in_place=whole.speedup if whole else None,
        failure=None if best else told.failure or "measured in fewer than two blocks: no interval",
    )


def worth_a_look(options: Sequence[Option], isolated: Mapping[str, Compared]) -> tuple[Option, ...]:
    """The options to be measured in place, the most profitable first: those that may gain, as measured by themselves.

    What has no life of its own comes after them, in the order of what it takes off the count of MACs; what failed by itself is
    left out, for it would take down every group that holds it, unless there is nothing else. At least as many as a slope needs,
    though nothing seems to gain.
    """
    alone = {option.name: isolated.get(option.signature, Compared()) for option in options}
    found = {name: saved(each) for name, each in alone.items()}
    ranked = [(each, option) for option in options if (each := found[option.name]) is not None]
    ranked.sort(key=lambda pair: (-pair[0].ns, pair[1].name))
    rest = sorted(
        (option for option in options if found[option.name] is None),
        key=lambda option: (option.macs_after - option.macs_before, option.name),
    )
    unknown = [option for option in rest if alone[option.name].failure is None]
    able = [option for each, option in ranked if each.high > 0] + unknown
    hopeless = [option for each, option in ranked if each.high <= 0]
    return (*able, *hopeless[: max(0, LEAST - len(able))]) or tuple(rest)


def _weighted_median(values: Floats, weights: Floats) -> float:
    """The least value at which half of the weight lies below or at it."""
    order = np.argsort(values)
    gathered = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(gathered, gathered[-1] / 2)])

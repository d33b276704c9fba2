"""What was measured -> what each option gains on the device: ratios to ns, and one slope from isolated to in place. Pure.

A segment by itself keeps its weights in the cache and feels no neighbour: the sign of its gain holds in the whole network, the
size was off by up to three times (docs/planner.md). So what is measured in the whole network counts as it is, and what is
measured by itself alone is multiplied by the device's slope, and its interval widened by what that slope does not know.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.records import Speedup
from harness.records.planned import Gain, Option
from harness.stats import Floats

LEAST = 3  # options in both tables that a slope needs
FACTOR = 3.0  # how far isolated gains were off at most where no slope is known
_MAD = 1.4826  # standard deviation of a normal over its median absolute deviation


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
    option moves neither it nor the interval, which is Student's t for one more option, from the median deviation. Options
    whose isolated gain may be 0 say nothing of a ratio.
    """
    known = [(alone.ns, whole.ns) for alone, whole in pairs if alone.is_decided]
    if len(known) < LEAST:
        return None
    alone, whole = np.array(known, dtype=np.float64).T
    slopes, n = whole / alone, len(known)
    slope = _weighted_median(slopes, np.abs(alone))
    spread = _MAD * float(np.median(np.abs(slopes - slope)))
    from scipy.special import stdtrit  # takes longer to import than showing a plan takes

    width = float(stdtrit(n - 1, 0.975)) * spread * math.sqrt(1 + 1 / n)
    return Correction(slope, slope - width, slope + width)


def gains(
    options: Sequence[Option], isolated: Mapping[str, Compared], in_place: Mapping[str, Compared]
) -> tuple[tuple[Gain, ...], Correction | None]:
    """What each option gains that was measured, and the device's correction. `isolated` goes by signature, `in_place` by name."""
    alone = {option.name: isolated[option.signature] for option in options if option.signature in isolated}
    both = [(saved(alone[name]), saved(in_place[name])) for name in alone if name in in_place]
    found = correction([(one, other) for one, other in both if one is not None and other is not None])
    measured = [option.name for option in options if option.name in alone or option.name in in_place]
    return tuple(_gain(name, alone.get(name), in_place.get(name), found or UNKNOWN) for name in measured), found


def _gain(name: str, alone: Compared | None, whole: Compared | None, found: Correction) -> Gain:
    """In place where that was measured, or failed there; else isolated and corrected; else why neither."""
    told = whole or alone or Compared()
    best = saved(told)
    if best is not None and whole is None:
        best = found.apply(best)
    return Gain(
        option=name,
        gain_ns=best.ns if best else None,
        low_ns=best.low if best else None,
        high_ns=best.high if best else None,
        basis=None if best is None else "in place" if whole is not None else "isolated",
        kept_ns=alone.reference_ns if alone else None,
        isolated=alone.speedup if alone else None,
        in_place=whole.speedup if whole else None,
        failure=None if best else told.failure or "measured in fewer than two blocks: no interval",
    )


def worth_a_look(options: Sequence[Option], isolated: Mapping[str, Compared]) -> tuple[Option, ...]:
    """The options to be measured in place, the most profitable first: those that may gain, as measured by themselves.

    What could not be measured by itself comes after them, in the order of what it takes off the count of MACs. At least as many
    as a slope needs, though nothing seems to gain.
    """
    found = {option.name: saved(isolated.get(option.signature, Compared())) for option in options}
    ranked = [(each, option) for option in options if (each := found[option.name]) is not None]
    ranked.sort(key=lambda pair: (-pair[0].ns, pair[1].name))
    unknown = [option for option in options if found[option.name] is None]
    unknown.sort(key=lambda option: (option.macs_after - option.macs_before, option.name))
    able = [option for each, option in ranked if each.high > 0] + unknown
    hopeless = [option for each, option in ranked if each.high <= 0]
    return (*able, *hopeless[: max(0, LEAST - len(able))])


def _weighted_median(values: Floats, weights: Floats) -> float:
    """The least value at which half of the weight lies below or at it."""
    order = np.argsort(values)
    gathered = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(gathered, gathered[-1] / 2)])

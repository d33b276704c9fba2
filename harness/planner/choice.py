"""Which options to take: a front of folding plans out of gains and prices, what each should bring, which one is meant. Pure.

A plan's latency is predicted as the unfolded network's less the gains of its options: layers run one after the other, so what
is saved in one place does not depend on another, to first order. (Ratios multiplied would say less: they take each gain from
what is left.) Its interval is that of a sum whose terms' errors correlate, each side by itself: all gains of a job rest on one
reference, whose noise the more options of a plan share, the less it averages out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.planner.programme import Choice, Item, Programme, likely_ns, price_of, rank
from harness.records.planned import FoldingPlan, Gain, Listing, Prediction, Price

Latencies = NDArray[np.float64]  # logarithms

# Options are taken by the gain that they have with a probability of five in six, not by the lower end of their interval: errors
# of many average out, and what is not sure of one is sure of a plan of several. A plan's whole interval must lie above 1.
CAUTION = 0.5  # of an interval's lower half-width
FLOOR = 0.02  # of the unfolded latency: gains that leave less do not add up any more, and none is predicted below it
CANDIDATES = 400  # plans that are looked at, before they are thinned to a readable number
# Correlation of two gains' errors: a reference has about four processes a block (jobs.replicates), so a fifth of each gain's
# variance is its. In tables of 12 to 15 options sums varied over blocks 1.4 to 2.0 times as much as if errors were independent.
SHARED = 0.2
APART = math.log(1.01)  # plans nearer to each other in latency are not worth two lines


def items(listing: Listing, gains: Iterable[Gain], prices: Iterable[Price]) -> tuple[Item, ...]:
    """Options that most likely gain and have a price; one below 0 is noise, and free."""
    gain_of, price = {gain.option: gain for gain in gains}, {price.option: price.price for price in prices}
    return tuple(
        Item(option.name, option.first, option.after, max(price[option.name], 0.0), *ends, option.removed)
        for option in listing.options
        if (ends := _ends(gain_of.get(option.name))) and ends[0] > 0 and option.name in price
    )


def is_likely(gain: Gain) -> bool:
    """Whether an option most likely gains: only such are taken by plans."""
    ends = _ends(gain)
    return ends is not None and ends[0] > 0


def _ends(gain: Gain | None) -> tuple[float, float, float, float] | None:
    """A cautious estimate, the best one and its interval; None where there is none."""
    if gain is None or gain.gain_ns is None or gain.low_ns is None or gain.high_ns is None:
        return None
    return gain.gain_ns - CAUTION * (gain.gain_ns - gain.low_ns), gain.gain_ns, gain.low_ns, gain.high_ns


# --- what a plan should bring --------------------------------------------------------------------------------------------


def predicted(choice: Sequence[Item], reference_ns: float) -> Prediction:
    """Latency and speed-up of the network with these items, with 95 % intervals."""
    latency = reference_ns - math.fsum(item.gain_ns for item in choice)
    below = _half_width([item.high_ns - item.gain_ns for item in choice])
    above = _half_width([item.gain_ns - item.low_ns for item in choice])
    floor = FLOOR * reference_ns
    middle, low, high = (max(value, floor) for value in (latency, latency - below, latency + above))
    return Prediction(middle, low, high, reference_ns / middle, reference_ns / high, reference_ns / low)


def _half_width(halves: Sequence[float]) -> float:
    """That of a sum of which these are the terms' half-widths: between their root sum of squares and their sum."""
    return math.hypot(math.sqrt(1 - SHARED) * math.hypot(*halves), math.sqrt(SHARED) * math.fsum(halves))


def plan(choice: Sequence[Item], reference_ns: float) -> FoldingPlan:
    """A choice as a plan, without words."""
    in_order = sorted(choice, key=lambda item: item.first)
    return FoldingPlan(
        options=tuple(item.option for item in in_order),
        removed=tuple(name for item in in_order for name in item.removed),
        price=price_of(in_order),
        predicted=predicted(in_order, reference_ns),
    )


# --- the front -----------------------------------------------------------------------------------------------------------


def front(items: Iterable[Item], reference_ns: float, at_least: int = 5, most: int = 10) -> tuple[FoldingPlan, ...]:
    """Plans that surely gain and that no other such beats in both price and likely gain, cheapest first; none where nothing pays.

    At most `most` of them, the cheapest and the fastest always, evenly spread in latency on the log scale and 1 % apart, or
    nearer where there would be fewer than `at_least`.
    """
    found = gaining(tuple(items), reference_ns)
    latencies = np.log([_latency(likely_ns(choice), reference_ns) for choice in found])
    return tuple(plan(found[place], reference_ns) for place in _spread(latencies, at_least, most))


def gaining(items: Sequence[Item], reference_ns: float) -> tuple[Choice, ...]:
    """Choices that surely gain, of which no other such beats one in both price and likely gain, cheapest first."""
    candidates = (*unbeaten(items, reference_ns), *_unbeaten_for_sure(items, reference_ns))
    return _kept(choice for choice in candidates if predicted(choice, reference_ns).speedup_low > 1)


def unbeaten(items: Iterable[Item], reference_ns: float) -> tuple[Choice, ...]:
    """Choices that no other beats in both price and likely gain, cheapest first; of very many, some of all latencies."""
    programme = Programme(items)
    gains = programme.levels * programme.step_ns
    levels = programme.levels[_even(np.log([_latency(gain, reference_ns) for gain in gains]))]
    found = [*(programme.choice(level) for level in levels), programme.fastest]
    return _kept(filter(None, found))


def _unbeaten_for_sure(items: Sequence[Item], reference_ns: float) -> Iterator[Choice]:
    """Choices by the lower ends of gains: one that likely gains more, and is sure of nothing, hides none of them."""
    named = {item.option: item for item in items}
    sure = [replace(item, likely_ns=item.low_ns) for item in items if item.low_ns > 0]
    for choice in unbeaten(sure, reference_ns):
        yield tuple(named[item.option] for item in choice)


def _kept(choices: Iterable[Choice]) -> tuple[Choice, ...]:
    """Those that no other beats in both price and likely gain, cheapest first."""
    kept: list[Choice] = []
    for choice in sorted(choices, key=lambda choice: (price_of(choice), *rank(choice))):
        if not kept or likely_ns(choice) > likely_ns(kept[-1]):
            kept.append(choice)
    return tuple(kept)


def _latency(gain_ns: float, reference_ns: float) -> float:
    return max(reference_ns - gain_ns, FLOOR * reference_ns)


def _even(falling: Latencies) -> NDArray[np.int64]:
    """Places of at most CANDIDATES of these values, ends included, evenly over their range."""
    if len(falling) <= CANDIDATES:
        return np.arange(len(falling))
    wanted = np.linspace(-falling[0], -falling[-1], CANDIDATES)
    return np.unique(np.searchsorted(-falling, wanted).clip(0, len(falling) - 1))


def _spread(values: Latencies, at_least: int, most: int) -> list[int]:
    """Places of a few values, both ends first, then again and again the one that lies furthest from all that are taken."""
    taken = sorted({0, len(values) - 1}) if len(values) else []
    while len(taken) < min(most, len(values)):
        gaps = np.abs(values[:, None] - values[taken]).min(axis=1)
        gaps[taken] = -1.0
        furthest = int(gaps.argmax())
        if len(taken) >= at_least and gaps[furthest] < APART:
            break
        taken.append(furthest)
    return sorted(taken)


# --- the one that is meant -----------------------------------------------------------------------------------------------


def reaching(front: Sequence[FoldingPlan], target_speedup: float) -> int | None:
    """The place of the cheapest plan that was measured to be so fast, by the best estimate; None where none was."""
    able = [place for place, plan in enumerate(front) if speedup(plan) >= target_speedup]
    return min(able, key=lambda place: (front[place].price, -speedup(front[place])), default=None)


def fastest(front: Sequence[FoldingPlan], drop: float | None = None) -> int | None:
    """The place of the fastest plan that surely is faster than the unfolded network, and loses at most so much accuracy.

    None where none is. `drop` is a fraction, below the full network trained as long; a plan whose accuracy is not known is
    not taken then.
    """
    able = [
        place for place, plan in enumerate(front) if is_faster(plan) and (drop is None or _loses_at_most(plan, drop))
    ]
    return max(able, key=lambda place: (speedup(front[place]), -front[place].price), default=None)


def is_faster(plan: FoldingPlan) -> bool:
    """Whether a plan surely is faster than the unfolded network, as a run would say of it."""
    return plan.verified is not None and plan.verified.speedup.verdict == "faster"


def _loses_at_most(plan: FoldingPlan, drop: float) -> bool:
    loss = lost(plan)
    return loss is not None and is_within(loss, drop)


def is_within(loss: float, drop: float) -> bool:
    """Whether a loss of accuracy is no more than allowed; one that is just that, but for what floats add to it, is not."""
    return loss <= drop + 1e-9


def lost(plan: FoldingPlan) -> float | None:
    """The accuracy that a plan lost, where it was trained."""
    found = plan.verified
    if found is None or found.accuracy is None or found.baseline is None:
        return None
    return found.baseline - found.accuracy


def speedup(plan: FoldingPlan) -> float:
    """A plan's measured speed-up; 0 where it could not be built or measured, whatever was predicted."""
    return plan.verified.speedup.ratio if plan.verified else 0.0

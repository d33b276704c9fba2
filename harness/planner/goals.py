"""What is wanted of plans: what an option costs, the plan that a target means. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from harness.planner import choice
from harness.planner.folder import Asked
from harness.planner.programme import Item
from harness.records.planned import FoldingPlan, Gain, Listing, Price, PriceBasis, Priced, PricesRequest


@dataclass(frozen=True)
class Goal:
    """What is wanted of the plans: a speed-up, or at most so much less accuracy; neither: the fastest that there is."""

    importance: PriceBasis = "count"
    speedup: float | None = None
    accuracy_drop: float | None = None


def counted(listing: Listing) -> tuple[Price, ...]:
    """What each option costs the network by the activations that it removes."""
    return tuple(Price(option.name, float(len(option.removed)), None, "count") for option in listing.options)


def request(asked: Asked, wanted: Sequence[tuple[str, ...]], basis: PriceBasis) -> PricesRequest:
    """What is asked of the child that trains: these choices of options, on this basis (not `count`, which needs none)."""
    tier: Literal["entropy", "loss"] = "entropy" if basis == "entropy" else "loss"
    return PricesRequest(asked.model, asked.task, tuple(wanted), tier=tier, data=asked.data)


def sure(gains: Sequence[Gain]) -> tuple[tuple[str, ...], ...]:
    """The options that surely gain, each as a choice of its own: no other is worth a training."""
    return tuple((gain.option,) for gain in gains if gain.low_ns is not None and gain.low_ns > 0)


@dataclass(frozen=True)
class Learnt:
    """What training a plan as a whole told: its accuracy, that of the full network fine-tuned as long, its price in nats."""

    accuracy: float
    baseline: float
    price: float


def learnt(priced: Sequence[Priced]) -> dict[tuple[str, ...], Learnt]:
    """What each plan came to, means over seeds; plans that failed with any seed are not there."""
    found: dict[tuple[str, ...], Learnt] = {}
    for plan in dict.fromkeys(one.options for one in priced):
        own = [one for one in priced if one.options == plan]
        known = [each for one in own if (each := _learnt(one)) is not None]
        if len(known) == len(own):
            found[plan] = Learnt(
                fmean(each.accuracy for each in known),
                fmean(each.baseline for each in known),
                fmean(each.price for each in known),
            )
    return found


def _learnt(one: Priced) -> Learnt | None:
    if one.accuracy is None or one.baseline_accuracy is None or one.loss is None or one.baseline is None:
        return None
    return Learnt(one.accuracy, one.baseline_accuracy, one.loss - one.baseline)


def reaching(items: Sequence[Item], reference_ns: float, speedup: float | None) -> FoldingPlan | None:
    """The cheapest plan whose predicted speed-up reaches the target; None without a target, or where none does."""
    if speedup is None:
        return None
    plans = (choice.plan(each, reference_ns) for each in choice.unbeaten(items, reference_ns))
    able = [plan for plan in plans if plan.predicted.speedup >= speedup]
    return min(able, key=lambda plan: (plan.price, -plan.predicted.speedup), default=None)


def chosen(front: Sequence[FoldingPlan], goal: Goal) -> int | None:
    """The place of the plan that is meant: the cheapest that reaches the speed-up, the fastest within the loss of accuracy.

    Without a target the fastest. None where no plan does, and where the fastest is measured no faster than the unfolded network.
    """
    if goal.speedup is not None:
        return choice.reaching(front, goal.speedup)
    place = choice.within(front, drop=goal.accuracy_drop)
    return place if place is not None and choice.speedup(front[place]) > 1 else None

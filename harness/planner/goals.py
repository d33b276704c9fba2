"""What is wanted of plans: what an option costs, the plan that a target means, and whether it reaches it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from harness.planner import choice
from harness.planner.folder import Asked
from harness.planner.programme import Item
from harness.records.planned import FoldingPlan, Gain, Listing, Planned, Price, PriceBasis, Priced, PricesRequest


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


def likely(gains: Sequence[Gain]) -> tuple[tuple[str, ...], ...]:
    """The options that most likely gain, each as a choice of its own: no other is worth a training."""
    return tuple((gain.option,) for gain in gains if choice.is_likely(gain))


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
    """The cheapest plan that surely gains and is predicted to reach the target; None without a target, or where none is."""
    if speedup is None:
        return None
    plans = (choice.plan(each, reference_ns) for each in choice.gaining(items, reference_ns))
    able = [plan for plan in plans if plan.predicted.speedup >= speedup]
    return min(able, key=lambda plan: (plan.price, -plan.predicted.speedup), default=None)


def chosen(front: Sequence[FoldingPlan], goal: Goal) -> int | None:
    """The place of the plan that is meant: the cheapest that reaches the speed-up, the fastest within the loss of accuracy.

    Without a target the fastest. None where no plan does, and where none surely is faster than the unfolded network. A plan that
    could not be built or measured is never meant.
    """
    return choice.fastest(front, goal.accuracy_drop) if goal.speedup is None else choice.reaching(front, goal.speedup)


def told(planned: Planned, goal: Goal) -> str | None:
    """How surely the plan that is meant reaches its target, and why no plan is meant; None: there is nothing to say."""
    if planned.chosen is not None:
        return None if goal.speedup is None else _reached(planned.chosen, planned.front[planned.chosen], goal.speedup)
    if goal.speedup is not None:
        return _too_slow(planned, goal.speedup)
    if goal.accuracy_drop is not None:
        return _too_dear(planned.front, goal.accuracy_drop)
    return "no plan surely is faster than the unfolded network: none has the star" if planned.front else None


def _reached(place: int, plan: FoldingPlan, target: float) -> str:
    low = plan.verified.speedup.low if plan.verified else None
    if low is not None and low >= target:
        return f"plan {place + 1} reaches {target:g}x with its whole interval"
    return f"plan {place + 1} reaches {target:g}x by its best estimate; whether it surely does is not told apart"


def _too_slow(planned: Planned, target: float) -> str:
    measured = [choice.speedup(plan) for plan in planned.front if plan.verified]
    if measured:
        why = f"the fastest is {max(measured):.3f}x"
    else:
        why = "none was measured" if planned.front else "nothing surely gains there"
    return f"no plan reaches {target:g}x on {planned.device}: {why}"


def _too_dear(front: Sequence[FoldingPlan], drop: float) -> str:
    losses = {place: loss for place, plan in enumerate(front, 1) if (loss := choice.lost(plan)) is not None}
    cheap = [str(place) for place, loss in losses.items() if choice.is_within(loss, drop)]
    if not losses:
        return f"no plan was trained: none is known to lose at most {drop:g} of accuracy"
    if not cheap:
        return f"no plan loses at most {drop:g} of accuracy: the least is {min(losses.values()):.3g}"
    return f"at most {drop:g} of accuracy is lost by plan {', '.join(cheap)}, but that surely makes nothing faster"

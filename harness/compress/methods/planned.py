"""Planned: fold what was measured to pay on a device, as `harness plan` chose it there, and fine-tune.

harness plan --device pi5 --model resnet18           measures, chooses, and keeps its plans with the device's runs
harness run --method planned --recipe plans=layer4.1.conv1..layer4.1.conv2:plain+layer3.1:skip,layer4.1:skip

Without `plans` a run takes those that `harness plan` kept of its device, and trains each as a rung. A plan is options that
do not touch each other, joined by `+` (`harness plan --dry-run` lists a network's options):

    layer4.1.conv1..layer4.1.conv2:plain           the layers from the first to the last become one, padding first
    ...:dense, ...:tail                            they become one matrix, from image to image, or up to the classifier
    layer2.1.conv1..layer2.1.conv2:bypass=layer2.1.conv1   a convolution becomes an identity, the rest one layer
    layer3.1:skip                                  a residual block becomes an identity

After Kim et al. 2023 (arXiv 2301.12187) and LayerMerge (Kim et al. 2024, arXiv 2406.12837), whose tables were measured on one
GPU. Nothing but what a plan names is merged: what would become slower stays as it is. Each rung starts from the full network
and is trained as long as a whole ladder, as the networks of the controls are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.compress.schedules import Budget
from harness.errors import UsageError
from harness.records import Choice

if TYPE_CHECKING:  # the controller reads Recipe, and torch stays out of it
    from torch import nn

    from harness.compress.edits import Edit
    from harness.compress.state import State

TRAINS = True
CHAINS = False


@dataclass(frozen=True)
class Recipe:
    """What may be set: the plans, a rung each; none named: those of the device, as `harness plan` keeps them."""

    plans: tuple[str, ...] = ()


def units(state: State, recipe: Recipe) -> tuple[str, ...]:
    """Return the plans. Raises UsageError: there are none, one is said twice, or names what is not there."""
    if not recipe.plans:
        raise UsageError(
            "method planned: no plan is named",
            "Make some with `harness plan --device NAME --model MODEL`, or name them: --recipe plans=OPTION+OPTION,OPTION.",
        )
    every = [frozenset(plan.split("+")) for plan in recipe.plans]  # in any order a plan is the same
    for plan, same in zip(recipe.plans, every, strict=True):
        if every.count(same) > 1:
            raise UsageError(f"method planned: plan {plan} is named {every.count(same)} times; once is enough")
    for made in _edits(state, recipe.plans):
        assert made
    return recipe.plans


def budget(total: int, rungs: int, recipe: Recipe) -> Budget:
    """Each of the plans gets what a ladder gets."""
    return Budget(0, total)


def choose(state: State, recipe: Recipe) -> Choice | None:
    """Choose the next plan; None after the last."""
    more = state.rung <= len(recipe.plans)
    return Choice((recipe.plans[state.rung - 1],), {}, gap=None, gap_error=None) if more else None


def shorten(state: State, choice: Choice, recipe: Recipe) -> tuple[nn.Module, tuple[Edit, ...]]:
    """Return the network and the edits of the plan."""
    return state.network, _edits(state, choice.chosen)[0]


def _edits(state: State, plans: tuple[str, ...]) -> list[tuple[Edit, ...]]:
    """The edits of each plan. Raises UsageError for an option that is not there, or two that touch one layer."""
    from harness.compress import options, scenes
    from harness.records.planned import OptionsRequest

    listing = options.find(
        scenes.Scene.of(state.network, state.example), OptionsRequest("the network", "", forms=options.EVERY)
    )
    return [options.edits_of(options.named(listing, plan.split("+"))) for plan in plans]

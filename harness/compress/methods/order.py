"""Remove activations in a given order, without training: what depth costs on a device, before asking about accuracy.

harness run --method order                                     deepest first
harness run --method order --order layer4.1.relu1,layer1.0.relu1

Weights are random and stay so: latency does not depend on them. Accuracies are null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import content
from harness.errors import UsageError
from harness.records import Choice

if TYPE_CHECKING:  # the controller reads Recipe, and torch stays out of it
    from harness.compress.state import State

TRAINS = False


@dataclass(frozen=True)
class Recipe:
    """What may be set: module paths of activations, first out first (`--order`); empty means deepest first."""

    order: tuple[str, ...] = ()


def check(eligible: tuple[str, ...], recipe: Recipe) -> None:
    """Check the order before anything is made. Raises UsageError for a name that is not eligible, or said twice."""
    hint = "`--eligible all` allows every activation, `mergeable` those whose removal lets layers merge."
    for name in recipe.order:
        content.require_known("eligible activation", name, eligible, hint)
        if recipe.order.count(name) > 1:
            raise UsageError(f'--order names "{name}" {recipe.order.count(name)} times; once is enough')


def choose(state: State, recipe: Recipe) -> Choice | None:
    """Choose the next of the order, its place as the score; None at its end."""
    order = recipe.order or state.eligible[::-1]
    left = {name: float(place) for place, name in enumerate(order) if name in state.candidates}
    return Choice(tuple(left)[: state.step], left, gap=None, gap_error=None) if left else None

"""Smallest weights: remove the activation behind the layer of smallest mean |w|, a baseline of EASIER, TLC and LaCoOT.

harness run --method smallest-weights

The score of an activation is the mean of |w| over all weights of the convolution or linear layer in front of it, biases and
BatchNorms aside, in the network as it stands. That layer is found by following the graph: through BatchNorm, dropout and
pooling, and where a shortcut is added, into the main branch, whose last layer counts, not that of the shortcut.

The papers name this baseline and release no code for it. Weights carry no sampling error: the gap has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.compress.ranking import lowest
from harness.records import Choice

if TYPE_CHECKING:  # the controller reads Recipe, and torch stays out of it
    from harness.compress.state import State

TRAINS = True


@dataclass(frozen=True)
class Recipe:
    """Nothing may be set."""


def units(state: State, recipe: Recipe) -> tuple[str, ...]:
    """Return the eligible activations. Raises UsageError if there is no layer in front of one of them."""
    from harness.compress.fronts import fronts

    return tuple(fronts(state.network, state.example, state.eligible))


def choose(state: State, recipe: Recipe) -> Choice | None:
    """Choose the candidate behind the smallest weights; None when no candidate is left."""
    from harness.compress.fronts import fronts

    scores: dict[str, float] = {}
    for name, path in fronts(state.network, state.example, state.candidates).items():
        layer: Any = state.network.get_submodule(path)
        scores[name] = layer.weight.detach().double().abs().mean().item()
    return lowest(scores, state.step)

"""Smallest gradients: remove the activation behind the layer of smallest mean |dL/dw|, a baseline of EASIER and TLC.

harness run --method smallest-gradients

The score of an activation is the mean of |dL/dw| over all weights of the convolution or linear layer in front of it, found
as for smallest-weights. L is the mean cross-entropy over the whole held-out part, so dL/dw is one gradient, gathered batch
by batch at constant memory, of which |.| is taken at the end. The network is in eval mode: BatchNorm and dropout then do
what they do once deployed, L does not depend on how images fall into batches, and no statistics change.

The papers name this baseline and release no code for it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.compress.ranking import lowest
from harness.records import Choice

if TYPE_CHECKING:  # the controller reads Recipe, and torch stays out of it
    from torch import Tensor

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
    """Choose the candidate behind the smallest gradients; None when no candidate is left."""
    from harness.compress.fronts import fronts

    front = fronts(state.network, state.example, state.candidates)
    found = gradients(state, set(front.values())) if front else {}
    return lowest({name: found[path].abs().mean().item() for name, path in front.items()}, state.step)


def gradients(state: State, layers: Collection[str]) -> dict[str, Tensor]:
    """Return dL/dw of each layer's weight, in float64, by its path."""
    import torch
    from torch.nn import functional

    from harness.compress.state import batches

    assert state.held_out is not None
    modules: dict[str, Any] = {path: state.network.get_submodule(path) for path in layers}
    weights = [module.weight for module in modules.values()]
    totals = [torch.zeros_like(weight, dtype=torch.float64) for weight in weights]
    for images, labels in batches(state.held_out):
        loss = functional.cross_entropy(state.network(images), labels, reduction="sum")
        for total, gradient in zip(totals, torch.autograd.grad(loss, weights), strict=True):
            total += gradient
    return {path: total / len(state.held_out.labels) for path, total in zip(modules, totals, strict=True)}

"""NEPENTHE: EGP with states that are 0 left out, and each channel weighed by itself (Liao et al., arXiv 2404.16890).

harness run --method nepenthe                              zeta 0.5, as the paper for ResNet-18
harness run --method nepenthe --recipe zeta=0.25           for Swin-T; 0.1 for MobileNetV2
harness run --method nepenthe --delta 0.02                 the threshold on accuracy that ends it

Rounds, budgets, what becomes linear and what is cut: as `egp`. Two things differ. A state z = 0 is neither ON nor OFF, and
counts for nothing: p = P(z > 0 | z != 0). And the irrelevance of a layer is that of its channels i, those alone whose state
changes, H_i > 0, each with its own weights w_i (the non-zero ones):

    I_l = mean_i (H_i mean |w_i|)

There is no released code, and the paper's text could not be had: the formula is our reading of two public reviews and an
excerpt. The threshold on performance has no published value; it is `--delta` here, as for every method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.compress.methods import _rounds

if TYPE_CHECKING:  # the controller reads Recipe, and torch stays out of it
    from torch import Tensor, nn

    from harness.compress.edits import Edit
    from harness.compress.state import State, Training
    from harness.records import Choice

TRAINS = True


@dataclass(frozen=True)
class Recipe:
    """What may be set: the share of weights that a round prunes, and what a layer without a way around it keeps of its own."""

    zeta: float = 0.5
    floor: float = 0.1


def check(eligible: tuple[str, ...], recipe: Recipe) -> None:
    """Raise UsageError for shares that are none."""
    _rounds.require_settings("nepenthe", recipe.zeta, recipe.floor)


def units(state: State, recipe: Recipe) -> tuple[str, ...]:
    """Return the eligible activations. Raises UsageError where one has no layer in front of it."""
    return _rounds.units(state)


def choose(state: State, recipe: Recipe) -> Choice | None:
    """Choose what becomes linear in this round, often nothing; None when there is nothing left to prune."""
    return _rounds.choose(state, _rules(recipe))


def exhausted(state: State, recipe: Recipe) -> str:
    """Say why nothing is chosen though activations are left."""
    return _rounds.exhausted(state)


def shorten(state: State, choice: Choice, recipe: Recipe) -> tuple[nn.Module, tuple[Edit, ...]]:
    """Prune by the round's budgets, and make linear what was chosen."""
    return _rounds.shorten(state, _rules(recipe))


def tune(network: nn.Module, training: Training, recipe: Recipe) -> None:
    """Fine-tune with the pruned weights held at 0."""
    _rounds.tune(network, training)


def finish(state: State, recipe: Recipe) -> tuple[nn.Module, tuple[Edit, ...]]:
    """Cut the channels whose weights are all 0."""
    return _rounds.finish(state)


def on_share(signs: _rounds.Signs) -> Tensor:
    """The share of ON among the states that are not 0, of each channel; 0 where all are."""
    return signs.above.double() / (signs.above + signs.below).clamp(min=1)


def irrelevance(entropies: Tensor, weights: Tensor) -> float:
    """I_l = mean of H_i mean |w_i| over the channels whose state changes, in bits times the unit of the weights."""
    if len(entropies) != len(weights):  # the layer's channels are arranged anew before the activation
        return float(entropies[entropies > 0].mean()) * _rounds.magnitude(weights)
    weighed = [float(bits) * _rounds.magnitude(row) for bits, row in zip(entropies, weights, strict=True) if bits > 0]
    return sum(weighed) / len(weighed)


def _rules(recipe: Recipe) -> _rounds.Rules:
    return _rounds.Rules(on_share, irrelevance, recipe.zeta, recipe.floor)

"""EGP: prune where activations are least uncertain, until whole layers are empty (Liao et al., ICCV workshops 2023).

harness run --method egp
harness run --method egp --recipe zeta=0.25
harness run --method egp --eligible all --rungs 9

Each rung is a round. On held-out images, in eval mode, p is the share of images and positions for which a channel's input
z > 0, H = -p log2 p - (1 - p) log2 (1 - p), and H_l the mean over a layer's channels, those left out that are always or
never ON. With w the non-zero weights of the layer in front of the activation:

    I_l = H_l mean |w|,   R_l = (sum_j I_j) / I_l,   budget_l = softmax(R)_l zeta (number of all such weights)

A layer gets no more than it has; what is too much for it is shared anew among the others. So many of its smallest weights go
and stay 0 from then on. A rung that removes no activation is a round too; `setting` is the sparsity reached.

Where no channel changes its state, H_l = 0, the activation becomes linear before the rung is fine-tuned: channels that
are never ON, by the data, are held at 0. Where a layer is emptied its channels are constants, and it becomes linear exactly.
Afterwards all channels without weights are cut, their constants kept; one stays where otherwise none would.

Unlike the released code (Unstructured_Relu_Pruning_Reduce_Depth): the layer in front is found by the graph, not by its name;
entropies are exact (no clamped logarithm, no average over batches of unequal size), on held-out images, not on those trained
on; activations really go, and so do channels. An activation behind an add is not linear because its layer is empty. A layer
that every path goes through keeps `floor` of its weights in each round, at least one: the released code empties it, and then
the network answers the same to everything (10 % for VGG on CIFAR-10); `--recipe floor=0` comes closest to that.
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
    _rounds.require_settings("egp", recipe.zeta, recipe.floor)


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
    """The share of ON states of each channel: 0 counts as OFF."""
    return signs.above.double() / (signs.above + signs.below + signs.zero)


def irrelevance(entropies: Tensor, weights: Tensor) -> float:
    """I_l = H_l mean |w|, in bits times the unit of the weights."""
    return float(entropies[entropies > 0].mean()) * _rounds.magnitude(weights)


def _rules(recipe: Recipe) -> _rounds.Rules:
    return _rounds.Rules(on_share, irrelevance, recipe.zeta, recipe.floor)

"""EASIER: remove the activation whose sign is the least uncertain, fine-tune, and again (Quetu et al., ECML PKDD 2024).

harness run --method easier --entropy channel
harness run --method easier --entropy position

For each activation, p is the fraction of held-out images on which its input is ON (z >= 0: zero counts as ON). The
entropy H(p) = -p log2 p - (1 - p) log2 (1 - p) is 0 where the activation always acts alike, that is, linearly; the
activation with the least mean entropy goes. `channel` is the paper's definition: p averaged over the positions of a
channel first, entropy then. `position` takes the entropy of every position by itself. They can disagree completely.

Unlike the published code, the pass runs in eval mode, on held-out images, with the weights at rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.compress.ranking import lowest
from harness.records import Choice

if TYPE_CHECKING:  # the controller reads Recipe, and torch stays out of it
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from harness.compress.state import State

TRAINS = True
RESAMPLES = 100  # of the images: the standard error of the gap is then known to about 7 %
BATCH = 64


@dataclass(frozen=True)
class Recipe:
    """What may be set: the definition of entropy (`--entropy`)."""

    entropy: Literal["channel", "position"] = "channel"


def choose(state: State, recipe: Recipe) -> Choice | None:
    """Choose the candidate of least entropy, in bits; None when no candidate is left.

    The gap to the second least carries the bootstrap standard error over images, paired: both see the same resamples.
    """
    entropies = _entropies(state, recipe)
    scores = {name: float(entropies[name][0]) for name in state.candidates}
    ranked = sorted(scores, key=lambda name: scores[name])
    error = None
    if len(ranked) > state.step:
        error = float((entropies[ranked[state.step]] - entropies[ranked[state.step - 1]])[1:].std(ddof=1))
    return lowest(scores, state.step, error)


def _entropies(state: State, recipe: Recipe) -> dict[str, NDArray[np.float64]]:
    """Mean entropy per candidate: of the images as they are (first), then of each resample."""
    import torch

    from harness.compress.state import batches

    assert state.held_out is not None
    images = len(state.held_out.labels)
    weights = torch.from_numpy(_weights(images, state.seed))
    on: dict[str, Tensor] = {}
    for (some, _), weight in zip(batches(state.held_out, BATCH), torch.split(weights, BATCH, dim=1), strict=True):
        for name, z in _inputs(state.network, state.candidates, some).items():
            counts = (weight @ (z >= 0).flatten(1).float()).reshape(-1, *z.shape[1:])
            on[name] = on[name] + counts if name in on else counts
    return {name: mean_entropy(counts.double() / images, recipe.entropy).numpy() for name, counts in on.items()}


def mean_entropy(p: Tensor, definition: str) -> Tensor:
    """Mean entropy, in bits, of ON-probabilities `p` of shape (R, C, ...), or (R, tokens, C): one value per R."""
    if definition == "channel":
        p = p.mean(dim=1) if p.ndim == 3 else p.flatten(2).mean(dim=2) if p.ndim > 3 else p
    return entropy(p).flatten(1).mean(dim=1)


def entropy(p: Tensor) -> Tensor:
    """Entropy of a coin, in bits; exactly 0 at p = 0 and p = 1 (no clamping, so no NaN in float32)."""
    import torch

    nats: Tensor = torch.special.entr(p) + torch.special.entr(1 - p)
    return nats / math.log(2)


def _weights(images: int, seed: int) -> NDArray[np.float32]:
    """How often each image counts: once (first row), then as drawn with replacement, one row per resample."""
    drawn = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
    return np.vstack([np.ones(images), drawn]).astype(np.float32)


def _inputs(network: nn.Module, names: Iterable[str], images: Tensor) -> dict[str, Tensor]:
    """What reaches each named activation when the network sees `images`."""
    import torch

    inputs: dict[str, Tensor] = {}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            inputs[name] = arguments[0].clone()  # an activation in place would overwrite it

        return network.get_submodule(name).register_forward_pre_hook(hook)

    handles = [keep(name) for name in names]
    try:
        with torch.inference_mode():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return inputs

"""EASIER: remove the activation whose sign is the least uncertain, fine-tune, and again (Quetu et al., ECML PKDD 2024).

harness run --method easier --entropy channel
harness run --method easier --entropy position

For each activation, p is the fraction of held-out images on which its input is ON (z >= 0: zero counts as ON). The
entropy H(p) = -p log2 p - (1 - p) log2 (1 - p) is 0 where the activation always acts alike, that is, linearly; the
activation with the least mean entropy goes. `channel` is the paper's definition: p averaged over the positions of a
channel first, entropy then. `position` takes the entropy of every position by itself. They can disagree completely.

Unlike the published code, the pass runs in eval mode, on held-out images, with the weights at rest, and channels are those
of the layer in front: the last axis behind a linear layer, Swin's [N, H, W, channels] among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.compress.ranking import lowest
from harness.records import Choice

if TYPE_CHECKING:  # the controller reads Recipe, and torch stays out of it
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from harness.compress.methods._statistics import Counts
    from harness.compress.state import State

TRAINS = True
RESAMPLES = 100  # of the images: the standard error of the gap is then known to about 7 %
NEURONS = 4096  # of a layer, at most, that resamples see by position: overstates the error by some 5 % (ResNet-18)
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
    from harness.compress.methods import _statistics
    from harness.compress.state import batches

    assert state.held_out is not None
    by_channel = recipe.entropy == "channel"
    axes = _statistics.channel_axes(state.network, state.example, state.candidates) if by_channel else {}
    counts: dict[tuple[str, tuple[int, ...]], Counts] = {}  # one for each shape: a module may be called twice
    draws = _statistics.Draws(len(state.held_out.labels), RESAMPLES, state.seed)

    def see(name: str, z: Tensor) -> None:
        key = (name, tuple(z.shape[1:]))
        if key not in counts:
            counts[key] = _statistics.ChannelCounts(axes[name]) if by_channel else _statistics.PositionCounts(NEURONS)
        counts[key].add(z, weights)

    with _statistics.watching(state.network, state.candidates, see):
        for images, labels in batches(state.held_out, BATCH):
            weights = draws.next(len(labels))
            state.network(images)
    return {name: _of([each for (at, _), each in counts.items() if at == name]) for name in state.candidates}


def _of(counts: Sequence[Counts]) -> NDArray[np.float64]:
    """Mean entropy over all neurons that were counted, in bits: of all images, then of each resample."""
    import torch

    parts = [torch.cat(p, dim=1) for p in zip(*(each.p() for each in counts), strict=True)]
    return torch.cat([entropy(p).mean(dim=1, dtype=torch.float64) for p in parts]).numpy()


def entropy(p: Tensor) -> Tensor:
    """Entropy of a coin, in bits; exactly 0 at p = 0 and p = 1."""
    return _term(p) + _term(1 - p)


def _term(p: Tensor) -> Tensor:
    """-p log2 p; as fast again as torch.special.entr, and alike: no p is below 1 / N except 0, whose logarithm is any."""
    return p * -p.clamp_min(1e-30).log2()

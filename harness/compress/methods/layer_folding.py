"""Layer Folding: learn for each activation how linear it may be, then remove those that became linear (Ben Dror et al. 2021).

harness run --method layer-folding
harness run --method layer-folding --recipe weight=1
harness run --method layer-folding --recipe threshold=0       all of them, the most linear first

Each eligible activation s becomes a blend alpha x + (1 - alpha) s(x) with one learned slope alpha, 0 at first (of a ReLU,
that is a PReLU). The network is trained with the loss CE + weight sum_l |1 - alpha_l^2|, every alpha held within [0, 1],
for half of the ladder's epochs. Then activations go by descending alpha, as long as it is at least `threshold`. The score
is 1 - alpha, the setting of a rung the alpha of the last that went.

Slopes of activations that stay are frozen after that: all rungs follow one order, decided once, as the paper's folding is.
Once deployed such an activation is a LeakyReLU, or the plain activation where alpha is 0.

Differs from the authors' code: alpha is held below 1 too (past it the penalty pulls back, and a ReLU would be inverted);
the threshold is applied (their script leaves that to the reader); slopes do not train on in the fine-tuning, where no
penalty would hold them; padding moves before layers merge, which is exact, where theirs are merged wrongly near the border
and fine-tuned. The optimizer is every method's: its weight decay pulls at alpha as at any weight, with 5e-4 alpha against
the penalty's 2 weight alpha. The Telecom Paris group's variant removes a fixed number of the most linear: `threshold=0`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.compress import schedules
from harness.compress.ranking import lowest
from harness.compress.schedules import Budget
from harness.errors import UsageError
from harness.records import Choice

if TYPE_CHECKING:  # the controller reads Recipe, and torch stays out of it
    from torch import Tensor, nn

    from harness.compress.edits import Edit
    from harness.compress.state import State, Training

TRAINS = True


@dataclass(frozen=True)
class Recipe:
    """What may be set: the penalty's weight, and the least slope at which an activation counts as linear."""

    weight: float = 0.25
    threshold: float = 0.9


def check(eligible: tuple[str, ...], recipe: Recipe) -> None:
    """Check the settings before anything is made. Raises UsageError."""
    if not 0 <= recipe.weight < math.inf:
        raise UsageError(
            f"method layer-folding: weight = {recipe.weight:g} must be a number of 0 or more", "The paper's is 0.25."
        )
    if not 0 <= recipe.threshold <= 1:
        raise UsageError(
            f"method layer-folding: threshold = {recipe.threshold:g} must lie within 0 and 1, as slopes do",
            "The paper's is 0.9; with 0 all activations go, the most linear first.",
        )


def budget(total: int, rungs: int, recipe: Recipe) -> Budget:
    """Half of the epochs to learn the slopes, half to fine-tune. Raises UsageError where a part would get none."""
    return schedules.split_evenly(total, rungs, share_begin=0.5)


def begin(state: State, training: Training, recipe: Recipe) -> tuple[nn.Module, tuple[Edit, ...]]:
    """Blend the eligible activations, and train the network with its slopes, which the penalty pulls to 1."""
    from harness.compress.edits import Edit
    from harness.compress.slopes import alphas, blend

    network = blend(state.network, state.eligible)
    slopes = tuple(alphas(network, state.eligible).values())

    def hold() -> None:
        for alpha in slopes:
            alpha.clamp_(0, 1)

    training.fit(network, penalty=lambda: penalty(slopes, recipe.weight), after_step=hold)
    return network, (Edit("slopes", state.eligible),)


def penalty(slopes: tuple[Tensor, ...], weight: float) -> Tensor:
    """Return weight sum_l |1 - alpha_l^2|."""
    import torch

    return weight * (1 - torch.stack(slopes).square()).abs().sum()


def choose(state: State, recipe: Recipe) -> Choice | None:
    """Choose the candidates of largest slope; None where none reaches the threshold."""
    slopes = _slopes(state)
    linear = sum(not slope < recipe.threshold for slope in slopes.values())  # NaN counts, for `lowest` to refuse
    if not linear:
        return None
    scores = {name: 1 - slope for name, slope in slopes.items()}
    last = sorted(slopes.values(), reverse=True)[min(state.step, linear) - 1]
    return lowest(scores, min(state.step, linear), setting=last)


def exhausted(state: State, recipe: Recipe) -> str:
    """Say how far the slopes are from the threshold; nothing where no candidate is left."""
    slopes = _slopes(state)
    if not slopes:
        return ""
    return f"no slope has reached the threshold of {recipe.threshold:g}: the largest is {max(slopes.values()):.3g}"


def _slopes(state: State) -> dict[str, float]:
    from harness.compress.slopes import alphas

    return {name: alpha.item() for name, alpha in alphas(state.network, state.candidates).items()}


def tune(network: nn.Module, training: Training, recipe: Recipe) -> None:
    """Fine-tune with the slopes at rest."""
    from harness.compress.slopes import Blend

    for module in network.modules():
        if isinstance(module, Blend):
            module.alpha.requires_grad_(False)
    training.fit(network)

"""LaCoOT: train blocks to move their input little, then take out those that do (Quetu et al., ICCV 2025, arXiv 2406.08933).

harness run --method lacoot --recipe weight=5                       the paper's weight for ResNet-18 on CIFAR-10
harness run --method lacoot --recipe weight=9                       for MobileNetV2; 0.1 for Swin-T
harness run --method lacoot --recipe healing=true
harness run --method lacoot --recipe blocks=layer1.1,layer2.1,layer3.1,layer4.1     the four that the paper removes

Between the inputs x_1..x_n and outputs y_1..y_n of a block in a batch, flattened, the max-sliced Wasserstein distance is

    MSW = max over K random unit vectors t of W_t,    W_t^2 = mean over i of (sorted(t.x)_i - sorted(t.y)_i)^2

The full network is trained with `weight` times the mean of MSW over the blocks added to the loss (directions are drawn anew
at each step). Then MSW is measured once, on held-out data, and rung k has lost the k steps of blocks of least MSW. Nothing
is trained after that, unless by `healing`, when half the epochs are the rungs'. A rung's setting is the largest distance
that has gone. Held-out batches are of equal size, to one: a distance between few examples is larger. It is their mean.

In what the released code differs, and why this does not follow it:
- It measures Swin-T's MLP before the add, and one convolution inside MobileNetV2's blocks: a branch that is dead then has
  distance 0, as an identity has. Here, as in the paper, both ends are the block's, behind the add: what a dead branch adds
  is the distance.
- It cuts the incomplete last batch into rows of the wrong length, and the order of ResNet-18's blocks stands in the script.
- Blocks whose two ends do not differ between examples at all tell nothing: the network has collapsed, the ladder ends there
  and says so. (The published distances of MobileNetV2 are exactly 0 for ten blocks of 13.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from harness.compress.methods._paired import Paired, choose_lowest
from harness.compress.schedules import Budget, split_evenly
from harness.errors import TrainError, UsageError
from harness.records import Choice

if TYPE_CHECKING:  # the controller reads Recipe, and torch stays out of it
    from torch import Generator, Tensor, nn

    from harness.compress.edits import Edit
    from harness.compress.state import State, Training

TRAINS = True
CHAINS = False  # distances are measured once; every rung is what is left of the one trained network

FLAT = 1e-5  # a deviation over examples, relative to the values, that is nothing but rounding


@dataclass(frozen=True)
class Recipe:
    """What may be set: the weight of the distance in the loss, the number K of directions, fine-tuning of the rungs, and
    the blocks that are trained so and may go (paths; none named: all).
    """

    weight: float = 5.0
    projections: int = 50
    healing: bool = False
    blocks: tuple[str, ...] = ()


def check(units: tuple[str, ...], recipe: Recipe) -> None:
    """Check the numbers before anything is made. Raises UsageError."""
    if not (math.isfinite(recipe.weight) and recipe.weight >= 0):
        raise UsageError(
            f"method lacoot: weight = {recipe.weight} is no weight", "Give 0 or more; the paper's are 0.1 to 9."
        )
    if recipe.projections < 1:
        raise UsageError(f"method lacoot: projections = {recipe.projections}", "Give 1 or more; the paper takes 50.")


def units(state: State, recipe: Recipe) -> tuple[str, ...]:
    """Return the network's residual blocks. Raises UsageError: there are none, or not those of the recipe."""
    from harness.compress.blocks import units

    return units(state, recipe.blocks, "lacoot")


def budget(total: int, rungs: int, recipe: Recipe) -> Budget:
    """Give all epochs to the training with distances; with healing half, and the rest to the rungs. Raises UsageError."""
    if recipe.healing:
        return split_evenly(total, rungs, 0.5)
    if total < 1:
        raise UsageError(f"--budget-epochs {total}: method lacoot trains before its first choice", "Give 1 or more.")
    return Budget(total, 0)


def begin(state: State, training: Training, recipe: Recipe) -> tuple[nn.Module, tuple[Edit, ...]]:
    """Train the full network with the distances in its loss."""
    from harness.compress.blocks import watched

    seen = _Distances(recipe.projections)

    def penalty() -> Tensor:
        return recipe.weight * seen.mean()

    with watched(state.network, state.candidates, seen.before, seen.after):
        training.fit(state.network, penalty=penalty)
    return state.network, ()


def choose(state: State, recipe: Recipe) -> Choice | None:
    """Choose all blocks that this rung lacks, those of least distance; None when the rung above lacks them all.

    The gap carries its standard error over batches. Raises TrainError where the network has collapsed.
    """
    if (state.rung - 1) * state.step >= len(state.candidates):
        return None
    measured = measure(state, recipe)
    gone = sorted(measured.means.values())[: state.rung * state.step]
    return choose_lowest(measured, state.rung * state.step, setting=gone[-1])


def shorten(state: State, choice: Choice, recipe: Recipe) -> tuple[nn.Module, tuple[Edit, ...]]:
    """Return the network and what is to be done: the blocks become identities."""
    from harness.compress.edits import Edit

    return state.network, (Edit("skip", choice.chosen),)


def measure(state: State, recipe: Recipe) -> Paired:
    """Measure each candidate's distance in each held-out batch, in one pass. Raises TrainError: neither end ever varies."""
    import torch

    from harness.compress.blocks import watched
    from harness.compress.state import BATCH, inputs

    assert state.held_out is not None
    images = torch.arange(len(state.held_out.labels))
    seen = _Distances(recipe.projections, torch.Generator().manual_seed(state.seed))
    measured, varied = Paired(state.candidates), set[str]()
    with torch.inference_mode(), watched(state.network, state.candidates, seen.before, seen.after):
        for indices in torch.tensor_split(images, math.ceil(len(images) / BATCH)):
            state.network(inputs(state.held_out, indices))
            measured.add(np.array([[float(seen.found[name]) for name in state.candidates]]))
            varied |= seen.varied
            seen.clear()
    for name in state.candidates:
        if name not in varied and len(images) > 1:
            raise TrainError(
                f"block {name}: neither input nor output differs between held-out examples, so a distance says nothing",
                "The network has collapsed; give a smaller weight: --recipe weight=1.",
            )
    return measured


@dataclass
class _Distances:
    """The distance of each block in the last forward pass; directions from `draw`, else from training's own generator.

    `varied`: the blocks of which an end differed between examples; not asked in training, where it would cost time.
    """

    directions: int
    draw: Generator | None = None
    found: dict[str, Tensor] = field(default_factory=dict)
    varied: set[str] = field(default_factory=set)
    _open: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def before(self, name: str, x: Tensor) -> None:
        """Project what a block reads at once: it may be changed in place."""
        along = directions(x[0].numel(), self.directions, self._generator(x))
        self._open[name] = along, project(x, along)

    def after(self, name: str, y: Tensor) -> None:
        """Project what it gives on the same directions, and compare."""
        along, before = self._open.pop(name)
        behind = project(y, along)
        self.found[name] = farthest(before, behind)
        if self.draw is not None and not (_is_flat(before) and _is_flat(behind)):
            self.varied.add(name)

    def mean(self) -> Tensor:
        """Return the mean over blocks, and forget them."""
        import torch

        mean = torch.stack(list(self.found.values())).mean()
        self.clear()
        return mean

    def clear(self) -> None:
        """Forget the last pass."""
        self.found.clear()
        self.varied.clear()

    def _generator(self, x: Tensor) -> Generator:
        """In training one by a number of torch's own generator, which checkpoints keep; on the device, where it is fast."""
        import torch

        if self.draw is not None:
            return self.draw
        return torch.Generator(x.device).manual_seed(int(torch.randint(2**62, ())))


def directions(size: int, count: int, draw: Generator) -> Tensor:
    """Draw `count` unit vectors, evenly over the sphere: (size, count)."""
    import torch

    normal = torch.randn(size, count, generator=draw, device=draw.device)
    return normal.div_(normal.norm(dim=0))


def project(x: Tensor, along: Tensor) -> Tensor:
    """Return the examples of `x` (n, ...) along the directions (size, count): (n, count), in float32 whatever is mixed."""
    import torch

    with torch.autocast(x.device.type, enabled=False):
        projected: Tensor = x.flatten(1).float() @ along
    return projected


def farthest(before: Tensor, behind: Tensor) -> Tensor:
    """Return the largest 2-Wasserstein distance between two samples (n, count) over their columns; its slope at 0 is 0."""
    squares = (before.sort(dim=0).values - behind.sort(dim=0).values).square().mean(dim=0)
    most = squares.max()
    distance: Tensor = most.where(most > 0, 1).sqrt() * (most > 0)
    return distance


def _is_flat(values: Tensor) -> bool:
    """Whether a sample (n, count) is one point, but for rounding."""
    return bool((values.amax(dim=0) - values.amin(dim=0)).max() <= FLAT * values.abs().max())

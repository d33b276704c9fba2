"""Block influence: remove the residual block that turns what passes through it the least, fine-tune, and again.

harness run --method block-influence                                    ShortGPT (Men et al., arXiv 2403.03853)
harness run --method block-influence --recipe measure=angle --step 2    The Unreasonable Ineffectiveness of the Deeper
                                                                        Layers (Gromov et al., arXiv 2403.17887)

With x what a block reads and y what it gives, for one token of one held-out example:

    influence   1 - cos(x, y)
    angle       arccos(cos(x, y)) / pi, for x before and y behind a run of as many consecutive blocks as a rung takes

each the mean over tokens and examples, in eval mode. A token of an image is a position: the vector of its channels. The
block of least influence goes; of angles, the contiguous run of the least. Where no run is as long as a rung's step, the
longest are taken until a rung has as many blocks as it should.

Two vectors of zeros (dead positions, behind a ReLU) count as equal; one of zeros and another as at right angles. Gromov et
al. look at the last token alone, which sees all others in a causal model; here none is special, so all count. Both papers
heal with adapters or not at all: here each rung is fine-tuned as every method's are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.compress.methods._paired import Paired, choose_lowest
from harness.records import Choice

if TYPE_CHECKING:  # the controller reads Recipe, and torch stays out of it
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

    from harness.compress.edits import Edit
    from harness.compress.state import State

TRAINS = True

Run = tuple[str, ...]
"""Consecutive blocks: nothing lies between one's output and the next one's input."""


@dataclass(frozen=True)
class Recipe:
    """What may be set: the measure, and the blocks that may go (paths; none named: all)."""

    measure: Literal["influence", "angle"] = "influence"
    blocks: tuple[str, ...] = ()


def units(state: State, recipe: Recipe) -> tuple[str, ...]:
    """Return the network's residual blocks. Raises UsageError: there are none, or not those of the recipe."""
    from harness.compress.blocks import units

    return units(state, recipe.blocks, "block-influence")


def choose(state: State, recipe: Recipe) -> Choice | None:
    """Choose the blocks of least influence or angle; None when no block is left.

    The gap carries its standard error over examples, paired: all blocks see the same ones.
    """
    if not state.candidates:
        return None
    if recipe.measure == "angle":
        return _best_runs(*measure(state, recipe.measure, state.step), state.step)
    measured, _ = measure(state, recipe.measure, 1)
    return choose_lowest(measured, state.step)


def shorten(state: State, choice: Choice, recipe: Recipe) -> tuple[nn.Module, tuple[Edit, ...]]:
    """Return the network and what is to be done: the blocks become identities."""
    from harness.compress.edits import Edit

    return state.network, (Edit("skip", choice.chosen),)


def measure(state: State, kind: str, longest: int) -> tuple[Paired, dict[str, Run]]:
    """Measure every run of at most `longest` candidates on the held-out part, in one pass; and return which are which."""
    import torch

    from harness.compress.state import batches

    assert state.held_out is not None
    runs: dict[str, Run] = {}
    for inputs, _ in batches(state.held_out):
        ends = _Ends(state.network, state.candidates)
        with torch.inference_mode(), ends.watching():
            state.network(inputs)
        if not runs:  # how blocks follow each other is the network's, not the inputs'
            runs = dict(_runs(ends, longest))
            measured = Paired(tuple(runs))
        columns = [turned(ends.inputs[run[0]], ends.outputs[run[-1]], kind) for run in runs.values()]
        measured.add(torch.stack(columns, dim=1).numpy())
    return measured, runs


def turned(x: Tensor, y: Tensor, kind: str) -> Tensor:
    """Return the influence or angle between unit vectors `x` and `y` (N, tokens, channels), zeros allowed: [N], float64.

    By the length d of x - y, since a cosine near 1 has no digits left for what it lacks: 1 - cos = d^2 / 2 and
    arccos(cos) = 2 atan2(d, |x + y|) (Kahan 2006).
    """
    import torch

    square = (x - y).square().sum(-1)
    if kind == "angle":
        each = 2 / math.pi * torch.atan2(square.sqrt(), (x + y).norm(dim=-1))
    else:
        both = x.any(-1) & y.any(-1)
        each = torch.where(both, square / 2, square)  # of one zero vector: 1, as a cosine of 0 gives
    return each.double().mean(1)


class _Ends:
    """What blocks read and give in one forward pass, each token made a unit vector: (N, tokens, channels)."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        from harness.compress.blocks import channel_axis

        self.network, self.names = network, names
        self.axes = {name: channel_axis(network.get_submodule(name)) for name in names}
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self.follows: dict[str, str] = {}  # a block -> the one whose output is its input
        self._last: tuple[str, Tensor] | None = None

    def watching(self) -> AbstractContextManager[None]:
        """While it lasts, look at each forward pass."""
        from harness.compress.blocks import watched

        return watched(self.network, self.names, self._before, self._after)

    def _before(self, name: str, x: Tensor) -> None:
        if self._last is not None and self._last[1] is x:
            self.follows[name] = self._last[0]
        self.inputs[name] = unit(x, self.axes[name])

    def _after(self, name: str, y: Tensor) -> None:
        self._last = (name, y)
        self.outputs[name] = unit(y, self.axes[name])


def unit(x: Tensor, axis: int) -> Tensor:
    """Return `x` as (N, tokens, channels), each token of length 1, or 0 where it is all zeros."""
    rows = x.movedim(axis, -1).flatten(1, -2) if x.ndim > 2 else x[:, None]
    length = rows.norm(dim=-1, keepdim=True)
    units: Tensor = rows / length.where(length > 0, 1)
    return units


def _runs(ends: _Ends, longest: int) -> Iterator[tuple[str, Run]]:
    """Every run of 1 to `longest` blocks, with a name; a single block's is its own."""
    next_of = {before: name for name, before in ends.follows.items()}
    for name in ends.names:
        run: Run = (name,)
        yield name, run
        while len(run) < longest and run[-1] in next_of:
            run = (*run, next_of[run[-1]])
            yield f"{name} to {run[-1]}", run


def _best_runs(measured: Paired, runs: dict[str, Run], step: int) -> Choice:
    """Choose the run of least angle among the longest there are, and more of what is left until `step` blocks go.

    Scores and gap are those of the first run to go, under the name of the block that each begins with.
    """
    angles = measured.means
    first = _longest(runs)
    ranked = sorted(first, key=lambda name: angles[name])
    chosen = first[ranked[0]]
    while left := _longest({n: run for n, run in runs.items() if _fits(run, chosen, step)}):
        chosen += left[min(left, key=lambda name: angles[name])]
    error = measured.error(ranked[0], ranked[1]) if len(ranked) > 1 else None
    gap = angles[ranked[1]] - angles[ranked[0]] if len(ranked) > 1 else None
    return Choice(chosen, {runs[name][0]: angles[name] for name in ranked}, gap, error)


def _longest(runs: dict[str, Run]) -> dict[str, Run]:
    most = max(map(len, runs.values()), default=0)
    return {name: run for name, run in runs.items() if len(run) == most}


def _fits(run: Run, chosen: Run, step: int) -> bool:
    return len(chosen) + len(run) <= step and not set(run) & set(chosen)

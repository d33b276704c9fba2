"""What a ladder's parts share: a task's data as they see it, what a method sees when it chooses, and how it trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

BATCH = 64


class Split(Protocol):
    """A part of a task: `images` float32 of shape (N, C, H, W), or int64 tokens (N, T); `labels` int64 of shape (N,).

    A part too large for that may define `batch(indices, draw)` instead of `images`: the inputs of these indices, changed
    at random by the generator `draw` as training wants it, or as they are where it is None.
    """

    images: Tensor
    labels: Tensor


class Data(Protocol):
    """What a task's `load` gives: `train` to fit, `validation` for methods to choose by, `test` for accuracy alone."""

    train: Split
    validation: Split
    test: Split


def inputs(split: Split, indices: Tensor, draw: torch.Generator | None = None) -> Tensor:
    """Return the network inputs of these examples; drawn anew by `draw` where the task augments its training part."""
    batch = getattr(split, "batch", None)
    found: Tensor = split.images[indices] if batch is None else batch(indices, draw)
    return found


def batches(split: Split, size: int = BATCH) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (inputs, labels) in the split's own order, `size` at a time, unaugmented."""
    for indices in torch.split(torch.arange(len(split.labels)), size):
        yield inputs(split, indices), split.labels[indices]


@dataclass(frozen=True)
class State:
    """What a method sees when it chooses: the network of the last rung, in eval mode, and what may still go.

    `eligible` are all units (activations, or what the method's `units` says) that this ladder may remove, `candidates` those
    still there, both in forward order. `held_out` and `train` are the task's parts (None for a method that does not
    train). `rung` is the position to be made, `step` how many units each takes, `epochs` what a chain of trainings
    has used up of the ladder's budget with this rung. `seed` is for whatever a method draws;
    `controls` gives the model's smaller networks by name, untrained, and `full` the full one.
    """

    network: nn.Module
    example: Tensor
    eligible: tuple[str, ...]
    candidates: tuple[str, ...]
    held_out: Split | None = None
    train: Split | None = None
    seed: int = 0
    rung: int = 1
    step: int = 1
    epochs: int = 0
    controls: Callable[[], Mapping[str, nn.Module]] = dict
    full: Callable[[], nn.Module] | None = None


Penalty = Callable[[], Tensor]
"""A term of the loss, asked for after each forward pass in training (hooks have seen the batch)."""

AfterStep = Callable[[], None]
"""Called after each step of the optimizer, to put weights back within bounds; without gradients."""


class Training(Protocol):
    """How a method that trains in its own way has its network trained: same data, schedule and seed as everyone's."""

    epochs: int

    def fit(self, network: nn.Module, penalty: Penalty | None = None, after_step: AfterStep | None = None) -> None:
        """Train `network` in place for `epochs`. Raises TrainError when the loss is not finite."""

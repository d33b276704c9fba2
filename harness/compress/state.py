"""What a ladder's parts share: a task's data as they see it, and what a method sees when it chooses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn


class Split(Protocol):
    """A part of a task: `images` float32 of shape (N, C, H, W), or int64 tokens (N, T); `labels` int64 of shape (N,)."""

    images: Tensor
    labels: Tensor


class Data(Protocol):
    """What a task's `load` gives: `train` to fit, `validation` for methods to choose by, `test` for accuracy alone."""

    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True)
class State:
    """What a method sees when it chooses: the network of the last rung, in eval mode, and which activations may go.

    `eligible` are all that this ladder may remove, `candidates` those still there, both in forward order; `images` are
    held out, as the task's (None for a method that does not train); `seed` is for whatever a method draws.
    """

    network: nn.Module
    eligible: tuple[str, ...]
    candidates: tuple[str, ...]
    images: Tensor | None
    seed: int

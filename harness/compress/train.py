"""Fit and evaluate a network: SGD with Nesterov momentum, one cycle of the learning rate, batches of 64."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.compress.state import Split
from harness.errors import TrainError

BATCH = 64
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
WARM_UP = 0.3  # fraction of the steps in which the learning rate rises


@dataclass(frozen=True)
class Schedule:
    """How long, and at which highest learning rate."""

    epochs: int
    peak: float


FULL_DEPTH = Schedule(epochs=5, peak=0.05)
RUNG = Schedule(epochs=1, peak=0.02)

OnEpoch = Callable[[int, float], None]


def fit(network: nn.Module, split: Split, schedule: Schedule, seed: int, on_epoch: OnEpoch) -> None:
    """Train `network` in place on `split`; `on_epoch(epoch, mean loss)` after each. Same seed and threads, same weights.

    Raises TrainError when the loss is not finite.
    """
    network.train()
    shuffle = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(network.parameters(), momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY)
    steps = schedule.epochs * len(_batches(len(split.labels), torch.Generator()))
    step = 0
    for epoch in range(schedule.epochs):
        losses = []
        for batch in _batches(len(split.labels), shuffle):
            optimizer.param_groups[0]["lr"] = one_cycle(step, steps, schedule.peak)
            losses.append(_step(network, optimizer, split.images[batch], split.labels[batch]))
            step += 1
            _require_finite(losses[-1], step, steps)
        on_epoch(epoch, sum(losses) / len(losses))
    network.eval()


def evaluate(network: nn.Module, split: Split) -> float:
    """Return the fraction of `split` that the network, in eval mode, classifies correctly."""
    network.eval()
    with torch.inference_mode():
        right: int = sum(
            int((network(_innermost(images)).argmax(dim=1) == labels).sum())
            for images, labels in zip(torch.split(split.images, BATCH), torch.split(split.labels, BATCH), strict=True)
        )
    return right / len(split.labels)


def one_cycle(step: int, steps: int, peak: float) -> float:
    """Learning rate at the middle of a step: linear up to `peak`, then down half a cosine to 0 (Smith & Topin 2018)."""
    done = (step + 0.5) / steps
    if done < WARM_UP:
        return peak * done / WARM_UP
    return peak * 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def lay_out(network: nn.Module) -> nn.Module:
    """Lay weights out with channels innermost, in place: convolutions then train about a tenth faster on a CPU."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _innermost(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> float:
    optimizer.zero_grad()
    loss = functional.cross_entropy(network(_innermost(images)), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()


def _batches(images: int, shuffle: torch.Generator) -> list[Tensor]:
    """Indices of each batch of one epoch; a last batch of one image is left out, BatchNorm cannot train on it."""
    order = torch.randperm(images, generator=shuffle)
    return [batch for batch in torch.split(order, BATCH) if len(batch) > 1]


def _require_finite(loss: float, step: int, steps: int) -> None:
    if not math.isfinite(loss):
        hint = "Finished rungs are kept and are not trained again; another --seed may go through."
        raise TrainError(f"training diverged: the loss became {loss} at step {step} of {steps}", hint)

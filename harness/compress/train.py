"""Fit and evaluate a network: the one loop in which every method trains, so that methods differ in nothing else.

Deterministic by seed and threads (both in a rung's key). After every epoch all that training stands on is kept, and an
interrupted training goes on from there to the same weights.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness import files
from harness.compress import state
from harness.compress.schedules import Schedule
from harness.compress.state import AfterStep, Penalty, Split
from harness.errors import TrainError, UsageError

WARM_UP = 0.3  # fraction of the steps of one cycle in which the learning rate rises
TEMPERATURE = 4.0  # of distillation (Hinton et al. 2015)
CHECKPOINT = "checkpoint.pt"
NARROW = 16  # channels

OnEpoch = Callable[[int, float], None]


@dataclass(frozen=True)
class Teacher:
    """A network whose outputs count `share` of the loss, softened by TEMPERATURE; the labels count the rest."""

    network: nn.Module
    share: float


@dataclass(frozen=True)
class Extras:
    """What a method or the user adds to the loop. `folder` keeps the checkpoint; `on` is `cpu` or `cuda`."""

    penalty: Penalty | None = None
    after_step: AfterStep | None = None
    teacher: Teacher | None = None
    folder: Path | None = None
    on: str = "cpu"


@dataclass
class _Progress:
    """Where training stands: what a checkpoint holds."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    shuffle: torch.Generator
    epoch: int = 0
    losses: list[float] = field(default_factory=list)


def fit(
    network: nn.Module,
    split: Split,
    schedule: Schedule,
    seed: int,
    on_epoch: OnEpoch,
    extras: Extras | None = None,
) -> None:
    """Train `network` in place on `split`; `on_epoch(epoch, mean loss)` after each. Same seed and threads, same weights.

    Mixed precision (bfloat16) on a GPU: written, and not run anywhere yet. Whatever a penalty draws must come from torch's own
    generator, which a checkpoint keeps. Raises TrainError when the loss is not finite.
    """
    extras = extras or Extras()
    device = require_device(extras.on)
    torch.manual_seed(seed)  # dropout draws from torch's own generator
    network.to(device).train()
    at = _Progress(network, _optimizer(network, schedule), torch.Generator().manual_seed(seed))
    _go_on(at, extras.folder)
    for epoch in range(at.epoch, schedule.epochs):
        loss = _epoch(at, split, schedule, extras, device)
        at.epoch = epoch + 1
        if at.epoch < schedule.epochs:  # what the last one made is kept by whoever asked for it
            _keep(at, extras.folder)
        on_epoch(epoch, loss)
    network.to("cpu").eval()


def evaluate(network: nn.Module, split: Split) -> float:
    """Return the fraction of `split` that the network, in eval mode, classifies correctly."""
    return float(classified(network, split).double().mean())


def classified(network: nn.Module, split: Split) -> Tensor:
    """Return for each example, as a bool, whether the network, in eval mode, classifies it correctly."""
    network.eval()
    with torch.inference_mode():
        right = [network(_placed(x, network)).argmax(dim=1) == labels for x, labels in state.batches(split)]
    return torch.cat(right)


def loss_of(network: nn.Module, split: Split) -> float:
    """Return the mean cross-entropy over the whole of `split`, in eval mode, in nats."""
    network.eval()
    with torch.inference_mode():
        losses = [
            functional.cross_entropy(network(_placed(x, network)), labels, reduction="sum").double()
            for x, labels in state.batches(split)
        ]
    return float(sum(losses)) / len(split.labels)


def one_cycle(step: int, steps: int, peak: float) -> float:
    """Learning rate at the middle of a step: linear up to `peak`, then down half a cosine to 0 (Smith & Topin 2018)."""
    done = (step + 0.5) / steps
    if done < WARM_UP:
        return peak * done / WARM_UP
    return peak * 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def rate(schedule: Schedule, step: int, steps: int) -> float:
    """Learning rate of a schedule at one of its steps."""
    if schedule.shape == "one-cycle":
        return one_cycle(step, steps, schedule.peak)
    passed = sum(step >= round(at * steps) for at in schedule.milestones) if schedule.shape == "steps" else 0
    return schedule.peak * 0.1**passed


def require_device(on: str) -> torch.device:
    """Return the device to train on. Raises UsageError where there is none: nothing falls back in silence."""
    if on == "cuda" and not torch.cuda.is_available():
        raise UsageError("--train-on cuda: torch finds no CUDA device here", "Drop it: training runs on the CPU then.")
    return torch.device(on)


def lay_out(network: nn.Module) -> nn.Module:
    """Lay weights out with channels innermost, in place: convolutions then train about a tenth faster on a CPU."""
    if not _bears_innermost(network):
        return network
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _bears_innermost(network: nn.Module) -> bool:
    """Whether channels may lie innermost: torch 2.13's CPU build dies of a signal in the gradient of narrow strided 1x1s.

    Seen with 8 channels at stride 2, two threads and a batch of odd size; never with 16 or more.
    """
    return not any(
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and max(layer.stride) > 1
        and layer.in_channels < NARROW
        for layer in network.modules()
    )


def _placed(images: Tensor, network: nn.Module) -> Tensor:
    """The images as the network's weights lie."""
    innermost = images.ndim == 4 and _bears_innermost(network)
    return images.contiguous(memory_format=torch.channels_last) if innermost else images


def _epoch(at: _Progress, split: Split, schedule: Schedule, extras: Extras, device: torch.device) -> float:
    """Train one epoch and return its mean loss."""
    losses: list[float] = []
    order = _batches(len(split.labels), schedule.batch, at.shuffle)
    steps = schedule.epochs * len(order)
    for step, indices in zip(itertools.count(at.epoch * len(order)), order, strict=False):
        for group in at.optimizer.param_groups:
            group["lr"] = rate(schedule, step, steps)
        x = _placed(state.inputs(split, indices, at.shuffle), at.network).to(device)
        losses.append(_step(at, x, split.labels[indices].to(device), extras))
        _require_finite(losses[-1], step + 1, steps)
    return sum(losses) / max(1, len(losses))


def _step(at: _Progress, x: Tensor, labels: Tensor, extras: Extras) -> float:
    at.optimizer.zero_grad()
    with _mixed(x.device):
        loss = _loss(at.network(x), x, labels, extras.teacher)
        if extras.penalty is not None:
            loss = loss + extras.penalty()
    loss.backward()  # type: ignore[no-untyped-call]
    at.optimizer.step()
    if extras.after_step is not None:
        with torch.no_grad():
            extras.after_step()
    return loss.item()


def _loss(logits: Tensor, x: Tensor, labels: Tensor, teacher: Teacher | None) -> Tensor:
    """Cross-entropy, with a teacher (1 - share) CE + share T^2 KL(teacher || student), as DSD2 distils."""
    entropy = functional.cross_entropy(logits, labels)
    if teacher is None:
        return entropy
    with torch.no_grad():
        wanted = functional.log_softmax(teacher.network.to(x.device)(x) / TEMPERATURE, dim=1)
    said = functional.log_softmax(logits / TEMPERATURE, dim=1)
    apart = functional.kl_div(said, wanted, reduction="batchmean", log_target=True)
    return (1 - teacher.share) * entropy + teacher.share * TEMPERATURE**2 * apart


def _mixed(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else contextlib.nullcontext()


def _optimizer(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    decay = schedule.weight_decay
    if schedule.optimizer == "adam":
        return torch.optim.Adam(trained, schedule.peak, weight_decay=decay)
    if schedule.optimizer == "adamw":
        return torch.optim.AdamW(trained, schedule.peak, weight_decay=decay)
    return torch.optim.SGD(
        trained, schedule.peak, momentum=schedule.momentum, nesterov=schedule.nesterov, weight_decay=decay
    )


def _batches(images: int, size: int, shuffle: torch.Generator) -> list[Tensor]:
    """Indices of each batch of one epoch; a last batch of one image is left out, BatchNorm cannot train on it."""
    order = torch.randperm(images, generator=shuffle)
    return [batch for batch in torch.split(order, size) if len(batch) > 1]


def _require_finite(loss: float, step: int, steps: int) -> None:
    if not math.isfinite(loss):
        hint = "Finished rungs are kept and are not trained again; another --seed may go through."
        raise TrainError(f"training diverged: the loss became {loss} at step {step} of {steps}", hint)


# --- checkpoints ---------------------------------------------------------------------------------------------------


def _keep(at: _Progress, folder: Path | None) -> None:
    """Keep all that the next epoch stands on, whole or not at all."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    kept = {
        "network": at.network.state_dict(),
        "optimizer": at.optimizer.state_dict(),
        "shuffle": at.shuffle.get_state(),
        "drawn": torch.get_rng_state(),
        "drawn_there": torch.cuda.get_rng_state() if _on_gpu(at.network) else None,
        "epoch": at.epoch,
    }
    with files.replacing(folder / CHECKPOINT) as file, file.open("wb") as stream:
        torch.save(kept, stream)


def _go_on(at: _Progress, folder: Path | None) -> None:
    """Take up training where a checkpoint says it stood; one that cannot be read counts as none."""
    kept = _kept(folder / CHECKPOINT) if folder is not None else None
    if kept is None:
        return
    at.network.load_state_dict(kept["network"])
    at.optimizer.load_state_dict(kept["optimizer"])
    at.shuffle.set_state(kept["shuffle"])
    torch.set_rng_state(kept["drawn"])
    if kept["drawn_there"] is not None and _on_gpu(at.network):
        torch.cuda.set_rng_state(kept["drawn_there"])
    at.epoch = kept["epoch"]


def _on_gpu(network: nn.Module) -> bool:
    return any(parameter.is_cuda for parameter in network.parameters())


def _kept(file: Path) -> dict[str, Any] | None:
    """Return what a checkpoint holds; None where there is none that can be read whole."""
    if not file.exists():
        return None
    try:
        kept: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # torch.load has no common base for what a damaged file raises
        return None
    return kept

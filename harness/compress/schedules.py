"""Schedules of training by name: how long, by which optimizer, at which learning rate. Without torch.

harness run --schedule quick        the default: one cycle of 5 epochs at full depth, 1 epoch for each rung
harness run --schedule cifar        CIFAR-10 and Tiny-ImageNet as EASIER, TLC, LaCoOT, EGP and NEPENTHE train: 160 epochs
harness run --schedule cifar --budget-epochs 40

The papers restart the whole schedule for every rung (EASIER on ResNet-18: 17 x 160 epochs), and so do these. The epochs of
a ladder are one number for all methods, `--budget-epochs`; by default a rung's epochs times the rungs there can be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from harness.content import require_known
from harness.errors import UsageError

DEFAULT = "quick"


@dataclass(frozen=True)
class Schedule:
    """How long and how a network is trained; `peak` is the highest learning rate.

    `one-cycle`: up linearly, then down half a cosine (Smith & Topin 2018); `steps`: a tenth after each of the
    `milestones`, fractions of the epochs; `constant`.
    """

    epochs: int
    peak: float
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    shape: Literal["one-cycle", "steps", "constant"] = "one-cycle"
    milestones: tuple[float, ...] = ()
    batch: int = 64
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4

    def lasting(self, epochs: int) -> Schedule:
        """Return the same schedule, stretched or shrunk to so many epochs."""
        return replace(self, epochs=epochs)


@dataclass(frozen=True)
class Schedules:
    """One named way of training: the network at full depth, and each rung."""

    full: Schedule
    rung: Schedule


@dataclass(frozen=True)
class Budget:
    """Epochs of one ladder beyond full depth: `begin` once, before the first choice, and `rung` for each rung."""

    begin: int
    rung: int


def _papers(epochs: int, peak: float, milestones: tuple[int, ...], batch: int, decay: float) -> Schedules:
    """Plain SGD whose learning rate falls to a tenth at each milestone, restarted for each rung."""
    at = tuple(epoch / epochs for epoch in milestones)
    whole = Schedule(epochs, peak, "sgd", "steps", at, batch, 0.9, nesterov=False, weight_decay=decay)
    return Schedules(whole, whole)


def _cifar(model: str) -> Schedules:
    return _papers(160, {"vgg16_bn": 0.01, "swin_t": 1e-3}.get(model, 0.1), (80, 120), 128, 1e-4)


def _imagenet(model: str) -> Schedules:
    return _papers(90, {"vgg16_bn": 0.01, "swin_t": 1e-3}.get(model, 0.1), (30, 60), 128, 1e-4)


def _adam(epochs: int, peak: float, batch: int, optimizer: Literal["adam", "adamw"] = "adam") -> Schedules:
    whole = Schedule(epochs, peak, optimizer, "constant", (), batch, weight_decay=0.0)
    return Schedules(whole, whole)


def _layer_folding(model: str) -> Schedules:
    rung = Schedule(100, 1e-3, "sgd", "constant", (), 128, 0.9, nesterov=False, weight_decay=0.0)
    return Schedules(_cifar(model).full, rung)


# After table 4 of EASIER's appendix, the released code of TLC (imagenet, glue) and that of Layer Folding.
_NAMED: dict[str, Callable[[str], Schedules]] = {
    "quick": lambda _: Schedules(Schedule(5, 0.05), Schedule(1, 0.02)),
    "cifar": _cifar,
    "domains": lambda _: _papers(30, 1e-3, (24,), 16, 5e-4),
    "fine-grained": lambda _: _adam(50, 1e-4, 16),
    "imagenet": _imagenet,
    "layer-folding": _layer_folding,
    "glue": lambda _: _adam(3, 2e-5, 32, "adamw"),
}


def names() -> tuple[str, ...]:
    """Return the names that `--schedule` takes."""
    return tuple(_NAMED)


def named(name: str, model: str) -> Schedules:
    """Return the schedules of `name`; learning rates of the papers differ by model. Raises UsageError."""
    require_known("schedule", name, names())
    return _NAMED[name](model)


def split_evenly(total: int, rungs: int, share_begin: float = 0.0) -> Budget:
    """Share `total` epochs out: a share for what comes before the first choice, the rest evenly over the rungs.

    What does not divide evenly, and what is left of the rungs' least of one epoch each, changes the first part, where there
    is one. Raises UsageError where a part that is to be trained would get no epoch.
    """
    rung = int(total * (1 - share_begin)) // rungs if rungs else 0
    begin = 0
    if share_begin:
        rung = max(1, rung) if share_begin < 1 and rungs else 0
        begin = total - rung * rungs
    if (share_begin and begin < 1) or (share_begin < 1 and rungs and rung < 1):
        least = rungs + (1 if share_begin else 0)
        raise UsageError(
            f"--budget-epochs {total}: not one epoch for each of {rungs} rungs",
            f"Give {least} or more, or make fewer rungs: --rungs, --step.",
        )
    return Budget(begin, rung)

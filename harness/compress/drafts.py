"""A rung in the making, and the record that is made of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from harness.compress import activations
from harness.compress.climber import Means
from harness.compress.edits import Edit
from harness.compress.program import Deployed
from harness.records import Choice, Padding, Rung

UNTRAINED = "the weights are random: this ladder is for latency alone"
FULL_DEPTH = "full depth: nothing was removed"
NOTHING_REMOVED = "a control: nothing was removed"
NOT_MOVED = "no padding had to move"


@dataclass
class Draft:
    """A rung in the making: its trainable network and what is known of it. Accuracies as in Rung."""

    network: nn.Module
    edits: tuple[Edit, ...] = ()
    choice: Choice | None = None
    removed_names: tuple[str, ...] = ()
    padding: Padding = "kept"
    epochs: int = 0
    accuracy_removed: float | None = None
    accuracy_moved: float | None = None
    accuracy: float | None = None
    accuracy_validation: float | None = None
    correct: str = ""


def record(means: Means, number: int, draft: Draft, deployed: Deployed, seconds: float) -> Rung:
    """Return the record of rung `number`: what was decided, what it cost, how good it is, and why a number is null."""
    return Rung(
        rung=number,
        network=_name(means, draft.choice),
        removed=len(draft.removed_names),
        activations=len(activations(draft.network)) if means.control else len(means.activations),
        eligible=len(means.eligible),
        removed_names=draft.removed_names,
        setting=draft.choice.setting if draft.choice else None,
        padding=draft.padding,
        accuracy=draft.accuracy,
        accuracy_removed=draft.accuracy_removed,
        accuracy_moved=draft.accuracy_moved,
        choice=draft.choice,
        reasons=_reasons(means, draft),
        epochs=draft.epochs if means.trains else None,
        seconds=round(seconds, 3),
        accuracy_validation=draft.accuracy_validation,
        correct=draft.correct,
        **vars(deployed),
    )


def bits(right: Tensor) -> str:
    """Which examples were classified correctly, in hexadecimal, the first in the highest bit."""
    return np.packbits(right.numpy()).tobytes().hex()


def _name(means: Means, choice: Choice | None) -> str:
    """The model's name; a control says itself which network it took."""
    if not means.control or choice is None or not choice.chosen:
        return means.request.model
    own, model = choice.chosen[0], means.request.model
    return own if own in means.controls() else f"{model}-{own}"


def _reasons(means: Means, draft: Draft) -> dict[str, str]:
    """Why a number is null, by its key."""
    shared = draft.choice is None  # rung 0 belongs to every method
    reasons = {}
    if draft.choice is None or draft.choice.setting is None:
        reasons["setting"] = FULL_DEPTH if shared else f"{means.request.method} has no scalar setting"
    if not means.trains:
        return {**reasons, **dict.fromkeys(("accuracy", "accuracy_removed", "accuracy_moved"), UNTRAINED)}
    if draft.accuracy_removed is None:
        why = FULL_DEPTH if shared else NOTHING_REMOVED
        return {**reasons, "accuracy_removed": why, "accuracy_moved": why}
    return reasons if draft.accuracy_moved is not None else {**reasons, "accuracy_moved": NOT_MOVED}

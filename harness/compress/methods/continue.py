"""The control of depth reduction: the full network, fine-tuned for as many epochs as the rungs of the others have had.

harness run --method easier,continue
harness run --method easier --delta 0.01       (ends where `easier` is more than a point below it)

Fine-tuning alone changes accuracy, and the papers compare their shorter networks with one that was not fine-tuned. Rung k
is the full network after k more trainings, of the schedule and the length of any rung. Nothing is removed; `setting` is the
number of epochs beyond full depth. `begin` epochs come first, where the method that is compared trains before its first
choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.compress import schedules
from harness.errors import UsageError
from harness.records import Choice

if TYPE_CHECKING:  # the controller reads Recipe, and torch stays out of it
    from torch import nn

    from harness.compress.edits import Edit
    from harness.compress.state import State, Training

TRAINS = True
CONTROL = True


@dataclass(frozen=True)
class Recipe:
    """What may be set: epochs before the first rung (`--recipe begin=5`), of the ladder's budget."""

    begin: int = 0


def units(state: State, recipe: Recipe) -> tuple[str, ...]:
    """As many as there are activations to remove: it has as many rungs; one at least."""
    return state.eligible or ("epochs",)


def budget(total: int, rungs: int, recipe: Recipe) -> schedules.Budget:
    """Share what `begin` leaves out evenly. Raises UsageError where that is not enough."""
    if not 0 <= recipe.begin <= total:
        raise UsageError(
            f"method continue: begin = {recipe.begin}: must be 0 to {total}, the epochs of the ladder",
            "Give more: --budget-epochs.",
        )
    left = total - recipe.begin
    if 0 < left < rungs:
        raise UsageError(
            f"--budget-epochs {total}: begin = {recipe.begin} leaves not one epoch for each of {rungs} rungs",
            f"Give {recipe.begin + rungs} or more, or make fewer rungs: --rungs, --step.",
        )
    return schedules.Budget(recipe.begin, left // rungs)


def begin(state: State, training: Training, recipe: Recipe) -> tuple[nn.Module, tuple[Edit, ...]]:
    """Train on, for as long as others begin."""
    training.fit(state.network)
    return state.network, ()


def choose(state: State, recipe: Recipe) -> Choice:
    """Choose nothing, at every rung."""
    return Choice((), {}, gap=None, gap_error=None, setting=float(state.epochs))


def shorten(state: State, choice: Choice, recipe: Recipe) -> tuple[nn.Module, tuple[Edit, ...]]:
    """Leave the network as it is."""
    return state.network, ()

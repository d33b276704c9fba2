"""The control of depth: a network that was shallow from the start, trained for as long as a ladder takes in all.

harness run --method easier,shallow

The networks are those of the model's file, `controls(classes, shape)`, that have less depth than the full one (ResNet-10
beside ResNet-18), the deepest first. Each starts from fresh weights and is trained as the full network is, for its epochs and
those of the whole ladder beyond it. A shorter network that is no better than this one was not worth being shortened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.compress.schedules import Budget
from harness.errors import UsageError
from harness.records import Choice

if TYPE_CHECKING:  # the controller reads Recipe, and torch stays out of it
    from torch import nn

    from harness.compress.edits import Edit
    from harness.compress.state import State

TRAINS = True
CHAINS = False
FRESH = True
CONTROL = True


@dataclass(frozen=True)
class Recipe:
    """Nothing may be set."""


def units(state: State, recipe: Recipe) -> tuple[str, ...]:
    """Name the model's shallower networks, the deepest first. Raises UsageError: it has none."""
    from harness import flops

    def depth(network: nn.Module) -> int:
        return flops.measure(network.eval(), state.example[:1])[0].depth or 0

    full, found = depth(state.network), {name: depth(network) for name, network in state.controls().items()}
    shallower = sorted((name for name in found if found[name] < full), key=lambda name: -found[name])
    if not shallower:
        raise UsageError(
            f"method shallow: none of the model's own networks ({', '.join(found) or 'it has none'}) has less depth than "
            f"the full one's {full}",
            "Add one to controls(classes, shape) in the model's file, or name another --model.",
        )
    return tuple(shallower)


def budget(total: int, rungs: int, recipe: Recipe) -> Budget:
    """Each of the networks gets what a ladder gets."""
    return Budget(0, total)


def choose(state: State, recipe: Recipe) -> Choice | None:
    """Choose the next network; None after the last."""
    return Choice((state.eligible[state.rung - 1],), {}, gap=None, gap_error=None) if _more(state) else None


def shorten(state: State, choice: Choice, recipe: Recipe) -> tuple[nn.Module, tuple[Edit, ...]]:
    """Return it, with fresh weights."""
    return state.controls()[choice.chosen[0]], ()


def _more(state: State) -> bool:
    return state.rung <= len(state.eligible)

"""Random: remove activations in an order drawn once, the baseline that a method's score has to beat.

harness run --method random
harness run --method random --seeds 3       how much the order alone makes

The order is drawn uniformly from all orders of the eligible activations, by the ladder's seed, and kept for all its rungs.
Scores are places in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.records import Choice

if TYPE_CHECKING:  # the controller reads Recipe, and torch stays out of it
    from harness.compress.state import State

TRAINS = True


@dataclass(frozen=True)
class Recipe:
    """Nothing may be set."""


def choose(state: State, recipe: Recipe) -> Choice | None:
    """Choose the next of the order, its place as the score; None at its end."""
    import numpy as np

    order = np.random.default_rng(state.seed).permutation(len(state.eligible))
    drawn = [state.eligible[index] for index in order]
    left = {name: float(place) for place, name in enumerate(drawn) if name in state.candidates}
    return Choice(tuple(left)[: state.step], left, gap=None, gap_error=None) if left else None

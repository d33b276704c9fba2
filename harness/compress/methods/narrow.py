"""The control of width: the trained network with a share of its channels pruned, fine-tuned as long as a ladder takes.

harness run --method easier,narrow
harness run --method narrow --recipe widths=0.75,0.5,0.25 --recipe multiple=16

Channels go by their norm (L2, normalised by the mean of their group), the same share in every group of layers that depend on
each other, their number rounded to `multiple`, as kernels for aligned widths like them: Fang et al., DepGraph (CVPR 2023),
by the authors' library torch-pruning. The classifier keeps its outputs. In a network with attention the residual stream and the
heads stay as they are, and the hidden units of the MLPs go. Each rung starts from the full network; `setting` is the width.
A width whose rounded channels an earlier width has already ends the ladder.
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
CONTROL = True


@dataclass(frozen=True)
class Recipe:
    """What may be set: shares of the channels to keep (`--recipe widths=0.75,0.5`), what their numbers are multiples of."""

    widths: tuple[float, ...] = (0.75, 0.5)
    multiple: int = 8


def units(state: State, recipe: Recipe) -> tuple[str, ...]:
    """Name the widths. Raises UsageError for one that is not a share, or said twice."""
    for width in recipe.widths:
        if not 0 < width < 1 or recipe.widths.count(width) > 1:
            raise UsageError(
                f"method narrow: widths = {width:g}: each must be above 0 and below 1, and said once",
                "Name shares of the channels to keep, such as --recipe widths=0.75,0.5.",
            )
    if recipe.multiple < 1:
        raise UsageError(f"method narrow: multiple = {recipe.multiple}: must be 1 or more", "The default is 8.")
    return tuple(f"pruned{width:g}" for width in recipe.widths)


def budget(total: int, rungs: int, recipe: Recipe) -> Budget:
    """Each of the widths gets what a ladder gets."""
    return Budget(0, total)


def choose(state: State, recipe: Recipe) -> Choice | None:
    """Choose the next width; None after the last, or where rounding makes the network of an earlier one of it."""
    if state.rung > len(state.eligible) or _twin(state, recipe) is not None:
        return None
    return Choice((state.eligible[state.rung - 1],), {}, None, None, setting=recipe.widths[state.rung - 1])


def exhausted(state: State, recipe: Recipe) -> str:
    """Name the two widths that rounding makes one network of; nothing after the last width."""
    twin = _twin(state, recipe) if state.rung <= len(state.eligible) else None
    if twin is None:
        return ""
    width = recipe.widths[state.rung - 1]
    return f"width {width:g} leaves the same channels as {twin:g}, their numbers being multiples of {recipe.multiple}"


def _twin(state: State, recipe: Recipe) -> float | None:
    """The earlier width whose network has the same sizes throughout as that of the next."""
    from harness.compress.widths import prune, sizes

    *earlier, width = recipe.widths[: state.rung]
    own = sizes(prune(state.network, state.example, width, recipe.multiple)) if earlier else None
    same = (one for one in earlier if sizes(prune(state.network, state.example, one, recipe.multiple)) == own)
    return next(same, None)


def shorten(state: State, choice: Choice, recipe: Recipe) -> tuple[nn.Module, tuple[Edit, ...]]:
    """Return the network with the channels cut out; nothing of it is an edit, for no rung is made from this one."""
    from harness.compress.widths import prune

    assert choice.setting is not None
    return prune(state.network, state.example, choice.setting, recipe.multiple), ()

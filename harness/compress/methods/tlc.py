"""TLC, Till the Layers Collapse: force each channel into the state it is mostly in (Liao et al., AAAI 2025).

harness run --method tlc
harness run --method tlc --recipe joint=true             several activations at once, if the loss does not rise
harness run --method tlc --recipe rank=error             by the error alone, without a look at the loss
harness run --method tlc --recipe off=linear             no channel is cut, all become linear

A BatchNorm gives the activation z = beta + |gamma| x, x ~ N(0, 1). A channel with beta > 0 is mostly ON and becomes linear,
one with beta <= 0 is mostly OFF and becomes 0. Forcing it is wrong for a share of the inputs of

    E = P(z < 0) = Phi(-beta / |gamma|)    ON; behind a ReLU6 plus P(z > 6) = Phi((beta - 6) / |gamma|)
    E = P(z > 0) = Phi( beta / |gamma|)    OFF

Where no BatchNorm stands directly in front (behind an addition, in networks with LayerNorm), mean and standard deviation of
z on the held-out part stand for beta and |gamma|. GELU, SiLU and their like count as ReLU. Of the `tried` activations of
least mean E, that goes whose forcing raises the loss on the held-out part least.

Channels that are off are zeroed where they are made, and cut out for good where they are tied to no others; the rest stays
at zero while training. At least one stays in each layer: the most positive. A sum (a residual block's last activation) is
made by several layers and read by several: its channels cannot be zeroed, all become linear, and E is that of this.

The released code ranks by the loss of one batch; takes a set of activations at once when its loss exceeds the loss before,
not when it stays below; asks bn2 alone about what a shortcut is added to; takes for candidates BatchNorms that no activation
follows; knows no upper knee; and cuts nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.compress.ranking import lowest
from harness.errors import TrainError, UsageError
from harness.records import Choice

if TYPE_CHECKING:  # the controller reads Recipe, and torch stays out of it
    from torch import Tensor, nn

    from harness.compress.edits import Edit
    from harness.compress.methods._silencing import Front
    from harness.compress.state import Split, State, Training

TRAINS = True


@dataclass(frozen=True)
class Recipe:
    """What may be set: rank by loss or error, how many of least error have their loss taken, several at once, cutting."""

    rank: Literal["loss", "error"] = "loss"
    tried: int = 8
    joint: bool = False
    off: Literal["remove", "linear"] = "remove"


@dataclass(frozen=True)
class Plan:
    """What forcing one activation does: which channels become 0, and the error of each channel [C]."""

    front: Front
    off: tuple[int, ...]
    errors: Tensor

    @property
    def error(self) -> float:
        """Mean error over channels."""
        return float(self.errors.mean())


def check(units: tuple[str, ...], recipe: Recipe) -> None:
    """Check the recipe before anything is made. Raises UsageError."""
    if recipe.tried < 1:
        raise UsageError(f"tlc.tried={recipe.tried}: at least one activation must be tried", "Give 1 or more.")
    if recipe.joint and recipe.rank == "error":
        raise UsageError("tlc.joint=true needs the loss, which rank=error does not take", "Drop one of the two.")


def units(state: State, _: Recipe) -> tuple[str, ...]:
    """Return the eligible activations that are 0 or linear by the sign of their input. Raises UsageError: none is."""
    from harness.compress.methods import _silencing

    found = tuple(name for name in state.eligible if _silencing.rectifies(state.network.get_submodule(name)))
    if not found:
        raise UsageError(
            "method tlc needs activations that are either off or linear (ReLU, ReLU6, GELU, SiLU and their like); "
            "none of the eligible ones is",
            "Name another --method, or --eligible all.",
        )
    return found


def choose(state: State, recipe: Recipe) -> Choice | None:
    """Choose by the loss gap in nats, with its paired standard error over images, or by the mean error.

    None when no candidate is left. Raises TrainError where no held-out loss is a finite number.
    """
    made = plans(state, state.candidates, recipe)
    errors = {name: plan.error for name, plan in made.items()}
    if recipe.rank == "error" or not errors:
        return lowest(errors, state.step)
    assert state.held_out is not None
    tried = sorted(errors, key=lambda name: errors[name])[: max(recipe.tried, state.step + 1)]
    base = losses(state.network, state.held_out)
    gaps = {name: losses(forced(state.network, {name: made[name]}), state.held_out) - base for name in tried}
    means = {name: float(gap.mean()) for name, gap in gaps.items() if gap.isfinite().all()}
    if not means:
        raise TrainError(
            "the loss on held-out images is not a finite number, whatever is forced",
            "Finished rungs are kept; another --seed or --recipe tlc.rank=error may go through.",
        )
    ranked = sorted(means, key=lambda name: means[name])
    count = max(state.step, _together(state, made, ranked, means, base) if recipe.joint else 1)
    error = None
    if len(ranked) > count:
        apart = gaps[ranked[count]] - gaps[ranked[count - 1]]
        error = float(apart.std() / len(apart) ** 0.5)
    return lowest(means, count, error)


def shorten(state: State, choice: Choice, recipe: Recipe) -> tuple[nn.Module, tuple[Edit, ...]]:
    """Zero the channels that are off; cut those that can be cut exactly, then make what is left linear."""
    from harness.compress import channels, edits
    from harness.compress.edits import Edit
    from harness.compress.methods import _silencing

    for plan in plans(state, choice.chosen, recipe).values():
        _silencing.silence(state.network, plan.front, plan.off)
    narrowed, made = state.network, list[Edit]()
    for name in choice.chosen if recipe.off == "remove" else ():
        gone = channels.removable(narrowed, state.example, name)
        if gone:
            made.append(Edit("narrow", (name,), gone))
            narrowed = edits.apply(narrowed, made[-1:], state.example)
    return state.network, (*made, Edit("linear", choice.chosen))


def tune(network: nn.Module, training: Training, _: Recipe) -> None:
    """Fine-tune; channels at zero, in this rung or one above, stay there."""
    from harness.compress.methods import _silencing

    held = _silencing.silent(network)

    def hold() -> None:
        for parameter, mask in held:
            parameter.masked_fill_(mask.to(parameter.device), 0.0)

    training.fit(network, after_step=hold if held else None)


# --- what forcing an activation does ---------------------------------------------------------------------------------


def plans(state: State, names: Sequence[str], recipe: Recipe) -> dict[str, Plan]:
    """Plan the forcing of each named activation, in one pass over the held-out part at most."""
    from harness.compress.methods import _silencing, _statistics
    from harness.compress.state import batches

    assert state.held_out is not None
    found = _silencing.fronts(state.network, state.example, names)
    axes = _statistics.channel_axes(state.network, state.example, names) if names else {}
    to_measure = {name: axes[name] for name in names if found[name].norm is None}
    measured = _statistics.moments(state.network, to_measure, batches(state.held_out))
    made = {}
    for name in names:
        norm = found[name].norm
        mean, sd = measured[name].result() if norm is None else _silencing.affine(state.network, norm)
        off = switched_off(mean) if found[name].silent and recipe.off == "remove" else ()
        knee = getattr(state.network.get_submodule(name), "max_val", None)
        made[name] = Plan(found[name], off, channel_errors(mean, sd, off, knee))
    return made


def switched_off(mean: Tensor) -> tuple[int, ...]:
    """Return the channels to set to 0, those whose input is 0 or less in the mean [C]; never all: the greatest stays."""
    off = mean <= 0
    if off.all():
        off[mean.argmax()] = False
    return tuple(off.nonzero().flatten().tolist())


def channel_errors(mean: Tensor, sd: Tensor, off: Collection[int], knee: float | None = None) -> Tensor:
    """Share of inputs, z ~ N(mean, sd), for which a forced channel is wrong: float64 [C].

    Channels in `off` become 0, the others linear; `knee` is where the activation bends again (6 for ReLU6). A channel that
    is always exactly 0 is never wrong.
    """
    import torch

    def phi(x: Tensor) -> Tensor:
        share: Tensor = torch.special.ndtr(x)
        return share.nan_to_num(0.0)  # 0 / 0

    linear = phi(-mean / sd) if knee is None else phi(-mean / sd) + phi((mean - knee) / sd)
    is_off = torch.zeros(len(mean), dtype=torch.bool)
    is_off[list(off)] = True
    return torch.where(is_off, phi(mean / sd), linear)


def forced(network: nn.Module, made: Mapping[str, Plan]) -> nn.Module:
    """Return a new network with these activations forced: channels zeroed, none cut, padding where it was."""
    from harness.compress import remove
    from harness.compress.methods import _silencing

    changed = remove(network, list(made))
    for plan in made.values():
        _silencing.silence(changed, plan.front, plan.off)
    return changed


def losses(network: nn.Module, split: Split) -> Tensor:
    """Return the cross-entropy of each example, in eval mode, in nats: float64 [N]."""
    import torch
    from torch.nn import functional

    from harness.compress.state import batches

    network.eval()
    with torch.inference_mode():
        found = [functional.cross_entropy(network(x), labels, reduction="none") for x, labels in batches(split)]
    return torch.cat(found).double()


def _together(
    state: State, made: Mapping[str, Plan], ranked: Sequence[str], gaps: Mapping[str, float], base: Tensor
) -> int:
    """How many of least gap go at once: as many as leave the loss no higher than it was; 1 if already the first raises it."""
    assert state.held_out is not None
    count = 1
    while gaps[ranked[0]] < 0 and count < len(ranked):
        joint = forced(state.network, {name: made[name] for name in ranked[: count + 1]})
        if not float(losses(joint, state.held_out).mean()) <= float(base.mean()):
            break
        count += 1
    return count

"""Rounds of entropy-guided pruning, shared by EGP and NEPENTHE: which layers lose how many weights, and what that leaves.

A round prunes `zeta` of the non-zero weights in front of the candidates, shared out by a softmax (`budgets`), the smallest
of each layer first. Before that, activations that the data show to be linear become identities; so do those whose layer the
round empties. Afterwards channels without incoming weights are cut, their constants kept, which changes no prediction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from harness.compress.methods._budgets import budgets
from harness.errors import UsageError
from harness.records import Choice

if TYPE_CHECKING:  # the controller reads recipes, and torch stays out of it
    from torch import Tensor, nn

    from harness.compress.edits import Edit
    from harness.compress.state import State, Training


@dataclass(frozen=True)
class Signs:
    """How often each channel in front of an activation was above, below and at 0, over images and positions: [C] each."""

    above: Tensor
    below: Tensor
    zero: Tensor


OnShare: TypeAlias = "Callable[[Signs], Tensor]"
"""The share p of ON states per channel, float64 [C]: exactly 1 for a channel that is always ON, 0 for one that never is."""

Irrelevance: TypeAlias = "Callable[[Tensor, Tensor], float]"
"""I of a layer, by the entropies [C] of those channels that are now ON, now OFF, and the weights [C, ...] in front of them."""


@dataclass(frozen=True)
class Rules:
    """What tells EGP and NEPENTHE apart, and what both let one set."""

    share: OnShare
    irrelevance: Irrelevance
    zeta: float
    floor: float


@dataclass(frozen=True)
class Round:
    """What one round does: weights that go, by activation; activations that become linear; how irrelevant each is."""

    budgets: Mapping[str, int]
    linear: tuple[str, ...]
    scores: Mapping[str, float]
    shares: Mapping[str, Tensor]
    fronts: Mapping[str, str]


def require_settings(method: str, zeta: float, floor: float) -> None:
    """Raise UsageError for shares that are none."""
    if not 0 < zeta < 1:
        raise UsageError(
            f"{method}: zeta = {zeta:g} is to be above 0 and below 1", "The papers take 0.5, 0.25 and 0.1."
        )
    if not 0 <= floor < 1:
        raise UsageError(f"{method}: floor = {floor:g} is to be at least 0 and below 1", "The default is 0.1.")


def units(state: State) -> tuple[str, ...]:
    """Return the eligible activations. Raises UsageError where one has no layer in front, before anything is trained."""
    from harness.compress.fronts import fronts

    fronts(state.network, state.example, state.eligible)
    return state.eligible


def choose(state: State, rules: Rules) -> Choice | None:
    """Choose what becomes linear in this round, often nothing; None where there is nothing to prune and nothing linear.

    `scores` are irrelevances, `setting` is the sparsity reached: the share of all weights in front of the ladder's
    activations, in the full network, that are zero or cut.
    """
    plan = _plan(state, rules)
    if not plan.linear and not any(plan.budgets.values()):
        return None
    _carry_out(state, plan)
    scores = {name: plan.scores[name] for name in sorted(plan.scores, key=lambda name: plan.scores[name])}
    return Choice(plan.linear, scores, gap=None, gap_error=None, setting=_sparsity(state))


def exhausted(state: State) -> str:
    """Say why a round does nothing though activations are left."""
    return "nothing is left to prune in front of an activation that changes its state" if state.candidates else ""


def shorten(state: State, rules: Rules) -> tuple[nn.Module, tuple[Edit, ...]]:
    """Prune this round's weights, and make linear what it empties and what the data show to be linear."""
    from harness.compress.edits import Edit

    plan = _plan(state, rules)
    _carry_out(state, plan)
    return state.network, (Edit("linear", plan.linear),) if plan.linear else ()


def tune(network: nn.Module, training: Training) -> None:
    """Fine-tune; weights that are exactly 0 were pruned, in this round or before, and stay 0."""
    from harness.compress.folding.kinds import WEIGHTED

    layers: list[Any] = [module for module in network.modules() if isinstance(module, WEIGHTED)]
    pruned = [(layer.weight, layer.weight.detach() == 0) for layer in layers if (layer.weight == 0).any()]

    def hold() -> None:
        for weight, gone in pruned:
            weight.masked_fill_(gone.to(weight.device), 0.0)

    training.fit(network, after_step=hold)


def finish(state: State) -> tuple[nn.Module, tuple[Edit, ...]]:
    """Cut the channels without incoming weights, front to back: what a layer loses may leave the next without any."""
    from harness.compress.channels import cut, removable
    from harness.compress.edits import Edit

    made, network = list[Edit](), state.network
    for name in state.eligible:
        gone = removable(network, state.example, name)
        if gone:
            made.append(Edit("narrow", (name,), gone))
            network = cut(network, state.example, name, gone)
    return state.network, tuple(made)


# --- how much goes where ---------------------------------------------------------------------------------------------


def _plan(state: State, rules: Rules) -> Round:
    """Measure, and decide about every candidate. A candidate whose layer has no weight left is not pruned again."""
    from harness.compress import spans
    from harness.compress.fronts import fronts

    names = state.candidates
    front = fronts(state.network, state.example, names)
    weights = {name: _rows(state.network, front[name]) for name in names}
    shares = {name: rules.share(signs) for name, signs in _signs(state, front).items()}
    direct = spans.direct(state.network, state.example, names)
    direct = {name: place for name, place in direct.items() if _can_be_held(state.network, (name, *place))}
    collapsed = [name for name in names if _is_collapsed(shares[name], name in direct)]
    scores = dict.fromkeys(names, 0.0)
    for name in names:
        if ((shares[name] > 0) & (shares[name] < 1)).any():
            scores[name] = rules.irrelevance(entropy(shares[name]), weights[name])
    listed = _once({name: front[name] for name in names if scores[name] > 0})
    live = {name: int((weights[name] != 0).sum()) for name in listed}
    narrow = spans.bottlenecks(state.network, state.example, set(front.values()))
    caps = {name: _cap(live[name], front[name] in narrow, rules.floor) for name in listed}
    shared = budgets({name: scores[name] for name in listed}, caps, math.floor(rules.zeta * sum(live.values())))
    emptied = sorted((name for name in listed if shared[name] == live[name] and name in direct), key=scores.__getitem__)
    return Round(shared, (*collapsed, *emptied), scores, shares, front)


def _cap(live: int, is_bottleneck: bool, floor: float) -> int:
    """How many of a layer's weights may go: all, or where every path goes through it, all but `floor` of them."""
    return live - max(1, math.ceil(floor * live)) if is_bottleneck else live


def _is_collapsed(share: Tensor, can_be_forced: bool) -> bool:
    """Whether no channel changes its state; those that are never ON must be such that their weights can say so."""
    return bool(((share == 1) | ((share == 0) & can_be_forced)).all())


def _once(front: Mapping[str, str]) -> list[str]:
    """The activations, without those whose layer stands in front of an earlier one too."""
    first: dict[str, str] = {}
    for name, layer in front.items():
        first.setdefault(layer, name)
    return list(first.values())


# --- what is measured ------------------------------------------------------------------------------------------------


def entropy(share: Tensor) -> Tensor:
    """Entropy of each channel's state, in bits; exactly 0 for a state that never changes (no logarithm is clamped)."""
    import torch

    bits: Tensor = (torch.special.entr(share) + torch.special.entr(1 - share)) / math.log(2)
    return bits


def magnitude(weights: Tensor) -> float:
    """Mean of the absolute values of those weights that are not 0; 0 where there is none."""
    live = weights[weights != 0].abs().double()
    return float(live.mean()) if live.numel() else 0.0


def _signs(state: State, front: Mapping[str, str]) -> dict[str, Signs]:
    """Count signs in front of each activation, over all held-out images, in one pass in eval mode; nothing is kept."""
    import torch

    from harness.compress.state import batches

    assert state.held_out is not None
    network = state.network.eval()
    counts: dict[str, Tensor] = {}

    def count(name: str, is_last: bool) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            z = arguments[0] if is_last else arguments[0].movedim(1, -1)
            z = z.reshape(-1, z.shape[-1])
            found = torch.stack([(z > 0).sum(dim=0), (z < 0).sum(dim=0), (z == 0).sum(dim=0)])
            counts[name] = counts[name] + found if name in counts else found

        return hook

    handles = []
    for name, layer in front.items():
        is_last = isinstance(network.get_submodule(layer), torch.nn.Linear)  # where such a layer has its channels
        handles.append(network.get_submodule(name).register_forward_pre_hook(count(name, is_last)))
    try:
        with torch.inference_mode():
            for images, _ in batches(state.held_out):
                network(images)
    finally:
        for handle in handles:
            handle.remove()
    return {name: Signs(*counts[name]) for name in front}


def _rows(network: nn.Module, layer: str) -> Tensor:
    """A layer's weights, one row for each of its outputs."""
    from harness.compress.folding.kinds import TRANSPOSED

    module: Any = network.get_submodule(layer)
    weight: Tensor = module.weight.detach()
    return weight.transpose(0, 1) if isinstance(module, TRANSPOSED) else weight


def _sparsity(state: State) -> float:
    """The share of weights in front of the ladder's activations that are gone, of those of the full network."""
    from harness.compress.fronts import fronts

    full = state.full() if state.full is not None else state.network
    every, now = (fronts(network, state.example, state.eligible) for network in (full, state.network))
    whole = sum(_rows(full, layer).numel() for layer in set(every.values()))
    left = sum(int((_rows(state.network, layer) != 0).sum()) for layer in set(now.values()))
    return 1 - left / whole


# --- what is done ----------------------------------------------------------------------------------------------------


def _carry_out(state: State, plan: Round) -> None:
    """Prune in place; give what is to be linear the weights with which it can be."""
    import torch

    from harness.compress import spans

    with torch.no_grad():
        for name, amount in plan.budgets.items():
            _prune(state.network, plan.fronts[name], amount)
        for name, (layer, norm) in spans.direct(state.network, state.example, plan.linear).items():
            _hold_constant(state.network, (name, layer, norm), plan.shares[name])


def _prune(network: nn.Module, layer: str, amount: int) -> None:
    """Set the `amount` smallest of a layer's non-zero weights to 0; of equal ones the first."""
    import torch

    module: Any = network.get_submodule(layer)
    size = module.weight.abs().flatten()
    order = torch.where(size == 0, torch.inf, size).argsort(stable=True)
    kept = torch.ones_like(size)
    kept[order[:amount]] = 0
    module.weight.mul_(kept.reshape(module.weight.shape))


def _hold_constant(network: nn.Module, place: tuple[str, str, str | None], share: Tensor) -> None:
    """Let the channels that are never ON, or have no weights, be what they are behind the activation, without it.

    A channel without weights is a constant, whose activation is known exactly; one that is never ON is 0 behind it, as the
    data have it.
    """
    import torch

    name, path, norm_path = place
    layer: Any = network.get_submodule(path)
    norm: Any = None if norm_path is None else network.get_submodule(norm_path)
    empty = (layer.weight == 0).flatten(1).all(dim=1)
    value = torch.zeros(len(empty)) if layer.bias is None else layer.bias.clone()
    if norm is not None:
        value = (value - norm.running_mean) * (norm.running_var + norm.eps).rsqrt() * norm.weight + norm.bias
    value = torch.where(empty, network.get_submodule(name)(value[None])[0], 0.0)
    fixed = empty | (share == 0)
    layer.weight[fixed] = 0.0
    if norm is not None:
        norm.weight[fixed], norm.bias[fixed] = 0.0, value[fixed]
    elif layer.bias is not None:
        layer.bias[fixed] = value[fixed]


def _can_be_held(network: nn.Module, place: tuple[str, str, str | None]) -> bool:
    """Whether a channel of an activation can be given any constant by the layer and the BatchNorm in front of it."""
    import torch

    name, path, norm_path = place
    if norm_path is not None:
        norm: Any = network.get_submodule(norm_path)
        return norm.weight is not None and norm.running_mean is not None
    layer: Any = network.get_submodule(path)
    return (
        layer.bias is not None or float(network.get_submodule(name)(torch.zeros(1, len(layer.weight))).abs().max()) == 0
    )

"""Activations: which a network has, which of them keep layers apart, and new networks without some of them."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence

from torch import fx, nn

from harness.compress.folding import nodes, trace
from harness.compress.folding.blends import Blend
from harness.compress.folding.forms import pays
from harness.compress.folding.groups import Stretch, Stretches
from harness.compress.folding.kinds import is_activation
from harness.compress.folding.trace import Example
from harness.content import require_known


def activations(network: nn.Module) -> tuple[str, ...]:
    """Return the paths of all activation modules, each once: in forward order, or as registered if untraceable."""
    registered = _registered(network)
    called = dict.fromkeys(trace.called(network))
    return tuple(name for name in called if name in registered) if called else registered


def mergeable(network: nn.Module, example: Example, names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the activations, in forward order, whose removal alone lets layers on both sides merge.

    Padding between them does not count, since `pad_first` can move it; pooling behind them does only where the linear
    tail takes fewer MACs. `names` restricts the answer. An activation that is called twice is left out. Raises FoldError
    if the network cannot be traced or run on `example`; UsageError for a name that is no activation of it.
    """
    known = activations(network) if names else ()
    for name in names or ():
        require_known("activation", name, known)
    graph = trace.evaluated(network, example)
    trace.drop_transparent(graph)
    trace.simplify_flattening(graph)
    calls, stretches = trace.calls(graph), Stretches(graph, exact=False)
    return tuple(
        str(node.target)
        for node in graph.graph.nodes
        if is_activation(trace.module_of(node))
        and calls[str(node.target)] == 1
        and (names is None or node.target in names)
        and _unlocks(node, stretches)
    )


def remove(network: nn.Module, names: Collection[str]) -> nn.Module:
    """Return a new network with the activations at the paths `names` replaced by identities.

    Raises UsageError, with the nearest known name, for a path that is no activation of the network.
    """
    known = _registered(network)
    for name in names:
        require_known("activation", name, known)
    removed = copy.deepcopy(network)
    shared = {id(removed.get_submodule(name)) for name in names}
    for path, module in list(removed.named_modules(remove_duplicate=False)):
        if id(module) in shared:  # one module under several names goes from all of them
            silence(removed, path)
    return removed


def _registered(network: nn.Module) -> tuple[str, ...]:
    """The paths of all activations, but for the one inside a Blend."""
    modules = dict(network.named_modules())
    return tuple(
        name
        for name, module in modules.items()
        if is_activation(module) and not isinstance(modules[name.rpartition(".")[0]], Blend)
    )


def silence(network: nn.Module, path: str) -> None:
    """Put an identity, in the same mode, at `path`."""
    network.set_submodule(path, nn.Identity().train(network.get_submodule(path).training))


def _unlocks(activation: fx.Node, stretches: Stretches) -> bool:
    """Whether a stretch before an activation and one after it would be one without it."""
    before = stretches.ending_at.get(trace.source(activation), ())
    after = [way for ways in stretches.ending_at.values() for way in ways if way.source is activation]
    return any(_joins(one, other, activation, stretches) for one in before for other in after)


def _joins(before: Stretch, after: Stretch, activation: fx.Node, stretches: Stretches) -> bool:
    if set(before.output.users) != {activation} or not (set(activation.users) <= after.nodes):
        return False
    whole = stretches.follow(before, after, across=activation) if _has_layer(before) and _has_layer(after) else None
    return whole is not None and (not whole.pooled or pays(whole))


def _has_layer(stretch: Stretch) -> bool:
    return any(not nodes.is_norm(node) for node in stretch.layers)

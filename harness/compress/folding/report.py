"""What folding tells of a group: its layers, what they cost before and after, and why they were left."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor, fx, nn

from harness.compress.folding import nodes, pieces, ranges, trace
from harness.compress.folding.choice import Choice, Refusal
from harness.compress.folding.forms import Offer
from harness.compress.folding.kinds import TRANSPOSED, WEIGHTED
from harness.compress.folding.trees import Layer, joined, kind, layer_of
from harness.records import Group


def of_what_is_left(graph: fx.GraphModule, choice: Choice) -> list[Group]:
    """Return what was declined, what stays apart and what cannot be merged."""
    told = [of_offer(offer, reason="not chosen") for offer in choice.declined]
    told += [of_refusal(refusal) for refusal in choice.apart]
    return told + [of_layer(node, reason) for node, reason in unmergeable(graph).items()]


def unmergeable(graph: fx.GraphModule) -> dict[fx.Node, str]:
    """Return the weighted layers that no stretch can hold, each at its first call, with the reason."""
    calls = trace.calls(graph)
    first_calls = {node.target: node for node in reversed(graph.graph.nodes) if node.op == "call_module"}
    reasons = {node: _why_unmergeable(trace.module_of(node), calls[str(path)]) for path, node in first_calls.items()}
    return {node: reason for node, reason in reasons.items() if reason is not None}


def _why_unmergeable(module: nn.Module | None, calls: int) -> str | None:
    if not isinstance(module, WEIGHTED):
        return None
    if calls > 1:
        return f"its module is called {calls} times"
    if isinstance(module, TRANSPOSED):
        return "transposed convolutions are not merged"
    if getattr(module, "padding_mode", "zeros") != "zeros":
        return f"padding mode {module.padding_mode} does not move through a convolution"
    return None


def of_offer(offer: Offer, reason: str | None = None) -> Group:
    """Describe what can be merged; with a `reason` it stays as it is."""
    stretch = offer.stretch
    return Group(
        path=str(stretch.layers[0].target),
        layers=tuple(str(node.target) for node in stretch.layers),
        kind=kind(stretch.tree),
        reason=reason,
        macs_before=stretch.macs,
        macs_after=stretch.macs if reason else offer.macs,
        weights_before=stretch.weights,
        weights_after=stretch.weights if reason else offer.weights,
        form=None if reason else offer.form,
        opened_by=tuple(sorted(stretch.opened_by)),
        wholly_opened=stretch.wholly_opened,
    )


def of_merged(offer: Offer, module: nn.Module) -> Group:
    """Describe what is about to be merged, with all that it costs, and how its weights lie within number formats."""
    stretch = offer.stretch
    layers = (layer_of(node).weight for node in stretch.layers if not nodes.is_norm(node))
    before, after = ranges.worst(layers), ranges.worst(ranges.weights(module))
    return replace(
        of_offer(offer),
        before=pieces.cost_of_layers(stretch),
        after=pieces.cost_of_module(stretch, module),
        spread_before=before,
        spread_after=after,
        suffers=ranges.suffers(before, after),
    )


def of_refusal(refusal: Refusal) -> Group:
    """Describe two stretches that stay apart: what would have been merged, and why it was not."""
    before, after = refusal.before, refusal.after
    macs, weights = before.macs + after.macs, before.weights + after.weights
    tree = joined(before.tree, after.tree)
    paths = tuple(str(node.target) for node in (*before.layers, *after.layers))
    return Group(paths[0], paths, kind(tree), refusal.reason, macs, macs, weights, weights)


def of_layer(node: fx.Node, reason: str) -> Group:
    """Describe a layer that cannot be merged with anything."""
    module, read = trace.module_of(node), trace.source(node)
    assert module is not None
    weight = module.weight  # a parametrized layer's is made on reading
    assert isinstance(weight, Tensor)
    where = read if isinstance(module, TRANSPOSED) else node
    macs = weight.numel() * math.prod(_spatial(where, linear=weight.ndim == 2))
    weights = sum(parameter.numel() for parameter in module.parameters())
    path = str(node.target)
    return Group(path, (path,), kind(Layer(node)), reason, macs, macs, weights, weights)


def _spatial(node: fx.Node, linear: bool) -> tuple[int, ...]:
    """Return the sizes of a node's tensor over which one kernel is applied again and again."""
    shape = trace.shape(node)
    assert shape is not None
    return shape[1:-1] if linear else shape[2:]

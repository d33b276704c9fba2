"""What folding tells of a group: its layers, what they cost before and after, and why they were left."""

from __future__ import annotations

import math

from torch import fx, nn

from harness.compress.folding import trace
from harness.compress.folding.groups import Chain, Layer, Refusal, Stretch, final_layer, kind, layers_of
from harness.compress.folding.layers import TRANSPOSED, WEIGHTED
from harness.compress.folding.merge import Affine
from harness.records import Group


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


def of_stretch(stretch: Stretch, reason: str | None = None) -> Group:
    """Describe a stretch; with a `reason` it stays as it is."""
    tree, nodes = stretch.tree, stretch.layers
    known = layers_of(stretch)
    macs = sum(_macs(node, layer) for node, layer in known.items())
    weights = sum(layer.weights for layer in known.values())
    merged = final_layer(stretch, stretch.merged)
    macs_after = _macs(stretch.output, merged)
    return Group(
        path=str(nodes[0].target),
        layers=tuple(str(node.target) for node in nodes),
        kind=kind(tree),
        reason=reason,
        macs_before=macs,
        macs_after=macs if reason else macs_after,
        weights_before=weights,
        weights_after=weights if reason else merged.weights,
        form=None if reason else stretch.form,
    )


def of_refusal(refusal: Refusal) -> Group:
    """Describe two stretches that stay apart: what would have been merged, and why it was not."""
    before, after = of_stretch(refusal.before), of_stretch(refusal.after)
    macs, weights = before.macs_before + after.macs_before, before.weights_before + after.weights_before
    tree = Chain(refusal.before.tree, refusal.after.tree)
    return Group(before.path, before.layers + after.layers, kind(tree), refusal.reason, macs, macs, weights, weights)


def of_layer(node: fx.Node, reason: str) -> Group:
    """Describe a layer that cannot be merged with anything."""
    module, read = trace.module_of(node), trace.source(node)
    assert module is not None
    weight = module.get_parameter("weight")
    where = read if isinstance(module, TRANSPOSED) else node
    macs = weight.numel() * math.prod(_spatial(where, linear=weight.ndim == 2))
    weights = sum(parameter.numel() for parameter in module.parameters())
    path = str(node.target)
    return Group(path, (path,), kind(Layer(node)), reason, macs, macs, weights, weights)


def _macs(node: fx.Node, layer: Affine) -> int:
    """MACs per example of a layer whose output is that of `node`."""
    return layer.weight.numel() * math.prod(_spatial(node, linear=layer.dims == 0))


def _spatial(node: fx.Node, linear: bool) -> tuple[int, ...]:
    """Return the sizes of a node's tensor over which one kernel is applied again and again."""
    shape = trace.shape(node)
    assert shape is not None
    return shape[1:-1] if linear else shape[2:]

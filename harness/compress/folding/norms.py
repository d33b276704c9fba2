"""Normalisation into the layers beside it: a BatchNorm into the layer before, a LayerNorm's scale and shift into those after."""

from __future__ import annotations

import torch
from torch import fx, nn

from harness.compress.folding import trace
from harness.compress.folding.affine import Affine
from harness.compress.folding.kinds import CONVS, NORMS
from harness.compress.folding.layers import affine, scale_and_shift, to_module
from harness.compress.folding.merge import scaled


def fold_norms(graph: fx.GraphModule) -> None:
    """Fold every BatchNorm in eval mode into the convolution or linear layer before it that nothing else reads."""
    calls = trace.calls(graph)
    for node in list(graph.graph.nodes):
        norm = trace.module_of(node)
        if not isinstance(norm, NORMS) or norm.training or norm.running_mean is None:
            continue
        before = trace.source(node)
        if len(before.users) > 1 or calls[str(before.target)] > 1 or not _scales_channels(before):
            continue
        layer = affine(graph.get_submodule(str(before.target)))
        graph.set_submodule(str(before.target), to_module(scaled(layer, *scale_and_shift(norm))))
        trace.note_opened(before, trace.opened_by(node))
        node.replace_all_uses_with(before)
        graph.graph.erase_node(node)


def move_layer_norms(graph: fx.GraphModule) -> None:
    """Move the scale and shift of every LayerNorm that only linear layers read into these; normalising stays.

    W' = W diag(scale), b' = b + W shift.
    """
    calls = trace.calls(graph)
    for node in list(graph.graph.nodes):
        norm = trace.module_of(node)
        if not isinstance(norm, nn.LayerNorm) or not norm.elementwise_affine or len(norm.normalized_shape) > 1:
            continue
        readers = list(node.users)
        if calls[str(node.target)] > 1 or not all(
            _is_own_linear(reader, calls[str(reader.target)]) for reader in readers
        ):
            continue
        for reader in readers:
            linear = affine(graph.get_submodule(str(reader.target)))
            graph.set_submodule(str(reader.target), to_module(_after(norm, linear)))
        graph.set_submodule(str(node.target), nn.LayerNorm(norm.normalized_shape, norm.eps, elementwise_affine=False))


def _after(norm: nn.LayerNorm, linear: Affine) -> Affine:
    weight, dtype = linear.weight.double(), linear.weight.dtype
    shift = torch.zeros((), dtype=torch.float64) if linear.bias is None else linear.bias.double()
    if norm.bias is not None:
        shift = shift + weight @ norm.bias.detach().double()
    bias = None if linear.bias is None and norm.bias is None else shift.to(dtype)
    return Affine((weight * norm.weight.detach().double()).to(dtype), bias)


def _is_own_linear(node: fx.Node, calls: int) -> bool:
    return calls == 1 and isinstance(trace.module_of(node), nn.Linear)


def _scales_channels(node: fx.Node) -> bool:
    """Whether a BatchNorm behind this node would scale the very channels that its layer makes."""
    layer = trace.module_of(node)
    if isinstance(layer, nn.Linear):
        return len(trace.shape(node) or ()) == 2  # with more dimensions BatchNorm counts channels along another
    return isinstance(layer, CONVS) and layer.padding_mode == "zeros"

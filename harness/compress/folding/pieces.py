"""Pieces of a network by themselves, without numbers, for counting what they cost."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx, nn

from harness import flops
from harness.compress.folding import trace
from harness.compress.folding.groups import Stretch
from harness.records import Cost


def cost_of_layers(stretch: Stretch) -> Cost:
    """Count what a stretch costs as it is in its graph."""
    root = stretch.output.graph.owning_module
    assert root is not None
    graph, copies = fx.Graph(), {}
    copies[stretch.source] = graph.placeholder("x")
    for node in stretch.output.graph.nodes:
        if node in stretch.nodes:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[stretch.output])
    called = {str(node.target) for node in graph.nodes if node.op == "call_module"}
    parts = {path: _on_meta(root.get_submodule(path)) for path in called}
    return _count(fx.GraphModule(parts, graph), stretch)


def cost_of_module(stretch: Stretch, module: nn.Module) -> Cost:
    """Count what a module costs that stands for a stretch."""
    return _count(_on_meta(module), stretch)


def _count(module: nn.Module, stretch: Stretch) -> Cost:
    shape = trace.shape(stretch.source)
    assert shape is not None
    dtype = next((weight.dtype for weight in module.parameters()), torch.float32)
    return flops.count(module, torch.zeros(shape, device="meta", dtype=dtype))


def _on_meta(module: nn.Module) -> nn.Module:
    """Return a copy of a module without numbers, made without copying those that it has."""
    memo: dict[int, Any] = {}
    for weight in module.parameters():
        memo[id(weight)] = nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(module, memo)

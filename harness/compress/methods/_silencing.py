"""What makes an activation's channels, and how to silence some of them: the layers in front, by the graph. Of tlc."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from harness.compress.folding import trace
from harness.compress.folding.kinds import CONVS, NORMS
from harness.compress.folding.trace import Example

_LAYERS = (*CONVS, nn.Linear)
_SMOOTH = ("gelu", "silu", "swish", "mish")  # in the names of classes, torch's and others'


@dataclass(frozen=True)
class Front:
    """What an activation reads: BatchNorm and layer directly in front (paths), and whether zeroing these silences it."""

    norm: str | None = None
    layer: str | None = None
    silent: bool = False


def rectifies(module: nn.Module) -> bool:
    """Whether an activation is 0 far below 0 and linear above it, up to a knee if it is a ReLU6."""
    if isinstance(module, nn.Hardtanh):  # ReLU6 is one
        return module.min_val == 0
    return isinstance(module, nn.ReLU) or any(word in type(module).__name__.lower() for word in _SMOOTH)


def fronts(network: nn.Module, example: Example, names: Sequence[str]) -> dict[str, Front]:
    """Return what stands directly in front of each activation; nothing, for one that is called twice.

    A layer counts only if nothing else reads it: zeroing it then silences the activation and nothing besides. Raises
    FoldError if the network cannot be traced.
    """
    graph = trace.trace(network, example)
    once = {name for name, count in trace.calls(graph).items() if count == 1}
    nodes = {str(node.target): node for node in graph.graph.nodes if node.op == "call_module" and node.target in names}
    return {name: _front(nodes[name], once) if name in once else Front() for name in names}


def affine(network: nn.Module, path: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of what the BatchNorm at `path` gives: beta and |gamma|, float64 [C]."""
    norm: Any = network.get_submodule(path)
    return norm.bias.detach().double(), norm.weight.detach().double().abs()


def silence(network: nn.Module, front: Front, channels: Sequence[int]) -> None:
    """Set to zero, in place, what makes these channels."""
    for path in (front.norm, front.layer):
        for parameter in _parameters(network.get_submodule(path)) if path is not None else ():
            with torch.no_grad():
                parameter[list(channels)] = 0.0


def silent(network: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Return parameters with masks of their channels that are wholly zero, as `silence` left them and no training does."""
    held: list[tuple[Tensor, Tensor]] = []
    for module in network.modules():
        own = _parameters(module) if isinstance(module, (*_LAYERS, *NORMS)) else []
        if not own:
            continue
        empty = torch.stack(
            [(parameter == 0).flatten(1).all(1) if parameter.ndim > 1 else parameter == 0 for parameter in own]
        )
        zero = empty.all(dim=0)
        if zero.any():
            held += [(parameter, zero.reshape(-1, *[1] * (parameter.ndim - 1))) for parameter in own]
    return held


def _front(activation: fx.Node, once: Collection[str]) -> Front:
    node, alone = _above(activation)
    norm = None
    module: Any = trace.module_of(node)
    if isinstance(module, NORMS) and module.affine:
        norm = str(node.target)
        if not alone or norm not in once:
            return Front(norm)
        node, alone = _above(node)
    is_layer = isinstance(trace.module_of(node), _LAYERS) and alone and str(node.target) in once
    layer = str(node.target) if is_layer else None
    return Front(norm, layer, norm is not None or layer is not None)


def _above(node: fx.Node) -> tuple[fx.Node, bool]:
    """What a node reads, through what passes values on unchanged, and whether it is the only one that reads it."""
    alone = True
    while True:
        node = trace.source(node)
        alone = alone and len(node.users) == 1
        if not trace.is_transparent(node):
            return node, alone


def _parameters(module: Any) -> list[nn.Parameter]:
    return [parameter for parameter in (module.weight, module.bias) if parameter is not None]

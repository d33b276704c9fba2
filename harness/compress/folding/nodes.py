"""What a single node of a graph computes, if that is affine: layers, BatchNorms, average pools, linear layers over images."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from harness.compress.folding import trace
from harness.compress.folding.affine import Affine, identity, mean
from harness.compress.folding.layers import NORMS, affine
from harness.errors import FoldError

_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
_ADAPTIVE_CALLS = (
    *(functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d),
    *(torch.ops.aten.adaptive_avg_pool1d.default, torch.ops.aten.adaptive_avg_pool2d.default),
)
_PADS = (nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)
_MEANS = (torch.mean, torch.ops.aten.mean.dim)


@dataclass(frozen=True)
class Reading:
    """A node as an affine layer of `source`; `nodes` are itself and the flattening that it reads through."""

    source: fx.Node
    nodes: frozenset[fx.Node]
    layer: Affine


def read(node: fx.Node) -> Reading | None:
    """Return what a node computes as an affine layer, with its module's own tensors, or None if it is no such thing."""
    shape, module = trace.shape(node), trace.module_of(node)
    if shape is None:
        return None
    if is_pool(node):
        pool = _pool(node)
        return None if pool is None else Reading(trace.source(node), frozenset({node}), pool)
    if isinstance(module, _PADS) and is_pad(node):
        return Reading(trace.source(node), frozenset({node}), _padding(module, shape, _dtype(node)))
    if module is None or (isinstance(module, NORMS) and module.training):
        return None
    try:
        layer = affine(module, dims=len(shape) - 2)
    except FoldError:
        return None
    return _over_image(node, layer) or Reading(trace.source(node), frozenset({node}), layer)


def is_pool(node: fx.Node) -> bool:
    """Whether a node takes averages over the positions of an image: it adds no depth and has no weights."""
    if isinstance(trace.module_of(node), (*_POOLS, *_ADAPTIVE)):
        return True
    called = node.op == "call_function" and node.target in (*_ADAPTIVE_CALLS, *_MEANS)
    return called or (node.op == "call_method" and node.target == "mean")


def is_norm(node: fx.Node) -> bool:
    """Whether a node calls a BatchNorm."""
    return isinstance(trace.module_of(node), NORMS)


def is_pad(node: fx.Node) -> bool:
    """Whether a node puts zeros around an image, or takes its border off."""
    module = trace.module_of(node)
    return isinstance(module, _PADS) and getattr(module, "value", 0) == 0


def kind(node: fx.Node) -> str:
    """One word for what a node is: conv, linear, norm, pool."""
    if is_pool(node):
        return "pool"
    if is_pad(node):
        return "pad"
    name = type(trace.module_of(node)).__name__.lower()
    return "norm" if name.startswith("batch") else name.rstrip("123d")


def _over_image(node: fx.Node, layer: Affine) -> Reading | None:
    """A linear layer behind a flattened image, as a layer of the image; None if there is none, or others read it flat."""
    flat = trace.source(node)
    image = trace.flattened(flat)
    if not isinstance(trace.module_of(node), nn.Linear) or image is None or len(flat.users) > 1:
        return None
    size = trace.shape(image)
    assert size is not None
    return Reading(image, frozenset({flat, node}), layer.over(size[2:]))


def _padding(module: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> Affine:
    flat = list(module.padding)  # type: ignore[arg-type]
    sides = tuple(zip(flat[-2::-2], flat[::-2], strict=True))
    same = identity(shape[1], len(shape) - 2)
    return replace(same, weight=same.weight.to(dtype), padding=sides)


def _pool(node: fx.Node) -> Affine | None:
    before, after = trace.shape(trace.source(node)), trace.shape(node)
    assert after is not None
    if before is None or len(before) < 3 or after[:2] != before[:2]:
        return None
    module, size, dtype = trace.module_of(node), before[2:], _dtype(node)
    if isinstance(module, _POOLS):
        return _fixed_pool(module, before[1], len(size), dtype)
    if isinstance(module, _ADAPTIVE) or node.target in _ADAPTIVE_CALLS:
        steps = tuple(length // parts for length, parts in zip(size, after[2:], strict=True))
        whole = all(length % parts == 0 for length, parts in zip(size, after[2:], strict=True))
        return mean(before[1], steps, steps, ((0, 0),) * len(size), dtype) if whole else None
    if math.prod(after[2:]) > 1 or not _over_all_positions(node, len(before)):
        return None
    return mean(before[1], size, (1,) * len(size), ((0, 0),) * len(size), dtype)


def _fixed_pool(pool: nn.Module, channels: int, dims: int, dtype: torch.dtype) -> Affine | None:
    kernel, stride, padding = (_per_dim(getattr(pool, name), dims) for name in ("kernel_size", "stride", "padding"))
    uncounted = any(padding) and not pool.count_include_pad
    if pool.ceil_mode or uncounted or getattr(pool, "divisor_override", None):
        return None
    return mean(channels, kernel, stride, tuple((pad, pad) for pad in padding), dtype)


def _over_all_positions(node: fx.Node, dims: int) -> bool:
    """Whether a mean is taken over every dimension behind the channels, and only those."""
    over = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if not isinstance(over, list | tuple) or not set(node.kwargs) <= {"dim", "keepdim"}:
        return isinstance(over, int) and dims == 3 and over % dims == 2
    return sorted(int(dim) % dims for dim in over) == list(range(2, dims))


def _per_dim(value: int | tuple[int, ...], dims: int) -> tuple[int, ...]:
    return (value,) * dims if isinstance(value, int) else tuple(value)


def _dtype(node: fx.Node) -> torch.dtype:
    """The type of the network's weights: what stands for a pool is to have it too."""
    root = node.graph.owning_module
    weights: list[Tensor] = [] if root is None else [p for p in root.parameters() if p.is_floating_point()]
    return weights[0].dtype if weights else torch.get_default_dtype()

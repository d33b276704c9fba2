"""What a single node of a graph computes, if that is affine: layers, BatchNorms, average pools, linear layers over images."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from harness.compress.folding import trace
from harness.compress.folding.affine import Affine, Pairs, identity, mean
from harness.compress.folding.kinds import ADAPTIVE_POOLS, NORMS, PADS, POOLS
from harness.compress.folding.layers import affine
from harness.errors import FoldError

_ADAPTIVE_CALLS = (
    *(functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d),
    *(torch.ops.aten.adaptive_avg_pool1d.default, torch.ops.aten.adaptive_avg_pool2d.default),
)
_PADS: dict[Any, tuple[str, ...]] = {
    functional.pad: ("input", "pad", "mode", "value"),
    torch.ops.aten.pad.default: ("input", "pad", "mode", "value"),
    torch.ops.aten.constant_pad_nd.default: ("input", "pad", "value"),
}
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
    if is_pad(node):
        return Reading(trace.source(node), frozenset({node}), _padding(node, shape))
    if module is None or (isinstance(module, NORMS) and module.training):
        return None
    try:
        layer = affine(module, dims=len(shape) - 2)
    except FoldError:
        return None
    return _over_image(node, layer) or Reading(trace.source(node), frozenset({node}), layer)


def is_pool(node: fx.Node) -> bool:
    """Whether a node takes averages over the positions of an image: it adds no depth and has no weights."""
    if isinstance(trace.module_of(node), (*POOLS, *ADAPTIVE_POOLS)):
        return True
    called = node.op == "call_function" and node.target in (*_ADAPTIVE_CALLS, *_MEANS)
    return called or (node.op == "call_method" and node.target == "mean")


def is_norm(node: fx.Node) -> bool:
    """Whether a node calls a BatchNorm."""
    return isinstance(trace.module_of(node), NORMS)


def is_pad(node: fx.Node) -> bool:
    """Whether a node puts zeros around an image, or takes its border off."""
    return _zeros_around(node) is not None


def kind(node: fx.Node) -> str:
    """One word for what a node is: conv, linear, norm, pool."""
    if is_pool(node):
        return "pool"
    if is_pad(node):
        return "pad"
    name = type(trace.module_of(node)).__name__.lower().removeprefix("parametrized")
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


def _padding(node: fx.Node, shape: tuple[int, ...]) -> Affine:
    sides, dims = _zeros_around(node) or (), len(shape) - 2
    same = identity(shape[1], dims)
    padding = ((0, 0),) * (dims - len(sides)) + sides
    return replace(same, weight=same.weight.to(_dtype(node)), padding=padding)


def _zeros_around(node: fx.Node) -> Pairs | None:
    """How many zeros a node puts on both sides of the last dimensions; None if it does anything else."""
    module, shape = trace.module_of(node), trace.shape(node)
    flat: Any
    if isinstance(module, PADS):
        value, flat = getattr(module, "value", 0), list(module.padding)
    elif node.op == "call_function" and node.target in _PADS:
        given = dict(zip(_PADS[node.target], node.args, strict=False)) | dict(node.kwargs)
        flat, value = given["pad"], 0 if given.get("mode", "constant") == "constant" else None
        value = (given.get("value") or 0) if value == 0 else None
    else:
        return None
    spatial = shape is not None and 2 * (len(shape) - 2) >= len(flat)
    if value != 0 or not spatial or not all(isinstance(length, int) for length in flat):
        return None
    return tuple(zip(flat[-2::-2], flat[::-2], strict=True))


def _pool(node: fx.Node) -> Affine | None:
    before, after = trace.shape(trace.source(node)), trace.shape(node)
    assert after is not None
    if before is None or len(before) < 3 or after[:2] != before[:2]:
        return None
    module, size, dtype = trace.module_of(node), before[2:], _dtype(node)
    if isinstance(module, POOLS):
        return _fixed_pool(module, before[1], len(size), dtype)
    if isinstance(module, ADAPTIVE_POOLS) or node.target in _ADAPTIVE_CALLS:
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

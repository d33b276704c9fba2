"""How the layers of a stretch stand to each other: chains and sums, and what becomes of them as one layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, fx

from harness.compress.folding import nodes, trace
from harness.compress.folding.affine import Affine, adjoint, apply, identity
from harness.compress.folding.merge import chain, parallel
from harness.compress.folding.taps import trimmed


@dataclass(frozen=True)
class Layer:
    """One layer: the node that calls it."""

    node: fx.Node


@dataclass(frozen=True)
class Shortcut:
    """A branch without layers, over `channels` channels and `dims` spatial dimensions."""

    channels: int
    dims: int


@dataclass(frozen=True)
class Chain:
    """Two parts or more, each applied to the output of the one before."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Sum:
    """Two branches over the same input, added by `node`."""

    left: Tree
    right: Tree
    node: fx.Node


Tree: TypeAlias = Layer | Shortcut | Chain | Sum
_NUMBERS = 2**24  # of one kind of map, held at once while a matrix is made


def joined(first: Tree, second: Tree) -> Chain:
    """Return the chain of two trees; chains within it are laid open."""
    return Chain(parts(first) + parts(second))


def parts(tree: Tree) -> tuple[Tree, ...]:
    """Return what follows each other in a tree: a chain's parts, or the tree itself."""
    return tree.parts if isinstance(tree, Chain) else (tree,)


def layers(tree: Tree) -> list[fx.Node]:
    """Return the nodes of a tree's layers, in forward order."""
    match tree:
        case Layer(node):
            return [node]
        case Chain(inner):
            return [node for part in inner for node in layers(part)]
        case Sum(left, right):
            return layers(left) + layers(right)
        case Shortcut():
            return []


def output_of(tree: Tree) -> fx.Node:
    """Return the node whose tensor a tree gives. A shortcut has none of its own."""
    match tree:
        case Layer(node) | Sum(node=node):
            return node
        case Chain(inner):
            return output_of(inner[-1])
        case Shortcut():
            raise AssertionError("a shortcut is its source")


def kind(tree: Tree) -> str:
    """Describe a tree: `conv+conv` is a chain, `conv+conv|identity` one with a shortcut around it."""
    match tree:
        case Layer(node):
            return nodes.kind(node)
        case Chain(inner):
            return "+".join(f"({kind(part)})" if isinstance(part, Sum) else kind(part) for part in inner)
        case Sum(left, right):
            return f"{kind(left)}|{kind(right)}"
        case Shortcut():
            return "identity"


def layer_of(node: fx.Node) -> Affine:
    """Return the affine layer of a tree's node, with its module's own tensors."""
    reading = nodes.read(node)
    assert reading is not None
    return reading.layer


def evaluate(tree: Tree, size: Sequence[int] | None, before: Affine | None = None) -> Affine:
    """Merge a tree, with all that is `before` it, into one layer: layer after layer, since what goes in is often narrow.

    Given the spatial `size` of the input, biases are exact across padding; else they move with it.
    """
    match tree:
        case Layer(node):
            layer = trimmed(layer_of(node))
            return layer if before is None else chain(before, layer.lifted(before.dims), size)
        case Shortcut(channels, dims):
            return identity(channels, dims) if before is None else before
        case Sum(left, right):
            return parallel(evaluate(left, size, before), evaluate(right, size, before))
        case Chain(inner):
            for part in inner:
                before = evaluate(part, size, before)
            assert before is not None
            return before


def forward(tree: Tree, x: Tensor) -> Tensor:
    """Return what a tree makes of `x` [N, in, *size], layer by layer."""
    match tree:
        case Layer(node):
            return apply(layer_of(node).lifted(x.ndim - 2), x)
        case Chain(inner):
            for part in inner:
                x = forward(part, x)
            return x
        case Sum(left, right):
            return forward(left, x) + forward(right, x)
        case Shortcut():
            return x


def matrix(tree: Tree, channels: int, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return a tree over inputs [channels, *size] as one matrix [outputs, inputs] and an offset, padding and all.

    What each output takes of the input is pulled back through the layers, from the last to the first; or, where there are
    fewer inputs, what each of them gives is pushed through: float64.
    """
    offset = forward(tree, torch.zeros(1, channels, *size, dtype=torch.float64))
    widest = max(math.prod(shape[1:]) for node in layers(tree) if (shape := trace.shape(node)) is not None)
    inputs, outputs, at_once = channels * math.prod(size), offset.numel(), max(1, _NUMBERS // widest)
    if inputs < outputs:
        pushed = [forward(tree, part.reshape(-1, channels, *size)) - offset for part in _basis(inputs, at_once)]
        return torch.cat([part.flatten(1) for part in pushed]).T.contiguous(), offset.flatten()
    rows = (part.reshape(-1, *offset.shape[1:]).movedim(1, -1) for part in _basis(outputs, at_once))
    return torch.cat([_pulled(tree, part).movedim(-1, 1).flatten(1) for part in rows]), offset.flatten()


def _basis(count: int, at_once: int) -> Iterator[Tensor]:
    """Yield the unit vectors of `count` dimensions, some at once."""
    for first in range(0, count, at_once):
        part = torch.zeros(min(at_once, count - first), count, dtype=torch.float64)
        part.diagonal(first).fill_(1)
        yield part


def _pulled(tree: Tree, rows: Tensor) -> Tensor:
    """Return what a tree's input contributes to `rows` of its output, both [rows, *size, channels]."""
    match tree:
        case Layer(node):
            reading = nodes.read(node)
            assert reading is not None
            shape = trace.shape(reading.source) or ()
            size = shape[2:] if reading.layer.dims else (1,) * (rows.ndim - 2)
            return adjoint(reading.layer.lifted(rows.ndim - 2), rows, size)
        case Chain(inner):
            for part in reversed(inner):
                rows = _pulled(part, rows)
            return rows
        case Sum(left, right):
            return _pulled(left, rows) + _pulled(right, rows)
        case Shortcut():
            return rows

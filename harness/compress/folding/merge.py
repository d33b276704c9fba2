"""The algebra of folding: what becomes of two affine layers when nothing non-linear lies between them.

    chain     y = second(first(x))     one kernel: a matrix product per pair of taps
    parallel  y = left(x) + right(x)   one kernel: taps added where they meet
    scaled    y = scale * conv(x) + shift, per channel: a BatchNorm behind it

All arithmetic is in float64; results have the type that came in. Formulas hold for any stride, dilation, groups,
rectangular kernel and asymmetric padding.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from harness.compress.folding.affine import Affine, Pairs, apply
from harness.errors import FoldError

_ALL = slice(None)


def scaled(layer: Affine, scale: Tensor, shift: Tensor) -> Affine:
    """Fold `scale * y + shift`, per output channel, into the layer that makes y."""
    dtype, factor = layer.weight.dtype, scale.double()
    weight = layer.weight.double() * _along(factor, layer.weight.ndim)
    bias = shift.double()
    if layer.bias is not None:
        bias = _along(bias, layer.bias.ndim) + _along(factor, layer.bias.ndim) * layer.bias.double()
    return replace(layer, weight=weight.to(dtype), bias=bias.to(dtype))


def chain(first: Affine, second: Affine, size: Sequence[int] | None = None) -> Affine:
    """Merge `second` after `first`, with all padding moved before the first: P = p1 + s1 * p2.

    With per-dimension kernel k, stride s, dilation d and taps at a and b:

        W[u] = sum of W2[b] @ W1[a] over all a, b with d1 * a + s1 * d2 * b = u
        bias = b2 + sum over b of W2[b] @ b1,    stride = s1 * s2

    Equal to `second(first(x))` wherever `padding_is_exact`; otherwise to the pair with its padding moved in front
    (Kim et al. 2023). Given the spatial `size` of x, the bias is exact in any case: where the second's padding keeps b1
    out of a sum, it becomes a map. Where d1 and s1 * d2 share a factor, the merged kernel keeps it as its dilation.
    Groups survive as far as both have them (greatest common divisor). Raises FoldError if the channels do not meet.
    """
    _require_same_dims(first, second)
    if first.channels[1] != second.channels[0]:
        raise FoldError(f"{first.channels[1]} output channels meet {second.channels[0]} input channels")
    reach = (s1 * d2 for s1, d2 in zip(first.stride, second.dilation, strict=True))  # of the second's taps, in x
    steps = tuple(zip(first.dilation, reach, strict=True))
    taps = tuple(zip(first.kernel, second.kernel, strict=True))
    dilation = tuple(_common((d1, k1), (d2, k2)) for (d1, d2), (k1, k2) in zip(steps, taps, strict=True))
    moves = tuple((d1 // g, d2 // g) for (d1, d2), g in zip(steps, dilation, strict=True))
    stride = tuple(s1 * s2 for s1, s2 in zip(first.stride, second.stride, strict=True))
    weight, groups = _products(first, second, moves), math.gcd(first.groups, second.groups)
    return Affine(weight, _chain_bias(first, second, size), stride, dilation, moved_padding(first, second), groups)


def moved_padding(first: Affine, second: Affine) -> Pairs:
    """All padding of a pair, moved before its first layer: p1 + s1 * p2 on each side."""
    rows = zip(first.padding, first.stride, second.padding, strict=True)
    return tuple((p1[0] + s1 * p2[0], p1[1] + s1 * p2[1]) for p1, s1, p2 in rows)


def padding_is_exact(first: Affine, second: Affine) -> bool:
    """Whether zero padding between the two equals padding before both, but for what the first's bias adds.

    It does when there is none, or when the first is a 1x1 over the whole image: outside, its output is its bias alone.
    """
    return not second.padded or (math.prod(first.kernel) == 1 and not first.cropped)


def parallel(left: Affine, right: Affine) -> Affine:
    """Merge `left(x) + right(x)`: taps that read the same input are added, a shortcut's at the index of the padding.

    Raises FoldError if strides differ, or if the two outputs are equal in size only at some input sizes.
    """
    _require_same_dims(left, right)
    if left.channels != right.channels or left.stride != right.stride:
        raise FoldError("parallel branches differ in stride or channels")
    groups = math.gcd(left.groups, right.groups)
    grids = [_grid(left, right, dim) for dim in range(left.dims)]
    one, two = _regrouped(left, groups), _regrouped(right, groups)
    merged = left.weight.new_zeros(*one.shape[:2], *(grid.taps for grid in grids))
    merged[(_ALL, _ALL, *(grid.left for grid in grids))] = one
    meeting = merged[(_ALL, _ALL, *(grid.right for grid in grids))]
    meeting.copy_(meeting.double().add_(two))
    return Affine(
        merged,
        _plus(left.bias, right.bias, left.weight.dtype),
        left.stride,
        tuple(grid.dilation for grid in grids),
        tuple(grid.padding for grid in grids),
        groups,
    )


@dataclass(frozen=True)
class _Grid:
    """Where two parallel kernels lie in the one that covers both, along one dimension."""

    taps: int
    dilation: int
    padding: tuple[int, int]
    left: slice
    right: slice


def _grid(left: Affine, right: Affine, dim: int) -> _Grid:
    before = max(left.padding[dim][0], right.padding[dim][0])
    pair = [(side.dilation[dim], side.kernel[dim], *side.padding[dim]) for side in (left, right)]
    starts = [before - lead for _, _, lead, _ in pair]
    ends = [start + step * (taps - 1) for start, (step, taps, _, _) in zip(starts, pair, strict=True)]
    spare = {trail - (end - before) for end, (_, _, _, trail) in zip(ends, pair, strict=True)}
    if len(spare) > 1:
        raise FoldError("parallel branches are equal in size only at some input sizes")
    dilation = _common(*((step, taps) for step, taps, _, _ in pair), *((start, 2) for start in starts))
    slices = [
        slice(start // dilation, end // dilation + 1, max(1, step // dilation))
        for start, end, (step, _, _, _) in zip(starts, ends, pair, strict=True)
    ]
    padding = (before, max(ends) - before + spare.pop())
    return _Grid(max(ends) // dilation + 1, dilation, padding, slices[0], slices[1])


def _common(*steps: tuple[int, int]) -> int:
    """Greatest common divisor of the steps (distance, taps) that a kernel really takes; 1 if it takes none."""
    return math.gcd(*(distance for distance, taps in steps if taps > 1)) or 1


def _products(first: Affine, second: Affine, moves: Pairs) -> Tensor:
    """Return the merged weight: at each of its taps, the sum of W2[b] @ W1[a] over all pairs of taps that meet.

    `moves` says, per dimension, how far a tap of the first and of the second layer moves in the merged kernel. What has
    more groups is multiplied group by group: of a depthwise layer no dense matrix is made.
    """
    taps = tuple(zip(first.kernel, second.kernel, strict=True))
    kernel = tuple(a * (k1 - 1) + b * (k2 - 1) + 1 for (k1, k2), (a, b) in zip(taps, moves, strict=True))
    groups = math.gcd(first.groups, second.groups)
    merged = first.weight.new_zeros(second.channels[1], first.channels[0] // groups, *kernel)
    if merged.is_meta:
        return merged
    meetings: dict[Any, list[tuple[tuple[int, ...], tuple[int, ...]]]] = defaultdict(list)
    for pairs in itertools.product(*(itertools.product(range(k1), range(k2)) for k1, k2 in taps)):
        target = tuple(a * u + b * v for (a, b), (u, v) in zip(moves, pairs, strict=True))
        meetings[target].append((tuple(u for u, _ in pairs), tuple(v for _, v in pairs)))
    one, two, whole = _factors(first, second, groups)
    for target, met in meetings.items():
        total = torch.bmm(two[met[0][1]], one[met[0][0]])
        for u, v in met[1:]:
            total.baddbmm_(two[v], one[u])
        merged[(_ALL, _ALL, *target)] = whole(total)
    return merged


def _factors(first: Affine, second: Affine, groups: int) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """Return both weights as stacks of matrices per tap, float64, block for block, and what makes [out, in] of a product."""
    if second.groups >= first.groups:  # rows of the first, as the second reads them
        one, two = _per_tap(first, groups), _per_tap(second, second.groups)
        rows = one.reshape(*one.shape[:-3], second.groups, -1, one.shape[-1])
        return rows, two, lambda product: product.flatten(0, 1)
    one, two = _per_tap(first, first.groups), _per_tap(second, groups)
    blocks = first.groups // groups
    columns = two.reshape(*two.shape[:-1], blocks, -1).movedim(-2, -3).flatten(-4, -3)

    def whole(product: Tensor) -> Tensor:
        return product.reshape(groups, blocks, *product.shape[1:]).movedim(1, 2).flatten(2).flatten(0, 1)

    return one, columns, whole


def _regrouped(layer: Affine, groups: int) -> Tensor:
    """Return the weight [out, in / groups, *kernel] for fewer groups, a divisor of the layer's own.

    Groups that fall together become blocks on the diagonal of a larger one.
    """
    blocks = layer.groups // groups
    inputs, outputs = layer.weight.shape[1], layer.weight.shape[0] // layer.groups
    if blocks == 1:
        return layer.weight
    small = layer.weight.reshape(groups, blocks, outputs, inputs, *layer.kernel)
    wide = small.new_zeros(groups, blocks, outputs, blocks, inputs, *layer.kernel)
    wide.diagonal(dim1=1, dim2=3).copy_(small.movedim(1, -1))
    return wide.reshape(groups * blocks * outputs, blocks * inputs, *layer.kernel)


def _per_tap(layer: Affine, groups: int) -> Tensor:
    """Return the weight as float64 [*kernel, groups, out / groups, in / groups]: a stack of matrices per tap."""
    weight = _regrouped(layer, groups)
    stacked = weight.reshape(groups, -1, *weight.shape[1:])
    matrices: Tensor = stacked.movedim((0, 1, 2), (-3, -2, -1))
    return torch.empty(matrices.shape, dtype=torch.float64, device=matrices.device).copy_(matrices)


def _chain_bias(first: Affine, second: Affine, size: Sequence[int] | None) -> Tensor | None:
    """Return b2 + what the second makes of b1; where its padding comes into it, as a map over the output's positions."""
    if first.bias is None:
        return second.bias
    dtype = first.weight.dtype
    if first.mapped or (second.padded and size is not None):
        map_size = first.bias.shape[1:] if first.mapped else first.output_size(size or ())
        constant = _along(first.bias.double(), 1 + first.dims).expand(-1, *map_size)
        seen = apply(replace(second, bias=None), constant[None])[0]
        return _plus(_vector(seen), second.bias, dtype)
    out, inputs = second.weight.shape[:2]
    summed = second.weight.double().reshape(out, inputs, -1).sum(2)
    per_group = summed.reshape(second.groups, -1, inputs) @ first.bias.double().reshape(second.groups, inputs, 1)
    return _plus(per_group.flatten(), second.bias, dtype)


def _vector(bias: Tensor) -> Tensor:
    """A map of one position as a plain bias; any other map as it is."""
    return bias.flatten() if bias[0].numel() == 1 else bias


def _plus(one: Tensor | None, other: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one.to(dtype)
    dims = max(one.ndim, other.ndim)
    return (_along(one.double(), dims) + _along(other.double(), dims)).to(dtype)


def _along(vector: Tensor, dims: int) -> Tensor:
    """Return [n] as [n, 1, ...] of `dims` dimensions; what has them already stays."""
    return vector.reshape(*vector.shape, *(1,) * (dims - vector.ndim))


def _require_same_dims(one: Affine, two: Affine) -> None:
    if one.dims != two.dims:
        raise FoldError(f"a layer over {one.dims} spatial dimensions meets one over {two.dims}")

"""The algebra of folding: affine layers as tensors, and what becomes of two when nothing non-linear lies between.

    chain     y = second(first(x))     one kernel: a matrix product per pair of taps
    parallel  y = left(x) + right(x)   one kernel: taps added where they meet
    scaled    y = scale * conv(x) + shift, per channel: a BatchNorm behind it
    cut       the same without outer taps that, at one input size, only ever meet padding
    cropped   the same without outer taps that do count: another function

A linear layer is a convolution without spatial dimensions, so each formula stands here once. All arithmetic is in
float64; results have the type that came in. On the `meta` device the same code gives shapes at no cost: this is how
folding is planned. Formulas hold for any stride, dilation, groups, rectangular kernel and asymmetric padding.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from harness.errors import FoldError

Pairs: TypeAlias = tuple[tuple[int, int], ...]  # two numbers per spatial dimension
_ALL = slice(None)


@dataclass(frozen=True)
class Affine:
    """A convolution (cross-correlation over a zero-padded input), or with no spatial dimensions a linear layer.

    `weight` is [out, in / groups, *kernel], `bias` [out]; `stride`, `dilation` and `padding` (before, after) have one
    entry per spatial dimension.
    """

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    padding: Pairs = ()
    groups: int = 1

    @property
    def kernel(self) -> tuple[int, ...]:
        """Taps per spatial dimension."""
        return tuple(self.weight.shape[2:])

    @property
    def dims(self) -> int:
        """Number of spatial dimensions."""
        return self.weight.ndim - 2

    @property
    def channels(self) -> tuple[int, int]:
        """Input and output channels."""
        return self.weight.shape[1] * self.groups, self.weight.shape[0]

    @property
    def weights(self) -> int:
        """Number of weights, biases included."""
        return self.weight.numel() + (0 if self.bias is None else self.bias.numel())

    @property
    def padded(self) -> bool:
        """Whether zeros are added around the input."""
        return any(before or after for before, after in self.padding)

    def on_meta(self) -> Affine:
        """The same layer without numbers."""
        bias = None if self.bias is None else self.bias.to("meta")
        return replace(self, weight=self.weight.to("meta"), bias=bias)

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Spatial size of the output for an input of spatial `size`."""
        spans = (step * (taps - 1) + 1 for taps, step in zip(self.kernel, self.dilation, strict=True))
        rows = zip(size, spans, self.stride, self.padding, strict=True)
        return tuple((length + sum(pads) - span) // stride + 1 for length, span, stride, pads in rows)


def identity(channels: int, dims: int) -> Affine:
    """The layer that changes nothing: a Dirac kernel, one channel per group (a shortcut without weights)."""
    ones, zeros = (1,) * dims, ((0, 0),) * dims
    return Affine(torch.ones(channels, 1, *ones, dtype=torch.float64), None, ones, ones, zeros, channels)


def scaled(layer: Affine, scale: Tensor, shift: Tensor) -> Affine:
    """Fold `scale * y + shift`, per output channel, into the layer that makes y."""
    per_output = scale.double().reshape(-1, *(1,) * (layer.weight.ndim - 1))
    bias = shift.double()
    if layer.bias is not None:
        bias = bias + scale.double() * layer.bias.double()
    dtype = layer.weight.dtype
    return replace(layer, weight=(layer.weight.double() * per_output).to(dtype), bias=bias.to(dtype))


def chain(first: Affine, second: Affine) -> Affine:
    """Merge `second` after `first`, with all padding moved before the first: P = p1 + s1 * p2.

    With per-dimension kernel k, stride s, dilation d and taps at a and b:

        W[u] = sum of W2[b] @ W1[a] over all a, b with d1 * a + s1 * d2 * b = u
        bias = b2 + sum over b of W2[b] @ b1,    stride = s1 * s2

    Equal to `second(first(x))` wherever `padding_is_exact`; otherwise to the pair with its padding moved in front
    (Kim et al. 2023). Where d1 and s1 * d2 share a factor, the merged kernel keeps it as its dilation. Groups
    survive as far as both have them (greatest common divisor). Raises FoldError if the channels do not meet.
    """
    _require_same_dims(first, second)
    if first.channels[1] != second.channels[0]:
        raise FoldError(f"{first.channels[1]} output channels meet {second.channels[0]} input channels")
    groups = math.gcd(first.groups, second.groups)
    reach = (s1 * d2 for s1, d2 in zip(first.stride, second.dilation, strict=True))  # of the second's taps, in x
    steps = tuple(zip(first.dilation, reach, strict=True))
    taps = tuple(zip(first.kernel, second.kernel, strict=True))
    dilation = tuple(_common((d1, k1), (d2, k2)) for (d1, d2), (k1, k2) in zip(steps, taps, strict=True))
    moves = tuple((d1 // g, d2 // g) for (d1, d2), g in zip(steps, dilation, strict=True))
    merged = _tap_products(_per_tap(first, groups), _per_tap(second, groups), taps, moves)
    weight = _from_taps(merged, first.weight.dtype)
    stride = tuple(s1 * s2 for s1, s2 in zip(first.stride, second.stride, strict=True))
    return Affine(weight, _chain_bias(first, second), stride, dilation, moved_padding(first, second), groups)


def moved_padding(first: Affine, second: Affine) -> Pairs:
    """All padding of a pair, moved before its first layer: p1 + s1 * p2 on each side."""
    rows = zip(first.padding, first.stride, second.padding, strict=True)
    return tuple((p1[0] + s1 * p2[0], p1[1] + s1 * p2[1]) for p1, s1, p2 in rows)


def padding_is_exact(first: Affine, second: Affine) -> bool:
    """Whether zero padding between the two equals padding before both.

    It does when there is none, or when the first is a 1x1 without bias: outside the image its output is zero anyway.
    """
    return not second.padded or (first.bias is None and math.prod(first.kernel) == 1)


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
    merged = one.new_zeros(*one.shape[:2], *(grid.taps for grid in grids))
    merged[_ALL, _ALL, *(grid.left for grid in grids)] += one
    merged[_ALL, _ALL, *(grid.right for grid in grids)] += two
    return Affine(
        merged.to(left.weight.dtype),
        _sum_bias(left, right),
        left.stride,
        tuple(grid.dilation for grid in grids),
        tuple(grid.padding for grid in grids),
        groups,
    )


def cut(layer: Affine, size: Sequence[int]) -> Affine:
    """Cut the outer taps that only ever meet padding on inputs of spatial `size`: exact, at this size alone."""
    weight, padding = layer.weight, list(layer.padding)
    for dim, length in enumerate(size):
        before, after = _dead_taps(layer, dim, length)
        weight = weight.narrow(2 + dim, before, layer.kernel[dim] - before - after)
        step, pads = layer.dilation[dim], layer.padding[dim]
        padding[dim] = (pads[0] - step * before, pads[1] - step * after)
    return replace(layer, weight=weight.contiguous(), padding=tuple(padding))


def cropped(layer: Affine, kernel: Sequence[int]) -> Affine:
    """Keep only the inner taps, at most `kernel` per dimension, and the output's size: an approximation.

    No more is cut off on a side than its padding allows. For two 3x3 convolutions this is what LayerFold (Pilo et al.,
    SoftwareX 2025) puts in their place.
    """
    weight, padding = layer.weight, list(layer.padding)
    for dim, (have, want) in enumerate(zip(layer.kernel, kernel, strict=True)):
        step, (before, after) = layer.dilation[dim], layer.padding[dim]
        spare = max(0, have - want)
        lead, trail = min(spare // 2, before // step), min(spare - spare // 2, after // step)
        weight = weight.narrow(2 + dim, lead, have - lead - trail)
        padding[dim] = (before - step * lead, after - step * trail)
    return replace(layer, weight=weight.contiguous(), padding=tuple(padding))


def _dead_taps(layer: Affine, dim: int, length: int) -> tuple[int, int]:
    """Count leading and trailing taps along `dim` that meet only padding, as many as the padding has room for."""
    step, stride, (before, after) = layer.dilation[dim], layer.stride[dim], layer.padding[dim]
    span = step * (layer.kernel[dim] - 1) + 1
    outputs = (length + before + after - span) // stride + 1
    reads = [
        range(step * tap - before, step * tap - before + stride * outputs, stride) for tap in range(layer.kernel[dim])
    ]
    alive = [tap for tap, positions in enumerate(reads) if any(0 <= position < length for position in positions)]
    if not alive:
        return 0, 0
    return min(alive[0], before // step), min(layer.kernel[dim] - 1 - alive[-1], after // step)


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


def _tap_products(one: Tensor, two: Tensor, taps: Pairs, moves: Pairs) -> Tensor:
    """Return the merged stack of matrices: at each of its taps, the sum of `two[b] @ one[a]` over all pairs that meet.

    `taps` and `moves` hold per dimension, for the first and the second layer, the taps and how far each one moves.
    """
    kernel = (a * (k1 - 1) + b * (k2 - 1) + 1 for (k1, k2), (a, b) in zip(taps, moves, strict=True))
    merged = one.new_zeros(*kernel, one.shape[-3], two.shape[-2], one.shape[-1])
    for pairs in itertools.product(*(itertools.product(range(k1), range(k2)) for k1, k2 in taps)):
        target = tuple(a * u + b * v for (a, b), (u, v) in zip(moves, pairs, strict=True))
        merged[target].baddbmm_(two[tuple(v for _, v in pairs)], one[tuple(u for u, _ in pairs)])
    return merged


def _regrouped(layer: Affine, groups: int) -> Tensor:
    """Return the weight as float64 [out, in / groups, *kernel] for fewer groups, a divisor of the layer's own.

    Groups that fall together become blocks on the diagonal of a larger one.
    """
    blocks = layer.groups // groups
    inputs, outputs = layer.weight.shape[1], layer.weight.shape[0] // layer.groups
    if blocks == 1:
        return layer.weight.double()
    small = layer.weight.double().reshape(groups, blocks, outputs, inputs, *layer.kernel)
    wide = small.new_zeros(groups, blocks, outputs, blocks, inputs, *layer.kernel)
    wide.diagonal(dim1=1, dim2=3).copy_(small.movedim(1, -1))
    return wide.reshape(groups * blocks * outputs, blocks * inputs, *layer.kernel)


def _per_tap(layer: Affine, groups: int) -> Tensor:
    """Return the weight as float64 [*kernel, groups, out / groups, in / groups]: a stack of matrices per tap."""
    weight = _regrouped(layer, groups)
    stacked = weight.reshape(groups, -1, *weight.shape[1:])
    matrices: Tensor = stacked.movedim((0, 1, 2), (-3, -2, -1))
    return matrices.contiguous()


def _from_taps(merged: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a stack of matrices per tap as a weight [out, in / groups, *kernel]."""
    weight: Tensor = merged.flatten(-3, -2).movedim((-2, -1), (0, 1)).to(dtype)
    return weight.contiguous()


def _chain_bias(first: Affine, second: Affine) -> Tensor | None:
    """Return b2 + sum over b of W2[b] @ b1, group by group."""
    if first.bias is None:
        return second.bias
    out, inputs = second.weight.shape[:2]
    summed = second.weight.double().reshape(out, inputs, -1).sum(2)
    per_group = summed.reshape(second.groups, -1, inputs) @ first.bias.double().reshape(second.groups, inputs, 1)
    bias: Tensor = per_group.flatten()
    if second.bias is not None:
        bias = bias + second.bias.double()
    return bias.to(first.weight.dtype)


def _sum_bias(left: Affine, right: Affine) -> Tensor | None:
    if left.bias is None or right.bias is None:
        return right.bias if left.bias is None else left.bias
    return (left.bias.double() + right.bias.double()).to(left.bias.dtype)


def _require_same_dims(one: Affine, two: Affine) -> None:
    if one.dims != two.dims:
        raise FoldError(f"a layer over {one.dims} spatial dimensions meets one over {two.dims}")

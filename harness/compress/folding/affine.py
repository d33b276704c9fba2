"""An affine layer as tensors: a convolution, or with no spatial dimensions a linear layer, a BatchNorm, a shortcut.

Everything that folding merges is one of these, so that each formula of the algebra stands once. On the `meta` device
the same code gives shapes at no cost: this is how folding is planned.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Pairs: TypeAlias = tuple[tuple[int, int], ...]  # two numbers per spatial dimension
_CONVOLVE = (functional.conv1d, functional.conv2d, functional.conv3d)


@dataclass(frozen=True)
class Affine:
    """A convolution (cross-correlation over a zero-padded input), or with no spatial dimensions a linear layer.

    `weight` is [out, in / groups, *kernel]; `stride`, `dilation` and `padding` (before, after) have one entry per
    spatial dimension. `bias` is [out], or at one input size a map [out, *size of the output]: another bias per position.
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
        """Whether zeros are added around the input. A negative padding takes its border off."""
        return any(before > 0 or after > 0 for before, after in self.padding)

    @property
    def cropped(self) -> bool:
        """Whether some of the input's border is taken off."""
        return any(before < 0 or after < 0 for before, after in self.padding)

    @property
    def mapped(self) -> bool:
        """Whether the bias is a map, so that the layer takes one input size alone."""
        return self.bias is not None and self.bias.ndim > 1

    @property
    def matrix(self) -> Tensor:
        """The weight of a linear layer as [out, in], its groups blocks on the diagonal."""
        if self.groups == 1:
            return self.weight
        blocks: Tensor = torch.block_diag(*self.weight.reshape(self.groups, -1, self.weight.shape[1]))  # type: ignore[no-untyped-call]
        return blocks

    def on_meta(self) -> Affine:
        """The same layer without numbers."""
        return replace(self, weight=self.weight.to("meta"), bias=None if self.bias is None else self.bias.to("meta"))

    def lifted(self, dims: int) -> Affine:
        """A linear layer as a convolution of one tap over `dims` dimensions; a convolution stays itself."""
        if self.dims == dims:
            return self
        ones = (1,) * dims
        weight = self.weight.reshape(*self.weight.shape, *ones)
        return Affine(weight, self.bias, ones, ones, ((0, 0),) * dims, self.groups)

    def over(self, size: Sequence[int]) -> Affine:
        """A linear layer that reads a flattened image of spatial `size`, as the convolution of that kernel."""
        ones = (1,) * len(size)
        weight = self.weight.reshape(self.weight.shape[0], -1, *size)
        return Affine(weight, self.bias, ones, ones, ((0, 0),) * len(size))

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Spatial size of the output for an input of spatial `size`."""
        spans = (step * (taps - 1) + 1 for taps, step in zip(self.kernel, self.dilation, strict=True))
        rows = zip(size, spans, self.stride, self.padding, strict=True)
        return tuple((length + sum(pads) - span) // stride + 1 for length, span, stride, pads in rows)


def identity(channels: int, dims: int) -> Affine:
    """The layer that changes nothing: a Dirac kernel, one channel per group (a shortcut without weights)."""
    ones, zeros = (1,) * dims, ((0, 0),) * dims
    return Affine(torch.ones(channels, 1, *ones, dtype=torch.float64), None, ones, ones, zeros, channels)


def mean(channels: int, kernel: Sequence[int], stride: Sequence[int], padding: Pairs, dtype: torch.dtype) -> Affine:
    """Average pooling, padding counted: a depthwise convolution whose taps are all equal."""
    weight = torch.full((channels, 1, *kernel), 1 / math.prod(kernel), dtype=dtype)
    return Affine(weight, None, tuple(stride), (1,) * len(kernel), padding, channels)


def apply(layer: Affine, x: Tensor) -> Tensor:
    """Return the layer's output for `x` [N, in, *size], in the type of `x`."""
    weight, bias = layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype)
    vector = None if layer.mapped else bias
    if layer.dims == 0:
        return functional.linear(x, layer.matrix.to(x.dtype), vector)
    convolve = _CONVOLVE[layer.dims - 1]
    padded = pad(x, layer.padding) if layer.padded or layer.cropped else x
    y = convolve(padded, weight, vector, layer.stride, 0, layer.dilation, layer.groups)
    return y + bias if bias is not None and layer.mapped else y


def adjoint(layer: Affine, rows: Tensor, size: Sequence[int]) -> Tensor:
    """Return what an input of spatial `size` contributes to `rows` of a layer's output: the transposed map, without bias.

    `rows` is [rows, *size of the output, out], the result [rows, *size, in]; float64. Tap by tap, over those positions
    alone for which the tap lies inside the image.
    """
    weight = layer.weight.double()
    weight = weight.reshape(layer.groups, -1, *weight.shape[1:])  # [groups, out / groups, in / groups, *kernel]
    pulled = rows.new_zeros(rows.shape[0], *size, layer.groups, weight.shape[2])
    grouped = rows.reshape(*rows.shape[:-1], layer.groups, -1)
    for tap in itertools.product(*map(range, layer.kernel)):
        reads = [_inside(layer, dim, tap[dim], size[dim], rows.shape[1 + dim]) for dim in range(layer.dims)]
        if all(len(outputs) for outputs, _ in reads):
            seen = grouped[(slice(None), *(slice(one.start, one.stop) for one, _ in reads))]
            where = (slice(None), *(slice(at.start, at.stop, at.step) for _, at in reads))
            kernel: Any = (..., *tap)
            pulled[where] += torch.einsum("...go,goi->...gi", seen, weight[kernel])
    return pulled.flatten(-2)


def _inside(layer: Affine, dim: int, tap: int, length: int, outputs: int) -> tuple[range, range]:
    """Along one dimension, the outputs for which a tap lies inside the image, and the positions that it reads for them."""
    stride, first = layer.stride[dim], layer.dilation[dim] * tap - layer.padding[dim][0]
    alive = range(max(0, -(first // stride)), min(outputs, (length - 1 - first) // stride + 1))
    return alive, range(stride * alive.start + first, stride * (alive.stop - 1) + first + 1, stride)


def pad(x: Tensor, sides: Pairs) -> Tensor:
    """Return `x` with zeros (or, where a number is negative, with less) on both sides of its last dimensions."""
    return functional.pad(x, [length for pair in reversed(sides) for length in pair])

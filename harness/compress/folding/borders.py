"""Two layers as one across the padding between them, exact at one input size: `forms=("ring",)` and `("border",)`.

The second layer pads the first one's output with zeros; one merged kernel would see there what the first makes of the
surroundings (its bias, and what its taps reach of the image). Two ways out, beside moving the padding:

    ring     the merged layer everywhere, less what the second would make of that surrounding ring
    border   a kernel of its own for each class of positions, by which of the second's taps lie inside the image

Both take more weights, and many small operators: good on large maps on a CPU, seldom elsewhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor, nn

from harness.compress.folding.affine import Affine, Pairs, pad
from harness.compress.folding.layers import to_module
from harness.compress.folding.merge import chain, moved_padding
from harness.compress.folding.taps import cut
from harness.errors import FoldError

Box: TypeAlias = tuple[range, ...]  # positions, one range per spatial dimension; they may lie outside the image


class BorderClasses(nn.Module):
    """`second(first(x))` put together from one merged layer per class of positions.

    Raises FoldError where some positions see nothing but padding.
    """

    def __init__(self, first: Affine, second: Affine, size: Sequence[int]) -> None:
        super().__init__()
        grid = [list(_classes(second, dim, length)) for dim, length in enumerate(first.output_size(size))]
        self.counts = tuple(map(len, grid))
        self.parts = nn.ModuleList(_part(first, second, size, choice) for choice in itertools.product(*grid))

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for `x`, of the size that the module was made for."""
        tiles: list[Tensor] = [part(x) for part in self.parts]
        for dim, count in reversed(list(enumerate(self.counts, start=2))):
            tiles = [torch.cat(tiles[at : at + count], dim) for at in range(0, len(tiles), count)]
        (whole,) = tiles
        return whole


class RingCorrection(nn.Module):
    """`second(first(x))` as one merged layer, less what the second makes of the first's values outside the image."""

    def __init__(self, first: Affine, second: Affine, size: Sequence[int]) -> None:
        super().__init__()
        plain = chain(_unpadded(first), _unpadded(second))
        self.merged = to_module(replace(plain, padding=moved_padding(first, second)))
        self.first = to_module(_unpadded(first))
        self.second = to_module(replace(_unpadded(second), bias=None))
        self.sides = tuple(_sides(first, second, size))

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for `x`, of the size that the module was made for."""
        y: Tensor = self.merged(x)
        for side in self.sides:
            ring = self.first(_seen(x, side.window))
            y = y - pad(self.second(_shifted(ring, side.embedded)), side.placed)
        return y


@dataclass(frozen=True)
class _Class:
    """Along one dimension: neighbouring outputs for which the same taps of the second layer lie inside the image."""

    outputs: range
    taps: range


@dataclass(frozen=True)
class _Side:
    """One side of the ring: what the first layer reads for it, where it lies for the second, and what outputs see it."""

    window: Box
    embedded: Pairs
    placed: Pairs


class _Part(nn.Module):
    """A layer of its own over a part of the input."""

    def __init__(self, layer: Affine, window: Box, size: Sequence[int]) -> None:
        super().__init__()
        inside, sides = _clipped(window, size)
        if any(len(part) == 0 for part in inside):
            raise FoldError("some positions see nothing but padding")
        self.inside = tuple((part.start, len(part)) for part in inside)
        self.layer = to_module(cut(replace(layer, padding=sides), [len(part) for part in inside]))

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output for its part of `x`."""
        for dim, (start, length) in enumerate(self.inside, start=2):
            x = x.narrow(dim, start, length)
        output: Tensor = self.layer(x)
        return output


def _part(first: Affine, second: Affine, size: Sequence[int], choice: Sequence[_Class]) -> _Part:
    weight = second.weight
    for dim, one in enumerate(choice, start=2):
        weight = weight.narrow(dim, one.taps.start, len(one.taps))
    narrowed = replace(_unpadded(second), weight=weight)
    layer = chain(_unpadded(first), narrowed)
    rows = zip(choice, first.stride, first.padding, second.dilation, second.padding, strict=True)
    before = tuple((p1[0] + s1 * (p2[0] - d2 * one.taps.start), 0) for one, s1, p1, d2, p2 in rows)
    window = _window(replace(layer, padding=before), tuple(one.outputs for one in choice))
    return _Part(layer, window, size)


def _classes(second: Affine, dim: int, length: int) -> Iterator[_Class]:
    """Yield the classes of outputs along `dim`, over a first layer's output of `length`."""
    step, stride, (before, after) = second.dilation[dim], second.stride[dim], second.padding[dim]
    span = step * (second.kernel[dim] - 1) + 1
    outputs = range((length + before + after - span) // stride + 1)

    def alive(output: int) -> tuple[int, ...]:
        at = stride * output - before
        return tuple(tap for tap in range(second.kernel[dim]) if 0 <= at + step * tap < length)

    for taps, group in itertools.groupby(outputs, key=alive):
        if not taps:
            raise FoldError("some positions see nothing but padding")
        own = list(group)
        yield _Class(range(own[0], own[-1] + 1), range(taps[0], taps[-1] + 1))


def _sides(first: Affine, second: Affine, size: Sequence[int]) -> Iterator[_Side]:
    """Yield the sides of the ring around the first layer's output, corners once, each where some output sees it."""
    between = first.output_size(size)
    outputs = second.output_size(between)
    inner = [range(length) for length in between]
    outer = [range(-a, length + b) for length, (a, b) in zip(between, second.padding, strict=True)]
    for dim, (own, whole) in enumerate(zip(inner, outer, strict=True)):
        for part in (range(whole.start, 0), range(own.stop, whole.stop)):
            box = (*inner[:dim], part, *outer[dim + 1 :])
            seeing = tuple(_seeing(second, at, *pair) for at, pair in enumerate(zip(box, outputs, strict=True)))
            if all(map(len, box)) and all(map(len, seeing)):
                yield _side(first, second, box, seeing, outputs)


def _seeing(second: Affine, dim: int, part: range, count: int) -> range:
    """The outputs along `dim` of which some tap may lie in `part`."""
    stride, before, reach = second.stride[dim], second.padding[dim][0], second.dilation[dim] * (second.kernel[dim] - 1)
    return range(max(0, -((reach - part.start - before) // stride)), min(count, (part.stop - 1 + before) // stride + 1))


def _side(first: Affine, second: Affine, box: Box, seeing: Box, outputs: Sequence[int]) -> _Side:
    window = _window(first, box)
    read = _window(second, seeing)
    embedded = tuple((part.start - all_.start, all_.stop - part.stop) for part, all_ in zip(box, read, strict=True))
    placed = tuple((part.start, count - part.stop) for part, count in zip(seeing, outputs, strict=True))
    return _Side(window, embedded, placed)


def _window(layer: Affine, outputs: Box) -> Box:
    """The positions of its input that a layer reads for these positions of its output."""
    rows = zip(outputs, layer.stride, layer.padding, layer.dilation, layer.kernel, strict=True)
    return tuple(
        range(stride * part.start - before, stride * (part.stop - 1) - before + step * (taps - 1) + 1)
        for part, stride, (before, _), step, taps in rows
    )


def _clipped(window: Box, size: Sequence[int]) -> tuple[Box, Pairs]:
    """The part of a window that lies inside the image, and how far the window reaches beyond it on both sides."""
    inside = tuple(
        range(min(max(part.start, 0), length), min(max(part.stop, 0), length))
        for part, length in zip(window, size, strict=True)
    )
    sides = tuple(
        (max(0, min(own.start, part.stop) - part.start), max(0, part.stop - max(own.stop, part.start)))
        for own, part in zip(inside, window, strict=True)
    )
    return inside, sides


def _seen(x: Tensor, window: Box) -> Tensor:
    """Return the window of `x`, with zeros where it lies outside."""
    inside, sides = _clipped(window, x.shape[2:])
    for dim, part in enumerate(inside, start=2):
        x = x.narrow(dim, part.start, len(part))
    return pad(x, sides)


def _shifted(x: Tensor, sides: Pairs) -> Tensor:
    """Return `x` with zeros around it; a negative number takes away what no output reads."""
    for dim, (before, after) in enumerate(sides, start=2):
        start, stop = max(0, -before), x.shape[dim] - max(0, -after)
        x = x.narrow(dim, start, stop - start)
    return pad(x, tuple((max(0, before), max(0, after)) for before, after in sides))


def _unpadded(layer: Affine) -> Affine:
    if layer.mapped or layer.cropped:
        raise FoldError(
            "a bias that differs from position to position, or a cropped image, is not taken across padding"
        )
    return replace(layer, padding=((0, 0),) * layer.dims)

"""Taps that can go: those that only ever meet padding (exact, at one size), and those that are to go anyway.

cut      without outer taps that, at one input size, only ever meet padding
cropped  without outer taps that do count: another function
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.compress.folding.affine import Affine


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
        lead = max(0, min(spare // 2, before // step))
        trail = max(0, min(spare - spare // 2, after // step))
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
    lead, trail = alive[0], layer.kernel[dim] - 1 - alive[-1]
    return max(0, min(lead, before // step)), max(0, min(trail, after // step))

"""Taps that can go: those that hold zeros (exact), only ever meet padding (exact, at one size), or are to go anyway.

trimmed  without outer taps whose weights are all 0
cut      without outer taps that, at one input size, only ever meet padding
cropped  without outer taps that do count: another function
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from harness.compress.folding.affine import Affine


def trimmed(layer: Affine) -> Affine:
    """Cut the outer taps whose weights are all 0; what padding they reached into goes too, or some of the border: exact.

    Pruning leaves such layers. As wide as they were, they would widen what they merge into for nothing.
    """
    weight, padding = layer.weight, list(layer.padding)
    for dim, (before, after) in enumerate(layer.padding):
        if layer.kernel[dim] == 1 or _has_live_ends(weight[:1], 2 + dim):  # one filter tells of most layers
            continue
        taps = weight.shape[2 + dim]
        alive = weight.ne(0).movedim(2 + dim, 0).flatten(1).any(dim=1).nonzero().flatten().tolist() or [taps // 2]
        weight = weight.narrow(2 + dim, alive[0], alive[-1] - alive[0] + 1)
        step = layer.dilation[dim]
        padding[dim] = (before - step * alive[0], after - step * (taps - 1 - alive[-1]))
    return layer if weight is layer.weight else replace(layer, weight=weight.contiguous(), padding=tuple(padding))


def _has_live_ends(weight: Tensor, dim: int) -> bool:
    """Whether the first and the last tap along a dimension have a weight that is not 0."""
    return all(bool(weight.select(dim, tap).any()) for tap in (0, -1))


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

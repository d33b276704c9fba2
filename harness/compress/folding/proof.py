"""How far two networks differ, measured on inputs."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from harness.compress.folding import trace
from harness.compress.folding.trace import Example
from harness.errors import FoldError
from harness.records import Flip

BATCH = 2
_NEARBY = 0.97  # of an example, where noise lies outside of what a network takes


def difference(original: nn.Module, other: nn.Module, example: Example) -> float:
    """Return the relative max-abs difference of outputs, on the example's first two entries and on noise like them.

    Relative to the largest absolute output of `original`; infinite where `other` gives what is not finite. Raises
    FoldError if an output of `original` is not finite, or if the outputs are not of the same number and shapes.
    """
    few = _few(example)
    noise = tuple(_noise(x) for x in few)
    if not all(tensor.isfinite().all() for tensor in _tensors(trace.run(original, noise))):
        noise = tuple(x * _NEARBY if x.is_floating_point() else x for x in few)  # noise is nothing to this network
    return max(_difference(original, other, inputs, what) for inputs, what in ((few, "the example"), (noise, "noise")))


def _few(example: Example) -> tuple[Tensor, ...]:
    """The first entries of what has as many entries as the first input; the rest as it is."""
    inputs = trace.inputs_of(example)
    return tuple(x[:BATCH] if x.ndim and x.shape[0] == inputs[0].shape[0] else x for x in inputs)


def rounding(network: nn.Module, example: Example) -> float:
    """Return how far a float32 network's outputs are from its own in float64, relative to the largest."""
    few = _few(example)
    wide = tuple(x.double() if x.is_floating_point() else x for x in few)
    expected = _tensors(trace.run(copy.deepcopy(network).double(), wide))
    found = _tensors(trace.run(network, few))
    scale = max(map(_largest, expected), default=0.0)
    worst = max((_largest(one - two) for one, two in zip(expected, found, strict=True)), default=0.0)
    return worst / scale if scale > 0 else worst


def flipped(original: nn.Module, other: nn.Module, example: Example) -> tuple[Flip, ...]:
    """Return the example's entries whose prediction differs; none where the output is no single tensor [N, classes]."""
    expected, found = (_tensors(trace.run(network, example)) for network in (original, other))
    if len(expected) != 1 or expected[0].ndim != 2 or expected[0].shape[1] < 2:
        return ()
    best = expected[0].topk(2, dim=1).values
    error = (expected[0] - found[0]).abs().amax(1)
    differing = (expected[0].argmax(1) != found[0].argmax(1)).nonzero().flatten().tolist()
    return tuple(Flip(at, float(best[at, 0] - best[at, 1]), float(error[at])) for at in differing)


def _difference(original: nn.Module, other: nn.Module, inputs: tuple[Tensor, ...], what: str) -> float:
    expected, found = (_tensors(trace.run(network, inputs)) for network in (original, other))
    _require_finite(original, expected, what)
    if [tensor.shape for tensor in expected] != [tensor.shape for tensor in found]:
        raise FoldError("the folded network's outputs have other shapes")
    if not all(tensor.isfinite().all() for tensor in found):
        return math.inf  # NaN would pass every comparison by its size
    scale = max(_largest(tensor) for tensor in expected)
    worst = max(_largest(one - two) for one, two in zip(expected, found, strict=True))
    return worst / scale if scale > 0 else worst


def _require_finite(network: nn.Module, outputs: list[Tensor], what: str) -> None:
    name = type(network).__name__
    if not outputs:
        raise FoldError(f"{name} gives no floating-point tensor; nothing can be proved about it")
    for place, tensor in enumerate(outputs):
        if not tensor.isfinite().all():
            raise FoldError(f"output {place} of {name} is not finite on {what}; nothing can be proved about it")


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def _noise(x: Tensor) -> Tensor:
    """Return standard normal noise from a fixed seed; inputs that are no real numbers (tokens, masks) stay."""
    if not x.is_floating_point():
        return x
    generator = torch.Generator().manual_seed(0)
    return torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)


def _tensors(output: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]

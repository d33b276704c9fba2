"""How far two networks differ, measured on inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from harness.compress.folding import trace
from harness.compress.folding.trace import Example
from harness.errors import FoldError

BATCH = 2


def difference(reference: nn.Module, other: nn.Module, example: Example) -> float:
    """Return the relative max-abs difference of outputs, on the example's first two entries and on noise like them.

    Relative to the largest absolute output of `reference`. Raises FoldError if an output of it is not finite.
    """
    few = tuple(x[:BATCH] for x in trace.inputs_of(example))
    return max(_difference(reference, other, inputs) for inputs in (few, tuple(_noise(x) for x in few)))


def _difference(reference: nn.Module, other: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    expected, found = (_tensors(trace.run(network, inputs)) for network in (reference, other))
    if not all(torch.isfinite(tensor).all() for tensor in expected):
        raise FoldError("the network's output is not finite; nothing can be proved about it")
    pairs = list(zip(expected, found, strict=True))
    if any(one.shape != two.shape for one, two in pairs):
        raise FoldError("the folded network's outputs have other shapes")
    scale = max(float(one.abs().max()) for one, _ in pairs)
    worst = max(float((one - two).abs().max()) for one, two in pairs)
    return worst / scale if scale > 0 else worst


def _noise(x: Tensor) -> Tensor:
    """Return standard normal noise from a fixed seed; inputs that are no real numbers (tokens, masks) stay."""
    if not x.is_floating_point():
        return x
    generator = torch.Generator().manual_seed(0)
    return torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)


def _tensors(output: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]

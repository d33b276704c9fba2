"""How merged weights lie within number formats: merging multiplies scales, and some products suit no int8 or float16."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from harness.records import Spread

_LEVELS = 127  # of a symmetric int8 on each side of zero
_UNIFORM = math.sqrt(12)  # a rounding error is spread evenly over one step
WORSE, NOTABLE_INT8 = 2.0, 0.02  # times the layers' worst; relative error of weights


def spread(weight: Tensor) -> Spread | None:
    """Describe a weight [out, ...]; None if all of it is zero, or it has no numbers.

    Rounding errors are those of a uniform error over a step of max / 127: step / sqrt(12), relative to the weights' rms.
    """
    if weight.is_meta or not weight.numel():
        return None
    rows = weight.detach().flatten(1)
    largest = torch.maximum(rows.amax(1), -rows.amin(1)).double()
    norm = float(torch.linalg.vector_norm(torch.linalg.vector_norm(rows, dim=1).double()))
    alive = largest[largest > 0]
    if norm == 0 or not len(alive):
        return None
    per_row = _LEVELS * _UNIFORM * norm / math.sqrt(rows.shape[1])
    half = torch.finfo(torch.float16)
    lost = (alive > half.max) | (alive < half.smallest_normal)
    return Spread(
        channels=float(alive.max() / alive.min()),
        int8_channel=float(torch.linalg.vector_norm(largest)) / per_row,
        int8_tensor=float(largest.max()) * math.sqrt(len(rows)) / per_row,
        fp16_lost=float(lost.double().mean()),
    )


def worst(weights: Iterable[Tensor]) -> Spread | None:
    """Return the worst that any of several layers has, figure by figure."""
    known = [one for one in map(spread, weights) if one is not None]
    if not known:
        return None
    columns = zip(*((one.channels, one.int8_channel, one.int8_tensor, one.fp16_lost) for one in known), strict=True)
    return Spread(*map(max, columns))


def weights(module: nn.Module) -> list[Tensor]:
    """Return the kernels and matrices of a module."""
    return [parameter for name, parameter in module.named_parameters() if name.rpartition(".")[2] == "weight"]


def suffers(before: Spread | None, after: Spread | None) -> tuple[str, ...]:
    """Name the number formats in which merged weights are likely to lose: worse than any of the layers, and notably."""
    if before is None or after is None:
        return ()
    found = {
        "float16": after.fp16_lost > before.fp16_lost,
        "int8 per channel": after.int8_channel > max(NOTABLE_INT8, WORSE * before.int8_channel),
        "int8 per tensor": after.int8_tensor > max(NOTABLE_INT8, WORSE * before.int8_tensor),
    }
    return tuple(name for name, does in found.items() if does)

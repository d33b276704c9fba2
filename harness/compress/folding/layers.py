"""Torch modules as affine layers and back, and the merges of two modules that people call by themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from harness.compress.folding.affine import Affine, Pairs
from harness.compress.folding.kinds import CONVS, NORMS
from harness.compress.folding.merge import chain, scaled
from harness.errors import FoldError

Conv: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d
Norm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm

# Typed loosely: torch's own types differ per number of dimensions.
_BY_DIMS: dict[int, tuple[Any, Any]] = {
    1: (nn.Conv1d, nn.ZeroPad1d),
    2: (nn.Conv2d, nn.ZeroPad2d),
    3: (nn.Conv3d, nn.ZeroPad3d),
}


def merge_conv_bn(conv: Conv, norm: Norm) -> Conv:
    """Return one convolution equal to `norm(conv(x))` in eval mode; stride, dilation, groups and padding are kept.

    W' = s * W, b' = s * (b - mean) + beta, with s = gamma / sqrt(var + eps). Raises FoldError if the BatchNorm keeps
    no running statistics.
    """
    merged = to_module(scaled(affine(conv), *scale_and_shift(norm)))
    assert isinstance(merged, CONVS)
    return merged


def merge_conv_conv(first: Conv, second: Conv) -> Conv:
    """Return one convolution for `second(first(x))`, with all padding before it (P = p1 + s1 * p2).

    Kernel d1 * (k1 - 1) + s1 * d2 * (k2 - 1) + 1, stride s1 * s2. Equal to the pair where the second is not padded,
    or the first is a 1x1 without bias; otherwise equal to the pair after `pad_first`. Raises FoldError for layers
    that are no plain zero-padded convolutions, or do not fit each other.
    """
    merged = to_module(chain(affine(first), affine(second)))
    if not isinstance(merged, CONVS):
        raise FoldError("the merged padding is not the same on both sides; no single module holds it")
    return merged


def merge_linear_linear(first: nn.Linear, second: nn.Linear) -> nn.Linear:
    """Return one linear layer equal to `second(first(x))`: W = W2 W1, b = W2 b1 + b2. Raises FoldError on misfit."""
    merged = to_module(chain(affine(first), affine(second)))
    assert isinstance(merged, nn.Linear)
    return merged


def affine(module: nn.Module, dims: int | None = None) -> Affine:
    """Return a convolution, linear layer or BatchNorm (over `dims` spatial dimensions) as an affine layer.

    Tensors are the module's own, not copies. Raises FoldError, with the reason, for any other module.
    """
    if isinstance(module, nn.Linear):
        return Affine(module.weight.detach(), _detached(module.bias))
    if isinstance(module, CONVS):
        return _affine_conv(module)
    if isinstance(module, NORMS) and dims is not None:
        scale, shift = scale_and_shift(module)
        ones = (1,) * dims
        return Affine(scale.reshape(-1, 1, *ones), shift, ones, ones, ((0, 0),) * dims, module.num_features)
    raise FoldError(f"{type(module).__name__} is not a layer that can be merged")


def scale_and_shift(norm: Norm) -> tuple[Tensor, Tensor]:
    """Return what a BatchNorm in eval mode multiplies by and adds, per channel, in float64."""
    if norm.running_mean is None or norm.running_var is None:
        raise FoldError("BatchNorm without running statistics depends on the batch and cannot be folded")
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    shift = -scale * norm.running_mean.double()
    if norm.bias is not None:
        shift = shift + norm.bias.detach().double()
    return scale, shift


class BiasMap(nn.Module):
    """Adds a bias of its own to every position of an image."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` [N, C, *size] plus the map [C, *size]."""
        return x + self.bias


def to_module(layer: Affine) -> nn.Module:
    """Return the module of an affine layer.

    Where padding differs between two sides, a zero padding goes before it; a bias that is a map is added behind it.
    """
    if layer.bias is not None and layer.mapped:
        return nn.Sequential(*_steps(replace(layer, bias=None)), BiasMap(layer.bias))
    steps = _steps(layer)
    return steps[0] if len(steps) == 1 else nn.Sequential(*steps)


def _steps(layer: Affine) -> list[nn.Module]:
    if layer.dims == 0:
        return [_linear(layer)]
    apart = layer.cropped or any(before != after for before, after in layer.padding)
    padding = (0,) * layer.dims if apart else tuple(before for before, _ in layer.padding)
    conv: nn.Module = _BY_DIMS[layer.dims][0](
        *layer.channels,
        kernel_size=layer.kernel,
        stride=layer.stride,
        padding=padding,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias is not None,
        device="meta",
    )
    _fill(conv, layer)
    return [padding_module(layer.padding), conv] if apart else [conv]


def padding_module(sides: Pairs) -> nn.Module:
    """Return what puts zeros around an image, or, where a number is negative, takes its border off."""
    module: nn.Module = _BY_DIMS[len(sides)][1](tuple(length for pair in reversed(sides) for length in pair))
    return module


def norm_at(network: nn.Module, path: str) -> Norm:
    """Return the BatchNorm at a path."""
    norm = network.get_submodule(path)
    assert isinstance(norm, NORMS)
    return norm


def _linear(layer: Affine) -> nn.Linear:
    linear = nn.Linear(*layer.channels, bias=layer.bias is not None, device="meta")
    _fill(linear, replace(layer, weight=layer.matrix))
    return linear


def _fill(module: nn.Module, layer: Affine) -> None:
    module.register_parameter("weight", nn.Parameter(layer.weight))
    module.register_parameter("bias", None if layer.bias is None else nn.Parameter(layer.bias))


def _affine_conv(conv: Conv) -> Affine:
    if conv.padding_mode != "zeros":
        raise FoldError(f"padding mode {conv.padding_mode} does not move through a convolution")
    bias = _detached(conv.bias)
    return Affine(conv.weight.detach(), bias, conv.stride, conv.dilation, _padding(conv), conv.groups)


def _padding(conv: Conv) -> tuple[tuple[int, int], ...]:
    if conv.padding == "valid":
        return ((0, 0),) * len(conv.kernel_size)
    if isinstance(conv.padding, str):  # "same": torch puts the odd zero behind
        totals = (step * (taps - 1) for taps, step in zip(conv.kernel_size, conv.dilation, strict=True))
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((pad, pad) for pad in conv.padding)


def _detached(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.detach()


def require_finite(network: nn.Module) -> None:
    """Raise FoldError, naming the tensor, if a weight or statistic is NaN or infinite."""
    statistics = (pair for pair in network.named_buffers() if "running_" in pair[0])  # a mask may well be infinite
    for name, tensor in (*network.named_parameters(), *statistics):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise FoldError(f"{name} holds values that are NaN or infinite", "Load a finished checkpoint.")

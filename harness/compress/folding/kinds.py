"""The kinds of modules that folding tells apart."""

from __future__ import annotations

from torch import nn

from harness.compress.folding.blends import Blend

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
WEIGHTED = (*CONVS, *TRANSPOSED, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
ADAPTIVE_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
PADS = (nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)

# What passes values through unchanged in eval mode.
TRANSPARENT = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)

# Element-wise non-linearities; gates (sigmoid, hard sigmoid) and softmax steer other values and are not among them.
_ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Hardtanh,
    nn.Softplus,
    nn.Tanh,
    Blend,
)
# Classes of the same functions outside torch: timm's and transformers' own.
_NAMES = frozenset(
    """
    GELU GELUTanh QuickGELU GELUActivation NewGELUActivation FastGELUActivation QuickGELUActivation PytorchGELUTanh
    SiLUActivation Swish SwishMe HardSwish HardSwishMe HardMish HardMishMe Mish MishMe MishActivation Tanh PReLU
    """.split()  # noqa: SIM905 (quotes around each would only hide them)
)


def is_activation(module: nn.Module | None) -> bool:
    """Whether a module is an element-wise non-linearity: one of torch's, or a class of such a name without submodules."""
    named = type(module).__name__ in _NAMES and module is not None and not list(module.children())
    return isinstance(module, _ACTIVATIONS) or named

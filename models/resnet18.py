"""ResNet-18, for small images as the depth-reduction papers use it: `harness run --model resnet18`.

140.19 M MACs for one image of 3x32x32 and ten classes, where the four stages run at 16, 8, 4 and 2 pixels; 1.814 G for one of
3x224x224 and a thousand classes, where the stem is the original one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from models._resnet import resnet, scaled
else:
    from _resnet import resnet, scaled

TASK = "digits"
DEPTHS = (2, 2, 2, 2)
WIDTHS = (64, 128, 256, 512)


def build(weights: str | None = None, classes: int = 10, shape: Sequence[int] = (3, 32, 32)) -> nn.Module:
    """Return the network, with the weights of a state_dict file or freshly drawn ones."""
    return resnet(DEPTHS, WIDTHS, weights, classes, shape)


def controls(classes: int, shape: Sequence[int]) -> dict[str, nn.Module]:
    """Return untrained networks that are shallower or narrower from the start: what folding has to beat in latency."""
    return {
        "resnet10": resnet((1, 1, 1, 1), WIDTHS, None, classes, shape),
        "resnet18-w0.75": resnet(DEPTHS, scaled(WIDTHS, 0.75), None, classes, shape),
        "resnet18-w0.5": resnet(DEPTHS, scaled(WIDTHS, 0.5), None, classes, shape),
    }

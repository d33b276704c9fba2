"""ResNet-50: `harness run --model resnet50`.

Bottlenecks: merging a 1x1, a 3x3 and a 1x1 around a middle a quarter as wide makes more work, not less. 4.089 G MACs for one
image of 3x224x224.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from models._resnet import Bottleneck, resnet, scaled
else:
    from _resnet import Bottleneck, resnet, scaled

TASK = "digits"
DEPTHS = (3, 4, 6, 3)
WIDTHS = (64, 128, 256, 512)


def build(weights: str | None = None, classes: int = 10, shape: Sequence[int] = (3, 32, 32)) -> nn.Module:
    """Return the network, with the weights of a state_dict file or freshly drawn ones."""
    return resnet(DEPTHS, WIDTHS, weights, classes, shape, Bottleneck)


def controls(classes: int, shape: Sequence[int]) -> dict[str, nn.Module]:
    """Return untrained networks that are shallower or narrower from the start: what folding has to beat in latency."""
    return {
        "resnet26": resnet((2, 2, 2, 2), WIDTHS, None, classes, shape, Bottleneck),
        "resnet50-w0.75": resnet(DEPTHS, scaled(WIDTHS, 0.75), None, classes, shape, Bottleneck),
        "resnet50-w0.5": resnet(DEPTHS, scaled(WIDTHS, 0.5), None, classes, shape, Bottleneck),
    }

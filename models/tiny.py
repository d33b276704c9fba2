"""Three residual blocks of 8 and 16 channels: everything ResNet-18 has, in seconds. `harness run --model tiny`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from models._resnet import resnet, scaled
else:
    from _resnet import resnet, scaled

TASK = "tiny"
DEPTHS = (2, 1)
WIDTHS = (8, 16)


def build(weights: str | None = None, classes: int = 10, shape: Sequence[int] = (3, 16, 16)) -> nn.Module:
    """Return the network, with the weights of a state_dict file or freshly drawn ones."""
    return resnet(DEPTHS, WIDTHS, weights, classes, shape)


def controls(classes: int, shape: Sequence[int]) -> dict[str, nn.Module]:
    """Return untrained networks that are shallower or narrower from the start: what folding has to beat in latency."""
    return {
        "tiny-shallow": resnet((1, 1), WIDTHS, None, classes, shape),
        "tiny-w0.5": resnet(DEPTHS, scaled(WIDTHS, 0.5, multiple=4), None, classes, shape),
    }

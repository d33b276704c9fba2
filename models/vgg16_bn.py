"""VGG-16 with BatchNorm: `harness run --model vgg16_bn`.

Simonyan & Zisserman (2015). Small images (below 64 pixels) get one linear layer as head; larger ones, and weights that have
them, the papers' three with 4096 units. Names of parameters are torchvision's, `classifier` aside where it is one layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from models._resnet import SMALL, scaled
else:
    from _resnet import SMALL, scaled

TASK = "digits"
POOL = 0  # in a plan: a max-pool of 2x2 instead of a convolution of so many channels
PLAN = (64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512, POOL)
SHALLOW = (64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512, POOL)  # VGG-11


class VGG(nn.Module):
    """3x3 convolutions by a plan of widths, then a head: one linear layer (`hidden` 0), or three with `hidden` units."""

    def __init__(self, plan: Sequence[int], classes: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*_features(plan, channels))
        self.avgpool = nn.AdaptiveAvgPool2d(7 if hidden else 1)
        self.classifier = _head(plan[-2], classes, hidden)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, channels, H, W], H and W at least 32, to logits [N, classes]."""
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return logits


def build(
    weights: str | None = None, classes: int = 10, shape: Sequence[int] = (3, 32, 32), hidden: int | None = None
) -> VGG:
    """Return the network, with the weights of a state_dict file or freshly drawn ones.

    `hidden` units in the papers' head, 0 for one linear layer; None decides by the weights, else by the size of the images.
    """
    if weights is None:
        large = min(shape[1:]) >= SMALL
        return VGG(PLAN, classes, shape[0], (4096 if large else 0) if hidden is None else hidden)
    state = torch.load(weights, map_location="cpu", weights_only=True)
    network = VGG(PLAN, classes, shape[0], len(state.get("classifier.0.bias", ())))
    network.load_state_dict(state)
    return network


def controls(classes: int, shape: Sequence[int]) -> dict[str, nn.Module]:
    """Return untrained networks that are shallower or narrower from the start: what folding has to beat in latency."""
    hidden = 4096 if min(shape[1:]) >= SMALL else 0
    narrow = tuple(scaled((width,), 0.5)[0] if width else POOL for width in PLAN)
    return {
        "vgg11_bn": VGG(SHALLOW, classes, shape[0], hidden),
        "vgg16_bn-w0.5": VGG(narrow, classes, shape[0], hidden // 2),
    }


def _features(plan: Sequence[int], channels: int) -> Iterator[nn.Module]:
    for width in plan:
        if width == POOL:
            yield nn.MaxPool2d(2)
            continue
        yield from (nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        channels = width


def _head(width: int, classes: int, hidden: int) -> nn.Module:
    if not hidden:
        return nn.Linear(width, classes)
    return nn.Sequential(
        nn.Linear(width * 7 * 7, hidden),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(hidden, classes),
    )


def _initialise(network: nn.Module) -> None:
    """As torchvision's: He et al. (fan out) for convolutions, small normal weights for linear layers."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)

"""MobileNetV2: `harness run --model mobilenet_v2`.

Sandler et al. (CVPR 2018): inverted residuals, wide in the middle, so that a block without its two activations is one dense
convolution with fewer MACs. Images below 64 pixels are halved three times instead of five, as in the depth-reduction papers
(stem and second stage with stride 1). Names of parameters are torchvision's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from models._resnet import SMALL
else:
    from _resnet import SMALL

TASK = "digits"
# Expansion of the middle, channels, blocks, stride of the first block: Table 2 of the paper.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM, LAST = 32, 1280
MULTIPLE = 8  # widths are multiples of it


class InvertedResidual(nn.Module):
    """A 1x1 to `expansion` times the channels (left out for 1), a depthwise 3x3, a 1x1 without activation, a shortcut."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = channels_in * expansion
        wider = [_layer(channels_in, middle, 1)] if expansion != 1 else []
        narrower = (nn.Conv2d(middle, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out))
        self.conv = nn.Sequential(*wider, _layer(middle, middle, 3, stride, groups=middle), *narrower)
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels_in, H, W] to [N, channels_out, ceil(H / stride), ceil(W / stride)]."""
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """Stem, stages of inverted residuals, a last 1x1, global average, classifier; `small`: for small images."""

    def __init__(self, width: float, stages: Sequence[Sequence[int]], classes: int, channels: int, small: bool) -> None:
        super().__init__()
        stem = aligned(STEM * width)
        layers: list[nn.Module] = [_layer(channels, stem, 3, 1 if small else 2)]
        before = stem
        for stage, (expansion, size, blocks, stride) in enumerate(stages):
            after = aligned(size * width)
            for block in range(blocks):
                step = 1 if block or (small and stage == 1) else stride
                layers.append(InvertedResidual(before, after, step, expansion))
                before = after
        last = aligned(LAST * max(1.0, width))
        self.features = nn.Sequential(*layers, _layer(before, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, channels, H, W] to logits [N, classes]."""
        pooled = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        logits: Tensor = self.classifier(torch.flatten(pooled, 1))
        return logits


def build(weights: str | None = None, classes: int = 10, shape: Sequence[int] = (3, 32, 32)) -> MobileNetV2:
    """Return the network, with the weights of a state_dict file or freshly drawn ones."""
    network = MobileNetV2(1.0, STAGES, classes, shape[0], small=min(shape[1:]) < SMALL)
    if weights is not None:
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network


def controls(classes: int, shape: Sequence[int]) -> dict[str, nn.Module]:
    """Return untrained networks that are shallower or narrower from the start: what folding has to beat in latency."""
    small = min(shape[1:]) < SMALL
    shallow = tuple((expansion, size, 1, stride) for expansion, size, _, stride in STAGES)
    return {
        "mobilenet_v2-shallow": MobileNetV2(1.0, shallow, classes, shape[0], small),
        "mobilenet_v2-w0.75": MobileNetV2(0.75, STAGES, classes, shape[0], small),
        "mobilenet_v2-w0.5": MobileNetV2(0.5, STAGES, classes, shape[0], small),
    }


def aligned(width: float) -> int:
    """Round a width to a multiple of eight, never down by more than a tenth, as the authors' code does."""
    rounded = max(MULTIPLE, int(width + MULTIPLE / 2) // MULTIPLE * MULTIPLE)
    return rounded + MULTIPLE if rounded < 0.9 * width else rounded


def _layer(channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU6())


def _initialise(network: nn.Module) -> None:
    """As torchvision's: He et al. (fan out) for convolutions, small normal weights for linear layers."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)

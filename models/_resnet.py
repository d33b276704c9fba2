"""Residual networks, shared by the models that are one.

He et al., Deep Residual Learning (2016), with one activation module per place, so that each can be removed by itself. Images
below 64 pixels get the stem of the depth-reduction papers, 3x3 with stride 1, its max-pool kept; larger ones the original, 7x7
with stride 2. Weights that are loaded decide it by their own shape. Names of parameters are torchvision's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

SMALL = 64  # pixels; below, halving the image twice in the stem leaves too little for four stages


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: `relu2(bn2(conv2(relu1(bn1(conv1(x))))) + shortcut(x))`."""

    expansion = 1

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu2 = nn.ReLU()
        self.downsample = _projection(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels_in, H, W] to [N, channels_out, ceil(H / stride), ceil(W / stride)]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = self.relu1(self.bn1(self.conv1(x)))
        outer: Tensor = self.relu2(self.bn2(self.conv2(inner)) + shortcut)
        return outer


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 that may stride, a 1x1 to four times the width, and a shortcut (torchvision's "v1.5")."""

    expansion = 4

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels_out = width * self.expansion
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.relu3 = nn.ReLU()
        self.downsample = _projection(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels_in, H, W] to [N, 4 * width, ceil(H / stride), ceil(W / stride)]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = self.relu2(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))
        outer: Tensor = self.relu3(self.bn3(self.conv3(inner)) + shortcut)
        return outer


Block: TypeAlias = type[BasicBlock] | type[Bottleneck]


class ResNet(nn.Module):
    """Stem, max-pool, one stage per entry of `depths` (blocks) and `widths` (channels), global average, classifier.

    Every stage but the first halves height and width. `small`: the stem for small images.
    """

    def __init__(
        self, block: Block, depths: Sequence[int], widths: Sequence[int], classes: int, channels: int, small: bool
    ) -> None:
        super().__init__()
        kernel, stride = (3, 1) if small else (7, 2)
        self.conv1 = nn.Conv2d(channels, widths[0], kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = tuple(f"layer{index}" for index in range(1, len(depths) + 1))
        width_in = widths[0]
        for name, depth, width in zip(self.stages, depths, widths, strict=True):
            self.add_module(name, _stage(block, width_in, width, depth, stride=1 if name == "layer1" else 2))
            width_in = width * block.expansion
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width_in, classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, channels, H, W] to logits [N, classes]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def resnet(
    depths: Sequence[int],
    widths: Sequence[int],
    weights: str | None,
    classes: int,
    shape: Sequence[int],
    block: Block = BasicBlock,
) -> ResNet:
    """Build a network for inputs of `shape` = (channels, height, width); `weights` is the file of a state_dict.

    Without weights they are drawn from torch's global generator (seed it for a network that can be had again).
    """
    if weights is None:
        return ResNet(block, depths, widths, classes, shape[0], small=min(shape[1:]) < SMALL)
    state = torch.load(weights, map_location="cpu", weights_only=True)
    network = ResNet(block, depths, widths, classes, shape[0], small=state["conv1.weight"].shape[-1] == 3)
    network.load_state_dict(state)
    return network


def scaled(widths: Sequence[int], factor: float, multiple: int = 8) -> tuple[int, ...]:
    """Return `widths` times `factor`, rounded to multiples of `multiple`, as kernels for aligned widths like them."""
    return tuple(max(multiple, round(width * factor / multiple) * multiple) for width in widths)


def _projection(channels_in: int, channels_out: int, stride: int) -> nn.Module | None:
    """The shortcut of a block that changes the shape; None where the shortcut is the identity."""
    if stride == 1 and channels_in == channels_out:
        return None
    projection = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(channels_out))


def _stage(block: Block, width_in: int, width: int, depth: int, stride: int) -> nn.Sequential:
    first, others = block(width_in, width, stride), (block(width * block.expansion, width, 1) for _ in range(depth - 1))
    return nn.Sequential(first, *others)


def _initialise(network: nn.Module) -> None:
    """He et al.'s initialisation (fan out), as torchvision's ResNets have it; BatchNorm starts as the identity."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

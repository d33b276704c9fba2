"""Residual networks of basic blocks in the form made for small images, shared by the models that are one.

He et al., Deep Residual Learning (2016), with the changes of the depth-reduction papers: a 3x3 stem of stride 1 whose
max-pool is kept, and two activation modules per block, so that the inner one (`relu1`) can be removed by itself.
Names of parameters are torchvision's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: `relu2(bn2(conv2(relu1(bn1(conv1(x))))) + shortcut(x))`."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu2 = nn.ReLU()
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            projection = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels_in, H, W] to [N, channels_out, ceil(H / stride), ceil(W / stride)]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = self.relu1(self.bn1(self.conv1(x)))
        outer: Tensor = self.relu2(self.bn2(self.conv2(inner)) + shortcut)
        return outer


class ResNet(nn.Module):
    """Stem, max-pool, one stage per entry of `depths` (blocks) and `widths` (channels), global average, classifier.

    Every stage but the first halves height and width.
    """

    def __init__(self, depths: Sequence[int], widths: Sequence[int], classes: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = tuple(f"layer{index}" for index in range(1, len(depths) + 1))
        width_in = widths[0]
        for name, depth, width in zip(self.stages, depths, widths, strict=True):
            self.add_module(name, _stage(width_in, width, depth, stride=1 if name == "layer1" else 2))
            width_in = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[-1], classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, channels, H, W] to logits [N, classes]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def resnet(
    depths: Sequence[int], widths: Sequence[int], weights: str | None, classes: int, shape: Sequence[int]
) -> ResNet:
    """Build a network for inputs of `shape` = (channels, height, width); `weights` is the file of a state_dict.

    Without weights they are drawn from torch's global generator (seed it for a network that can be had again).
    """
    network = ResNet(depths, widths, classes, channels=shape[0])
    if weights is not None:
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network


def scaled(widths: Sequence[int], factor: float, multiple: int = 8) -> tuple[int, ...]:
    """Return `widths` times `factor`, rounded to multiples of `multiple`, as kernels for aligned widths like them."""
    return tuple(max(multiple, round(width * factor / multiple) * multiple) for width in widths)


def _stage(width_in: int, width: int, depth: int, stride: int) -> nn.Sequential:
    first = BasicBlock(width_in, width, stride)
    return nn.Sequential(first, *(BasicBlock(width, width, 1) for _ in range(depth - 1)))


def _initialise(network: nn.Module) -> None:
    """He et al.'s initialisation (fan out), as torchvision's ResNets have it; BatchNorm starts as the identity."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

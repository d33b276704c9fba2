"""Networks small enough to be converted in a moment, of what real ones are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from harness.compress import program
from harness.records import Variant


class Residual(nn.Module):
    """A stem, a shortcut and a head, as ResNets have them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.body, self.head = nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        return self.head(torch.relu(self.body(x) + x).mean((2, 3)))


class Downsampling(nn.Module):
    """A stem, a block that halves its map with a convolution on the shortcut too, and a head; `pooled` behind the stem."""

    def __init__(self, pooled: bool = False) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(2) if pooled else nn.Identity()
        self.conv, self.down = nn.Conv2d(8, 16, 3, 2, padding=1), nn.Conv2d(8, 16, 1, 2)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.norm(self.stem(x))))
        return self.head(torch.relu(self.conv(x) + self.down(x)).mean((2, 3)))


def depthwise() -> nn.Module:
    """Two separable convolutions, as MobileNets have them."""
    layers = [
        nn.Conv2d(3, 16, 1),
        nn.ReLU6(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.ReLU6(),
        nn.Conv2d(16, 8, 1),
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


class Unknown(nn.Module):
    """An operator that neither ONNX nor ncnn has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {"residual": Residual, "depthwise": depthwise, "unknown": Unknown}


def saved(name: str, shape: tuple[int, ...], folder: Path) -> Variant:
    """A network of NETWORKS, always the same weights, saved under its name."""
    torch.manual_seed(0)
    file = folder / f"{name}.pt2"
    return Variant(program.save(NETWORKS[name](), torch.randn(2, *shape), file), str(file), shape, 10)

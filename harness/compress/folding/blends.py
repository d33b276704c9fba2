"""Blends of an activation with the identity, by a slope that can be learned (Ben Dror et al. 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Blend(nn.Module):
    """alpha x + (1 - alpha) s(x) of an activation s, with a scalar parameter alpha: 0 is s itself, 1 the identity."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        self.alpha = nn.Parameter(torch.zeros(()))
        if getattr(activation, "inplace", False) is True:
            activation.inplace = False  # type: ignore[assignment]  # x is read once more
        self.train(activation.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return the blend of `x`, of any shape; of a ReLU it is a PReLU: one operator instead of four."""
        alpha = self.alpha.to(x.dtype)  # mixed precision computes x in bfloat16
        if type(self.activation) is nn.ReLU:
            return functional.prelu(x, alpha)
        return torch.lerp(self.activation(x), x, alpha)


class Fixed(nn.Module):
    """A blend that learns no more: its slope is a constant of the graph, which every runtime takes."""

    def __init__(self, activation: nn.Module, slope: float) -> None:
        super().__init__()
        self.activation = activation
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Return slope x + (1 - slope) s(x)."""
        y: Tensor = self.slope * x + (1 - self.slope) * self.activation(x)
        return y

    def extra_repr(self) -> str:
        """Show the slope when the network is printed."""
        return f"slope={self.slope:g}"


def fixed(blend: Blend) -> nn.Module:
    """Return what computes the same at the least cost: the activation alone, a LeakyReLU, else constants and s."""
    slope = blend.alpha.detach().item()
    if slope == 0:
        return blend.activation
    if type(blend.activation) is nn.ReLU:
        return nn.LeakyReLU(slope).eval()
    return Fixed(blend.activation, slope).eval()


def fix(network: nn.Module) -> None:
    """Put in place of each blend, in a network to deploy, what computes the same with a constant slope."""
    for path, module in list(network.named_modules(remove_duplicate=False)):
        if isinstance(module, Blend):
            network.set_submodule(path, fixed(module))

"""Swin-T: `harness run --model swin_t`.

Liu et al., Swin Transformer (ICCV 2021): a GELU that is removed leaves an MLP that is one matrix, an eighth of its MACs. All
sizes are fixed when the network is built, so that its graph has no arithmetic on shapes. Images keep their own size, as in the
depth-reduction papers (3x32x32 gives tokens of 8x8, 4x4, 2x2 and 1x1, padded to a window). Names of parameters are
torchvision's; stochastic depth, which only training knows, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

TASK = "digits"
PATCH, WINDOW, DIM = 4, 7, 96
DEPTHS, HEADS = (2, 2, 6, 2), (3, 6, 12, 24)
_MASKED = -100.0  # added to the score of two tokens that are neighbours only by rolling

Size = tuple[int, int]


class WindowAttention(nn.Module):
    """Self-attention within windows of tokens [N, H, W, dim], of a map that is rolled by half a window if `shifted`."""

    relative_position_index: Tensor
    mask: Tensor | None

    def __init__(self, dim: int, heads: int, size: Size, shifted: bool) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.padded = tuple(math.ceil(length / WINDOW) * WINDOW for length in size)
        self.shift = tuple(WINDOW // 2 if shifted and length > WINDOW else 0 for length in self.padded)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        table = torch.empty((2 * WINDOW - 1) ** 2, heads)
        self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))
        self.register_buffer("relative_position_index", _relative_positions())
        self.register_buffer("mask", self._mask(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, H, W, dim] to the same shape."""
        (high, wide), (rows, columns) = self.padded, (length // WINDOW for length in self.padded)
        x = functional.pad(x, (0, 0, 0, wide - self.size[1], 0, high - self.size[0]))
        if any(self.shift):
            x = torch.roll(x, tuple(-step for step in self.shift), (1, 2))
        x = x.reshape(-1, rows, WINDOW, columns, WINDOW, x.shape[-1]).transpose(2, 3)
        x = self._attend(x.reshape(-1, WINDOW * WINDOW, x.shape[-1]), rows * columns)
        x = x.reshape(-1, rows, columns, WINDOW, WINDOW, x.shape[-1]).transpose(2, 3)
        x = x.reshape(-1, high, wide, x.shape[-1])
        if any(self.shift):
            x = torch.roll(x, self.shift, (1, 2))
        return x[:, : self.size[0], : self.size[1], :]

    def _attend(self, x: Tensor, windows: int) -> Tensor:
        """Attention over the tokens of each window: [N * windows, tokens, dim] to the same."""
        tokens, dim = WINDOW * WINDOW, self.proj.in_features
        query, key, value = self.qkv(x).reshape(-1, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        scores = (query * (dim // self.heads) ** -0.5) @ key.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index]
        scores = scores + bias.reshape(tokens, tokens, self.heads).permute(2, 0, 1)
        if self.mask is not None:
            scores = scores.reshape(-1, windows, self.heads, tokens, tokens) + self.mask[:, None]
            scores = scores.reshape(-1, self.heads, tokens, tokens)
        mixed = torch.softmax(scores, -1) @ value
        joined: Tensor = self.proj(mixed.transpose(1, 2).reshape(-1, tokens, dim))
        return joined

    def _mask(self) -> Tensor | None:
        """What keeps tokens apart that rolling brought together: [windows, tokens, tokens]; None where nothing is rolled."""
        if not any(self.shift):
            return None
        axes = []
        for length, step in zip(self.padded, self.shift, strict=True):
            place = torch.arange(length)
            axes.append((place >= length - WINDOW).long() + (place >= length - step).long() if step else place * 0)
        regions = (3 * axes[0][:, None] + axes[1][None, :]).float()
        rows, columns = (length // WINDOW for length in self.padded)
        regions = (
            regions.reshape(rows, WINDOW, columns, WINDOW).transpose(1, 2).reshape(rows * columns, WINDOW * WINDOW)
        )
        return (regions[:, None, :] != regions[:, :, None]) * _MASKED


class SwinBlock(nn.Module):
    """Attention and an MLP of four times the width, each behind a LayerNorm and around it a shortcut."""

    def __init__(self, dim: int, heads: int, size: Size, shifted: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, size, shifted)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(0.0), nn.Linear(4 * dim, dim), nn.Dropout(0.0)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, H, W, dim] to the same shape."""
        x = x + self.attn(self.norm1(x))
        mixed: Tensor = x + self.mlp(self.norm2(x))
        return mixed


class PatchMerging(nn.Module):
    """Every 2x2 tokens [N, H, W, dim] become one of twice the width; an odd map is padded."""

    def __init__(self, dim: int, size: Size) -> None:
        super().__init__()
        self.odd = tuple(length % 2 for length in size)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, H, W, dim] to [N, ceil(H / 2), ceil(W / 2), 2 * dim]."""
        if any(self.odd):
            x = functional.pad(x, (0, 0, 0, self.odd[1], 0, self.odd[0]))
        corners = [x[:, row::2, column::2, :] for column in (0, 1) for row in (0, 1)]
        merged: Tensor = self.reduction(self.norm(torch.cat(corners, -1)))
        return merged


class Channels(nn.Module):
    """Moves channels to the end (`last`) or back to where convolutions want them."""

    def __init__(self, last: bool) -> None:
        super().__init__()
        self.order = (0, 2, 3, 1) if last else (0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Permute the four dimensions of `x`."""
        return x.permute(self.order)


class Swin(nn.Module):
    """Patches, stages of blocks with a merging between each two, a LayerNorm, global average, classifier."""

    def __init__(self, dim: int, depths: Sequence[int], classes: int, shape: Sequence[int]) -> None:
        super().__init__()
        size = (shape[1] // PATCH, shape[2] // PATCH)
        patches = nn.Sequential(nn.Conv2d(shape[0], dim, PATCH, PATCH), Channels(last=True), nn.LayerNorm(dim))
        layers: list[nn.Module] = [patches]
        for stage, (depth, heads) in enumerate(zip(depths, HEADS, strict=True)):
            if stage:
                layers.append(PatchMerging(dim, size))
                dim, size = 2 * dim, (math.ceil(size[0] / 2), math.ceil(size[1] / 2))
            layers.append(nn.Sequential(*(SwinBlock(dim, heads, size, bool(n % 2)) for n in range(depth))))
        self.features = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(dim)
        self.permute = Channels(last=False)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(dim, classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, channels, H, W], of the size it was built for, to logits [N, classes]."""
        pooled = self.avgpool(self.permute(self.norm(self.features(x))))
        logits: Tensor = self.head(torch.flatten(pooled, 1))
        return logits


def build(weights: str | None = None, classes: int = 10, shape: Sequence[int] = (3, 32, 32)) -> Swin:
    """Return the network, with the weights of a state_dict file or freshly drawn ones."""
    network = Swin(DIM, DEPTHS, classes, shape)
    if weights is not None:
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network


def controls(classes: int, shape: Sequence[int]) -> dict[str, nn.Module]:
    """Return untrained networks that are shallower or narrower from the start: what folding has to beat in latency."""
    return {
        "swin_t-shallow": Swin(DIM, (1, 1, 3, 1), classes, shape),
        "swin_t-w0.5": Swin(DIM // 2, DEPTHS, classes, shape),
    }


def _relative_positions() -> Tensor:
    """For each pair of tokens of a window the row of the bias table that holds for it: [tokens * tokens]."""
    place = torch.stack(torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")).flatten(1)
    apart = place[:, :, None] - place[:, None, :] + WINDOW - 1
    return (apart[0] * (2 * WINDOW - 1) + apart[1]).flatten()


def _initialise(network: nn.Module) -> None:
    """As the authors': normal weights of 0.02, cut off at two, for linear layers."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

"""Statistics of what reaches activations, gathered in one pass over images: shared by easier and tlc.

Only sums are kept, so memory does not grow with the number of images. Every batch is looked at a piece at a time, small
enough for a core's cache: sums over what was just computed then cost a few percent of the forward pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, fx, nn

from harness.compress.folding import trace
from harness.compress.folding.kinds import CONVS, NORMS, TRANSPOSED
from harness.compress.folding.trace import Example

PIECE = 2**17  # numbers looked at together: half a MB
_FIRST, _LAST = 1, -1
_LAST_AXIS = (nn.Linear, nn.LayerNorm)


# --- which axis holds the channels -----------------------------------------------------------------------------------


def channel_axes(network: nn.Module, example: Example, names: Collection[str]) -> dict[str, int]:
    """Return for each activation which axis of its input holds the channels: 1, or -1 behind linear layers.

    Shapes alone do not tell: Swin's tokens are [N, H, W, channels]. Where no layer tells either, it is the last axis of
    [N, tokens, channels] and axis 1 of anything else. `network` is in eval mode. Raises FoldError if it cannot be traced.
    """
    graph = trace.trace(network, example)
    trace.record_shapes(graph, example)
    called = [node for node in graph.graph.nodes if node.op == "call_module" and node.target in names]
    return {**dict.fromkeys(names, _FIRST), **{str(node.target): _axis(trace.source(node)) for node in called}}


def _axis(node: fx.Node) -> int:
    """Follow a tensor back to the layer that gave it its channels, as long as its shape stays."""
    while True:
        module = trace.module_of(node)
        if isinstance(module, (*CONVS, *TRANSPOSED, *NORMS)):
            return _FIRST
        if isinstance(module, _LAST_AXIS):
            return _LAST
        read = [each for each in node.all_input_nodes if trace.shape(each) == trace.shape(node)]
        if not read:
            return _LAST if len(trace.shape(node) or ()) == 3 else _FIRST
        node = read[0]


# --- the pass --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def watching(network: nn.Module, names: Collection[str], see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call `see(name, z)` with the input of each named activation, at each call, while the block lasts; no gradients.

    `z` lasts as long as that call: an activation in place overwrites it.
    """

    def hook(name: str, _: nn.Module, arguments: tuple[Any, ...]) -> None:
        see(name, arguments[0])

    handles = [network.get_submodule(name).register_forward_pre_hook(partial(hook, name)) for name in names]
    try:
        with torch.inference_mode():
            yield
    finally:
        for handle in handles:
            handle.remove()


def pieces(z: Tensor, axis: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield views of `z`, a few images each, as [images, channels, positions], with the images' places in the batch."""
    size = max(1, PIECE // max(1, z[0].numel()))
    for first in range(0, len(z), size):
        part = z[first : first + size].movedim(axis, 1)
        yield slice(first, first + len(part)), part.reshape(len(part), part.shape[1], -1)


def neurons(z: Tensor) -> Tensor:
    """Return `z` as [images, neurons] in the order in which it lies in memory: no copy where channels are innermost."""
    if z.ndim == 4 and z.is_contiguous(memory_format=torch.channels_last):
        z = z.permute(0, 2, 3, 1)
    return z.flatten(1)


def is_on(z: Tensor) -> Tensor:
    """Return 1 where z >= 0, else 0, as float32; written at once, which is six times as fast as by way of bools."""
    on = torch.empty_like(z, dtype=torch.float32)
    return torch.ge(z, 0, out=on)


class Draws:
    """The bootstrap's weights of images, batch by batch: first all ones, then one row per resample with replacement.

    Drawing for a batch how many of the draws left fall into it, and then which images of it, is the same as drawing from
    all images at once (a multinomial distribution), without a number kept for each image.
    """

    def __init__(self, images: int, resamples: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._left, self._draws = images, np.full(resamples, images)

    def next(self, images: int) -> Tensor:
        """Weights of the next `images` images: float32 [1 + resamples, images]."""
        here = self._rng.binomial(self._draws, min(1.0, images / self._left))
        self._left, self._draws = self._left - images, self._draws - here
        drawn = self._rng.multinomial(here, np.full(images, 1 / images))
        return torch.from_numpy(np.vstack([np.ones((1, images)), drawn]).astype(np.float32))


# --- how often inputs are ON -----------------------------------------------------------------------------------------


class Counts(Protocol):
    """How often the inputs of an activation are ON."""

    def add(self, z: Tensor, weights: Tensor) -> None:
        """Count a batch; `weights` [rows, images], the first row ones."""

    def p(self) -> tuple[Tensor, Tensor]:
        """Return P(ON): of all images [1, neurons], and of each resample [rows - 1, neurons]."""


@dataclass
class ChannelCounts:
    """Weighted sums of each channel's share of ON positions (z >= 0), per row of weights."""

    axis: int
    sums: Tensor | float = 0.0
    weight: Tensor | float = 0.0

    def add(self, z: Tensor, weights: Tensor) -> None:
        """Count a batch; `weights` [rows, images]."""
        shares = torch.empty(len(z), z.shape[self.axis], dtype=torch.float64)
        for places, part in pieces(z, self.axis):
            shares[places] = is_on(part).sum(dim=2).double() / part.shape[2]  # sums of whole numbers: exact
        self.sums = self.sums + weights.double() @ shares
        self.weight = self.weight + weights.double().sum(dim=1, keepdim=True)

    def p(self) -> tuple[Tensor, Tensor]:
        """Return P(ON) per channel: of all images [1, channels], and of each resample [rows - 1, channels]."""
        p = torch.as_tensor(self.sums / self.weight)
        return p[:1], p[1:]


@dataclass
class PositionCounts:
    """Weighted sums of how often each neuron is ON (z >= 0); resamples see at most `most` neurons, drawn at random."""

    most: int
    seed: int = 0
    total: Tensor | float = 0.0
    sums: Tensor | None = None
    weight: Tensor | float = 0.0
    picked: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def add(self, z: Tensor, weights: Tensor) -> None:
        """Count a batch; `weights` [rows, images], the first row ones."""
        rows: Tensor = neurons(z)
        if not len(self.picked):
            drawn = torch.randperm(rows.shape[1], generator=torch.Generator().manual_seed(self.seed))
            self.picked = drawn[: self.most].sort().values
        ones = weights[:1]
        parts = torch.split(rows, max(1, PIECE // len(rows)), dim=1)
        self.total = self.total + torch.cat([ones @ is_on(part) for part in parts], dim=1)
        some = rows if rows.shape[1] <= self.most else rows.index_select(1, self.picked)
        if self.sums is None:
            self.sums = torch.zeros(len(weights) - 1, some.shape[1])
        self.sums.addmm_(weights[1:], is_on(some))  # whole numbers: exact
        self.weight = self.weight + weights.double().sum(dim=1, keepdim=True)

    def p(self) -> tuple[Tensor, Tensor]:
        """Return P(ON): of all images [1, neurons], and of each resample [rows - 1, picked neurons]."""
        weight = torch.as_tensor(self.weight)
        return torch.as_tensor(self.total) / weight[:1], torch.as_tensor(self.sums) / weight[1:].float()


# --- mean and standard deviation --------------------------------------------------------------------------------------


@dataclass
class Moments:
    """Mean and squared deviations of each channel, over images and positions (merged as by Chan et al. 1979)."""

    axis: int
    count: int = 0
    mean: Tensor | float = 0.0
    squares: Tensor | float = 0.0

    def add(self, z: Tensor) -> None:
        """Take in a batch."""
        for _, part in pieces(z, self.axis):
            mean = part.mean(dim=(0, 2))
            squares = (part - mean[:, None]).square().sum(dim=(0, 2)).double()
            self._merge(part.shape[0] * part.shape[2], mean.double(), squares)

    def _merge(self, count: int, mean: Tensor, squares: Tensor) -> None:
        both, apart = self.count + count, mean - self.mean
        self.squares = self.squares + squares + apart**2 * (self.count * count / both)
        self.mean = self.mean + apart * (count / both)
        self.count = both

    def result(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation per channel, float64."""
        return torch.as_tensor(self.mean), (torch.as_tensor(self.squares) / self.count).sqrt()


def moments(
    network: nn.Module, axes: Mapping[str, int], batches: Iterator[tuple[Tensor, Tensor]]
) -> dict[str, Moments]:
    """Return what each activation of `axes` sees over all batches, in one pass."""
    found = {name: Moments(axis) for name, axis in axes.items()}
    if found:
        with watching(network, found, lambda name, z: found[name].add(z)):
            for images, _ in batches:
                network(images)
    return found

"""One pass over images gives the sums that a copy of every activation would have given, and keeps none of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.compress.methods import _statistics
from harness.compress.methods._statistics import ChannelCounts, Draws, Moments, PositionCounts

SHAPES = {"image": (5, 6, 4), "tokens": (7, 5), "map of tokens": (3, 4, 5), "vector": (5,)}
AXES = {"image": 1, "tokens": -1, "map of tokens": -1, "vector": 1}


def whole(z: Tensor, axis: int) -> np.ndarray:
    """Every value by itself: [images, channels, positions]."""
    moved = np.moveaxis(z.double().numpy(), axis, 1)
    return moved.reshape(*moved.shape[:2], -1)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("piece", [1, 40, 2**17])
def test_moments_are_those_of_all_values_at_once(kind: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_statistics, "PIECE", piece)
    torch.manual_seed(0)
    z = 3 * torch.randn(50, *SHAPES[kind]) + 100  # a mean far from 0 costs a naive sum of squares its digits
    moments = Moments(AXES[kind])
    for batch in torch.split(z, 16):
        moments.add(batch)
    mean, sd = moments.result()
    values = whole(z, AXES[kind])
    assert mean.numpy() == pytest.approx(values.mean(axis=(0, 2)), rel=1e-6)
    assert sd.numpy() == pytest.approx(values.std(axis=(0, 2)), rel=1e-4)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_moments_do_not_depend_on_how_images_come_in_batches(sizes: list[int], seed: int) -> None:
    z = torch.randn(sum(sizes), 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    once, bit_by_bit = Moments(1), Moments(1)
    once.add(z)
    for batch in torch.split(z, sizes):
        bit_by_bit.add(batch)
    for one, other in zip(once.result(), bit_by_bit.result(), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("innermost", [False, True])
def test_shares_of_on_are_those_of_weighted_images(kind: str, innermost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_statistics, "PIECE", 100)
    torch.manual_seed(0)
    z, weights = torch.randn(50, *SHAPES[kind]), torch.randint(0, 4, (6, 50)).float()
    z[0] = 0.0  # counts as ON
    weights[0] = 1.0
    if innermost and z.ndim == 4:
        z = z.contiguous(memory_format=torch.channels_last)
    channels, positions = ChannelCounts(AXES[kind]), PositionCounts(most=10**6)
    for batch, weight in zip(torch.split(z, 16), torch.split(weights, 16, dim=1), strict=True):
        channels.add(batch, weight)
        positions.add(batch, weight)
    on = (whole(z, AXES[kind]) >= 0).astype(float)
    shares = np.einsum("ri,icp->rcp", weights.double().numpy(), on) / weights.double().sum(1).numpy()[:, None, None]
    assert torch.cat(channels.p()).numpy() == pytest.approx(shares.mean(axis=2), abs=1e-12)
    found = np.sort(torch.cat(positions.p()).numpy(), axis=1)  # in whatever order they lie in memory
    assert found == pytest.approx(np.sort(shares.reshape(6, -1), axis=1), abs=1e-6)


def test_resamples_see_as_many_neurons_as_asked_for_always_the_same() -> None:
    torch.manual_seed(0)
    z, weights = torch.randn(20, 50), torch.ones(3, 20)
    counts = PositionCounts(most=8)
    for batch in torch.split(z, 5):
        counts.add(batch, weights[:, :5])
    everything, some = counts.p()
    assert (everything.shape, some.shape) == ((1, 50), (2, 8))
    assert torch.allclose(some, everything[:, counts.picked].expand(2, 8).to(some))


@pytest.mark.parametrize("batch", [1, 7, 30])
def test_resamples_drawn_batch_by_batch_are_those_of_a_multinomial(batch: int) -> None:
    """Each has as many images as there are; of one image, variance 1 - 1/N; of two, covariance -1/N."""
    images, resamples = 30, 4000
    draws = Draws(images, resamples, seed=0)
    parts = [draws.next(min(batch, images - done)) for done in range(0, images, batch)]
    weights = torch.cat(parts, dim=1).double()
    assert torch.equal(weights[0], torch.ones(images, dtype=torch.float64))
    assert (weights.sum(dim=1) == images).all()
    covariance = np.cov(weights[1:].numpy().T)
    apart = ~np.eye(images, dtype=bool)
    assert np.diag(covariance).mean() == pytest.approx(1 - 1 / images, abs=0.03)
    assert covariance[apart].mean() == pytest.approx(-1 / images, abs=0.003)
    assert np.abs(covariance[apart] + 1 / images).max() < 0.09  # 5 standard errors of 1 / sqrt(4000)


class Mixer(nn.Module):
    """Convolution, then a map of tokens as Swin has it, then tokens, then a vector: one activation after each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.of_image = nn.Conv2d(3, 4, 1), nn.ReLU()
        self.wider, self.of_map = nn.Linear(4, 6), nn.GELU()
        self.norm, self.of_tokens = nn.LayerNorm(6), nn.GELU()
        self.fc, self.of_vector = nn.Linear(6, 5), nn.ReLU()
        self.of_sum = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.of_image(self.conv(x)).permute(0, 2, 3, 1)
        x = self.of_map(self.wider(x)).flatten(1, 2)
        x = self.of_sum(self.of_tokens(self.norm(x)) + x)
        return self.of_vector(self.fc(x.mean(1)))


def test_channels_are_found_by_the_layer_that_made_them() -> None:
    network, names = Mixer().eval(), ("of_image", "of_map", "of_tokens", "of_sum", "of_vector")
    axes = _statistics.channel_axes(network, torch.randn(2, 3, 5, 5), names)
    assert axes == {"of_image": 1, "of_map": -1, "of_tokens": -1, "of_sum": -1, "of_vector": -1}


def test_where_no_layer_tells_three_axes_are_tokens_and_four_an_image() -> None:
    for shape, axis in (((2, 3, 4, 4), 1), ((2, 9, 4), -1), ((2, 4), 1)):
        assert _statistics.channel_axes(nn.Sequential(nn.ReLU()).eval(), torch.randn(shape), ["0"]) == {"0": axis}


COUNTS: dict[str, Callable[[], Any]] = {
    "channels": lambda: ChannelCounts(1),
    "positions": lambda: PositionCounts(16),
    "moments": lambda: Moments(1),
}


@pytest.mark.parametrize("kind", COUNTS)
def test_four_times_the_images_take_no_more_memory(kind: str) -> None:
    def held(batches: int) -> int:
        counts = COUNTS[kind]()
        for _ in range(batches):
            z = torch.randn(8, 4, 5, 5)
            counts.add(z) if kind == "moments" else counts.add(z, torch.ones(11, 8))
        tensors = [value for value in vars(counts).values() if isinstance(value, Tensor)]
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    assert held(4) == held(1) > 0


def test_the_pass_sees_inputs_before_an_activation_in_place_and_leaves_no_hook() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True)).eval()
    x, seen = torch.randn(6, 1, 3, 3), list[Tensor]()
    with pytest.raises(KeyError), _statistics.watching(network, ["1"], lambda _, z: seen.append(z.clone())):
        network(x)
        raise KeyError
    assert torch.equal(seen[0], network[0](x))
    assert not network[1]._forward_pre_hooks

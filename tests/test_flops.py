"""The counter counts what runs, by rules that can be done by hand, and says what it could not count."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness import content, flops


def test_a_convolution_counts_every_tap_and_useful_taps_meet_the_image() -> None:
    cost = flops.count(nn.Conv2d(512, 512, 3, padding=1, bias=False), torch.zeros(1, 512, 2, 2))
    assert cost.macs == 512 * 512 * 9 * 4
    assert cost.macs_useful == 512 * 512 * 16  # 16 of 36 pairs of position and tap lie inside a 2x2 map
    assert cost.flops == 2 * cost.macs
    assert (cost.depth, cost.parameters, cost.weight_bytes) == (1, 512 * 512 * 9, 4 * 512 * 512 * 9)
    assert cost.activation_bytes == 4 * 512 * 4


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 2),
)
def test_useful_macs_are_those_of_an_image_of_ones(
    size: tuple[int, int], kernel: tuple[int, int], stride: int, padding: int, dilation: int
) -> None:
    conv = nn.Conv2d(2, 2, kernel, stride, padding, dilation, groups=2, bias=False)
    if any(length + 2 * padding < dilation * (taps - 1) + 1 for length, taps in zip(size, kernel, strict=True)):
        return
    nn.init.ones_(conv.weight)
    ones = torch.ones(1, 2, *size)
    assert flops.count(conv, ones).macs_useful == int(conv(ones).sum())


def test_an_explicit_padding_counts_as_the_convolutions_own() -> None:
    own = flops.count(nn.Conv2d(3, 4, 3, stride=2, padding=(2, 1)), torch.zeros(1, 3, 5, 5))
    explicit = nn.Sequential(nn.ZeroPad2d((1, 1, 2, 2)), nn.Conv2d(3, 4, 3, stride=2))
    apart = flops.count(explicit, torch.zeros(1, 3, 5, 5))
    assert (apart.macs, apart.macs_useful) == (own.macs, own.macs_useful)
    not_zero = nn.Sequential(nn.ConstantPad2d((1, 1, 2, 2), 1.0), nn.Conv2d(3, 4, 3, stride=2))
    assert flops.count(not_zero, torch.zeros(1, 3, 5, 5)).macs_useful == own.macs


def test_a_transposed_convolution_counts_its_input_positions() -> None:
    cost = flops.count(nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, bias=False), torch.zeros(2, 4, 5, 5))
    assert cost.macs == 4 * 6 * 9 * 25
    assert cost.macs_useful == 4 * 6 * 13 * 13  # per dimension 15 pairs, of which two fall outside


def test_costs_are_per_example() -> None:
    network = content.load("model", "tiny").build().eval()
    one, five = (flops.count(network, torch.zeros(batch, 3, 16, 16)) for batch in (1, 5))
    assert one == five


class Branches(nn.Module):
    """Two parallel branches of one and two layers, and a layer whose output nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        self.long = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.short, self.dead, self.idle = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.long(x) + self.short(x)
        self.dead(self.dead(self.dead(y)))
        return y


def test_depth_is_the_longest_path_to_an_output() -> None:
    cost = flops.count(Branches(), torch.zeros(1, 4))
    assert cost.depth == 2
    assert cost.parameters == 5 * 20
    assert cost.weight_bytes == 4 * 4 * 20  # what no operator reads costs no bytes


class Attention(nn.Module):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.project = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x).chunk(3, dim=-1)
        if self.fused:
            return nn.functional.scaled_dot_product_attention(q, k, v)
        return torch.softmax(q @ k.transpose(-1, -2), dim=-1) @ v


@pytest.mark.parametrize("fused", [True, False])
def test_attention_costs_macs_and_no_depth(fused: bool) -> None:
    x = torch.randn(2, 1, 6, 8)
    cost = flops.count(Attention(fused), x)
    assert (cost.macs, cost.depth, cost.uncounted) == (6 * 8 * 24 + 2 * 6 * 6 * 8, 1, ())


def test_a_transformer_layer_is_looked_into() -> None:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
    cost = flops.count(layer, torch.randn(2, 10, 32))
    assert cost.macs == 10 * (32 * 96 + 32 * 32 + 2 * 32 * 64) + 2 * 10 * 10 * 32
    assert (cost.depth, cost.uncounted) == (4, ())


def test_an_operator_without_a_rule_is_reported() -> None:
    class Spectrum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.rfft(x).abs()

    assert flops.count(Spectrum(), torch.zeros(1, 8)).uncounted == ("_fft_r2c",)


def test_counting_leaves_a_training_network_as_it_was() -> None:
    network = content.load("model", "tiny").build().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    flops.count(network, torch.randn(2, 3, 16, 16))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(module.training for module in network.modules())


def test_in_place_and_tied_weights_count_once() -> None:
    first, second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    second.weight = first.weight
    costs = [
        flops.count(nn.Sequential(first, nn.ReLU(inplace=inplace), second), torch.zeros(1, 4))
        for inplace in (True, False)
    ]
    assert costs[0] == costs[1]
    assert (costs[0].weight_bytes, costs[0].parameters, costs[0].macs) == (64, 16, 32)

"""Merged layers compute what the pair computes: values, in float64, over every kind of convolution."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import relative, trained
from torch import Tensor, nn
from torch.nn import functional

from harness.compress import merge_conv_bn, merge_conv_conv, merge_linear_linear
from harness.compress.folding.affine import Affine, identity
from harness.compress.folding.layers import affine, to_module
from harness.compress.folding.merge import chain, parallel
from harness.compress.folding.taps import cut, trimmed
from harness.errors import FoldError

LIMIT = 1e-12
CONVS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SIZES = {1: (29,), 2: (17, 19), 3: (12, 13, 11)}


def apply(layer: Affine, x: Tensor) -> Tensor:
    """Run an affine layer by torch's own functions."""
    if layer.dims == 0:
        return functional.linear(x, layer.weight, layer.bias)
    padded = functional.pad(x, [pad for sides in reversed(layer.padding) for pad in sides])
    run = (functional.conv1d, functional.conv2d, functional.conv3d)[layer.dims - 1]
    return run(padded, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)


@st.composite
def layers(draw: st.DrawFn, dims: int, channels: tuple[int, int], stride: int = 3, padded: bool = True) -> Affine:
    def per_dim(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    groups = draw(st.sampled_from((1, 2, 3, 6))) if dims else 1
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    kernel = per_dim(1, 4)
    weight = torch.randn(channels[1], channels[0] // groups, *kernel, generator=generator, dtype=torch.float64)
    bias = torch.randn(channels[1], generator=generator, dtype=torch.float64) if draw(st.booleans()) else None
    padding = tuple(zip(per_dim(0, 2), per_dim(0, 2), strict=True)) if padded else ((0, 0),) * dims
    return Affine(weight, bias, per_dim(1, stride), per_dim(1, 3 if dims < 3 else 1), padding, groups)


def noise(channels: int, dims: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, channels, *SIZES.get(dims, ()), generator=generator, dtype=torch.float64)


def fits(*chained: Affine) -> bool:
    size: tuple[int, ...] = SIZES.get(chained[0].dims, ())
    for layer in chained:
        size = layer.output_size(size)
        if min(size, default=1) < 1:
            return False
    return True


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from((0, 1, 2, 2, 2, 3)))
def test_a_merged_pair_equals_the_pair_where_nothing_pads_between_them(data: st.DataObject, dims: int) -> None:
    first = data.draw(layers(dims, (12, 6)))
    second = data.draw(layers(dims, (6, 12), stride=2, padded=False))
    if fits(first, second):
        expected = apply(second, apply(first, x := noise(12, dims)))
        assert relative(apply(chain(first, second), x), expected) < LIMIT


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from((1, 2)))
def test_a_merged_pair_equals_the_pair_that_pads_first(data: st.DataObject, dims: int) -> None:
    first, second = data.draw(layers(dims, (12, 6))), data.draw(layers(dims, (6, 12), stride=2))
    merged = chain(first, second)
    none = ((0, 0),) * dims
    valid = Affine(second.weight, second.bias, second.stride, second.dilation, none, second.groups)
    moved = Affine(first.weight, first.bias, first.stride, first.dilation, merged.padding, first.groups)
    if fits(first, second):
        expected = apply(valid, apply(moved, x := noise(12, dims)))
        assert expected.shape == apply(second, apply(first, x)).shape
        assert relative(apply(merged, x), expected) < LIMIT


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(1, 2))
def test_a_pointwise_layer_without_bias_merges_exactly_into_one_that_pads(data: st.DataObject, dims: int) -> None:
    first, second = data.draw(layers(dims, (12, 6))), data.draw(layers(dims, (6, 12)))
    pointwise = Affine(
        first.weight[(..., *(slice(0, 1),) * dims)], None, first.stride, first.dilation, first.padding, first.groups
    )
    if fits(pointwise, second):
        expected = apply(second, apply(pointwise, x := noise(12, dims)))
        assert relative(apply(chain(pointwise, second), x), expected) < LIMIT


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(0, 2))
def test_parallel_branches_merge_into_their_sum_or_are_refused(data: st.DataObject, dims: int) -> None:
    left, right = data.draw(layers(dims, (12, 6), stride=1)), data.draw(layers(dims, (12, 6), stride=1))
    size = SIZES.get(dims, ())
    if left.output_size(size) != right.output_size(size):
        with pytest.raises(FoldError):
            parallel(left, right)
    elif fits(left):
        x = noise(12, dims)
        assert relative(apply(parallel(left, right), x), apply(left, x) + apply(right, x)) < LIMIT


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 2), st.integers(1, 6))
def test_cutting_dead_taps_changes_no_value_at_its_size(data: st.DataObject, dims: int, length: int) -> None:
    layer = data.draw(layers(dims, (12, 6)))
    size = (length,) * dims
    if min(layer.output_size(size)) >= 1:
        x = torch.randn(2, 12, *size, dtype=torch.float64)
        smaller, expected = cut(layer, size), apply(layer, x)
        assert smaller.weight.numel() <= layer.weight.numel()
        assert torch.allclose(apply(smaller, x), expected, rtol=1e-12, atol=1e-12)


@given(st.data(), st.integers(1, 3))
def test_trimming_outer_taps_that_are_zero_changes_no_value_at_any_size(data: st.DataObject, dims: int) -> None:
    layer = data.draw(layers(dims, (6, 12)))
    for dim, taps in enumerate(layer.kernel):
        lead = data.draw(st.integers(0, taps))
        trail = data.draw(st.integers(0, taps - lead))
        layer.weight.narrow(2 + dim, 0, lead).zero_()
        layer.weight.narrow(2 + dim, taps - trail, trail).zero_()
    short, x = trimmed(layer), noise(6, dims)
    assert torch.allclose(apply(short, x), apply(layer, x), rtol=0, atol=LIMIT)
    for dim, taps in enumerate(short.kernel):
        ends = (short.weight.select(2 + dim, tap).any() for tap in (0, -1))
        assert taps == 1 or all(ends)


@pytest.mark.parametrize("dims", CONVS)
@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_takes_in_its_batchnorm_with_stride_dilation_and_groups(dims: int, groups: int) -> None:
    conv = CONVS[dims](4, 6, 3, stride=2, padding=2, dilation=2, groups=groups, bias=dims == 2)
    norms: dict[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
    pair = trained(nn.Sequential(conv, norms[dims](6))).double()
    merged = merge_conv_bn(pair[0], pair[1])  # type: ignore[index]
    x = torch.randn(2, 4, *(9,) * dims, dtype=torch.float64)
    assert relative(merged(x), pair(x)) < LIMIT
    assert (merged.stride, merged.dilation, merged.groups) == (conv.stride, conv.dilation, groups)


def test_two_convolutions_merge_as_modules() -> None:
    first = nn.Conv2d(3, 8, (3, 2), stride=(2, 1), padding=1, bias=True).double()
    second = nn.Conv2d(8, 4, (1, 3), stride=2, dilation=(1, 2)).double()
    x = torch.randn(2, 3, 15, 14, dtype=torch.float64)
    assert relative(merge_conv_conv(first, second)(x), second(first(x))) < LIMIT


def test_two_linear_layers_merge_as_modules() -> None:
    for biases in itertools.product((True, False), repeat=2):
        first, second = nn.Linear(5, 7, bias=biases[0]).double(), nn.Linear(7, 3, bias=biases[1]).double()
        x = torch.randn(2, 4, 5, dtype=torch.float64)
        assert relative(merge_linear_linear(first, second)(x), second(first(x))) < LIMIT


def test_merging_keeps_the_type_and_accumulates_in_float64() -> None:
    first, second = nn.Linear(64, 4096), nn.Linear(4096, 8)
    merged = merge_linear_linear(first, second)
    exact = second.weight.double() @ first.weight.double()
    assert merged.weight.dtype == torch.float32
    assert torch.equal(merged.weight, exact.float())


def test_depthwise_after_depthwise_stays_depthwise() -> None:
    first, second = nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 3, groups=8)
    assert chain(affine(first), affine(second)).groups == 8


def test_steps_that_share_a_factor_stay_a_dilation() -> None:
    merged = chain(affine(nn.Conv1d(1, 1, 3, dilation=2)), affine(nn.Conv1d(1, 1, 3, dilation=4)))
    assert (merged.kernel, merged.dilation) == ((7,), (2,))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_a_same_padding_of_an_even_kernel_is_uneven_and_kept() -> None:
    conv = nn.Conv2d(2, 2, (4, 3), padding="same").double()
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64)
    assert affine(conv).padding == ((1, 2), (1, 1))
    assert relative(to_module(affine(conv))(x), conv(x)) < LIMIT


@pytest.mark.parametrize(
    "module", [nn.ConvTranspose2d(2, 2, 3), nn.Conv2d(2, 2, 3, padding_mode="circular"), nn.ReLU()]
)
def test_what_the_algebra_does_not_hold_is_refused(module: nn.Module) -> None:
    with pytest.raises(FoldError):
        affine(module)


def test_layers_that_do_not_meet_are_refused() -> None:
    with pytest.raises(FoldError, match="8 output channels meet 4 input channels"):
        chain(identity(8, 2), identity(4, 2))
    with pytest.raises(FoldError, match="spatial dimensions"):
        chain(identity(8, 2), identity(8, 0))

"""What is merged although it is not equal: asked for by name, in error where it must be, and right where it can be."""

from __future__ import annotations

import pytest
import torch
from networks import model, opened
from torch import Tensor, nn

from harness import flops
from harness.compress import fold

SHAPE = (3, 32, 32)
X = torch.randn(2, 4, 12, 12, generator=torch.Generator().manual_seed(0))


def pair(padding: int = 1, stride: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 6, 3, stride, padding=padding), nn.Conv2d(6, 5, 3, padding=padding)).eval()


def difference(network: nn.Module, merged: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return (network(x) - merged(x)).abs()


def test_across_padding_the_plain_merge_is_right_inside_and_wrong_at_the_border() -> None:
    folded = fold(pair(), X, policy="approximate")
    (group,) = folded.groups
    apart = difference(pair(), folded.network, X)
    assert (group.form, group.reason) == ("plain", None)
    assert apart[:, :, 1:-1, 1:-1].max() < 1e-5 < 0.1 < apart.max()
    assert folded.max_error > 0.01


def test_by_default_such_a_pair_stays_apart() -> None:
    folded = fold(pair(), X)
    (group,) = folded.groups
    assert group.form is None and "pads the output of 0 with zeros" in (group.reason or "")
    assert folded.max_error <= 1e-12


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1])
def test_a_crop_is_as_large_as_its_largest_layer_and_keeps_the_outputs_size(padding: int, stride: int) -> None:
    network = pair(padding, stride)
    folded = fold(network, X, policy="approximate", forms=("crop",))
    (conv,) = (module for module in folded.network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        assert folded.network(X).shape == network(X).shape
    assert conv.kernel_size == ((3, 3) if padding else (5, 5) if stride == 1 else (7, 7))  # nothing to take it from
    assert (folded.max_error > 0.01) == bool(padding)


@pytest.mark.slow
def test_cropping_a_resnet_has_a_third_of_the_macs_of_merging_it_and_is_far_off() -> None:
    network = model("resnet18", SHAPE)
    example = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    shallow = opened(network, example)
    plain = fold(shallow, example, policy="approximate")
    crop = fold(shallow, example, policy="approximate", forms=("crop",))
    macs = [flops.count(each.network, example[:1]).macs for each in (plain, crop)]
    assert macs[1] < 0.4 * macs[0]
    assert crop.max_error > plain.max_error > 0.01

"""The proof of a fold sees every output on every input: what is not a number is never equal."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from harness.compress.folding.proof import difference
from harness.errors import FoldError

EXAMPLE = torch.ones(2, 3)


class Outputs(nn.Module):
    """The input, and 0 times the logarithm of the input: 0 where it is positive, not a number where it is negative."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.both = both

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, 0 * torch.log(x) if self.both else 0 * x


class Near(nn.Module):
    """What `Outputs` gives on the example, and something else just beside it."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(x == 1, x, 0), 0 * x


class Spoilt(nn.Module):
    """The input, but with `value` in its last place wherever the input has a number below 0."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        spoilt = x.clone()
        spoilt[-1, -1] = torch.where((x < 0).any(), torch.tensor(self.value), x[-1, -1])
        return spoilt


def test_equal_networks_differ_by_nothing_and_unequal_ones_relative_to_the_largest_output() -> None:
    assert difference(nn.Identity(), nn.Identity(), EXAMPLE) == 0
    halved = nn.Linear(3, 3, bias=False)
    nn.init.eye_(halved.weight)
    halved.weight.data *= 0.5
    assert difference(nn.Identity(), halved, EXAMPLE) == pytest.approx(0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_on_the_second_input_alone_is_an_infinite_error(value: float) -> None:
    assert difference(nn.Identity(), Spoilt(value), EXAMPLE) == math.inf


def test_nan_in_the_second_output_alone_is_an_infinite_error() -> None:
    assert difference(Outputs(both=False), Outputs(both=True), EXAMPLE) == math.inf


def test_an_original_whose_output_is_not_finite_proves_nothing_and_is_named() -> None:
    with pytest.raises(FoldError, match="output 1 of Outputs is not finite on the example"):
        difference(Outputs(both=True), Outputs(both=True), -EXAMPLE)


def test_where_noise_is_nothing_to_a_network_it_is_compared_near_the_example() -> None:
    assert difference(Outputs(both=True), Outputs(both=True), EXAMPLE) == 0
    assert difference(Outputs(both=True), Near(), EXAMPLE) > 0.1


def test_networks_without_comparable_outputs_prove_nothing() -> None:
    class Labels(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.argmax(1)

    with pytest.raises(FoldError, match="Labels gives no floating-point tensor"):
        difference(Labels(), Labels(), EXAMPLE)
    with pytest.raises(FoldError, match="other shapes"):
        difference(nn.Identity(), Outputs(both=False), EXAMPLE)

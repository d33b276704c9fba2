"""EASIER's entropy is what the definition says, to the last bit, and its choice carries how sure the data are."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness import content
from harness.compress.state import State


class Held(NamedTuple):
    """The part of a task that entropies are taken on."""

    images: Tensor
    labels: Tensor


easier = content.load("method", "easier")
BOTH = ("channel", "position")


def choose(network: nn.Module, images: Tensor, names: tuple[str, ...], definition: str) -> Any:
    held_out = Held(images, torch.zeros(len(images), dtype=torch.int64))
    return easier.choose(State(network.eval(), images[:2], names, names, held_out), easier.Recipe(definition))


def by_hand() -> Tensor:
    """Four images, two channels of two positions. Channel 0 is always ON; channel 1 is ON at one position each time."""
    images = torch.zeros(4, 2, 1, 2)  # zero counts as ON
    images[:, 1, 0, 0] = torch.tensor([1.0, 1.0, 1.0, -1.0])  # p = 3/4
    images[:, 1, 0, 1] = torch.tensor([-1.0, -1.0, -1.0, 1.0])  # p = 1/4
    return images


def test_entropies_of_a_case_worked_by_hand() -> None:
    three_quarters = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))  # H(3/4) = H(1/4) = 0.8113
    network = nn.Sequential(nn.ReLU())
    scores = {d: choose(network, by_hand(), ("0",), d).scores["0"] for d in BOTH}
    assert scores["channel"] == pytest.approx((0 + 1) / 2, abs=1e-12)  # channel 1: mean p = 1/2, H = 1
    assert scores["position"] == pytest.approx((0 + 0 + 2 * three_quarters) / 4, abs=1e-12)


@pytest.mark.parametrize("definition", BOTH)
@pytest.mark.parametrize("sign", [-1.0, 0.0, 1.0])
def test_a_constant_sign_has_no_entropy_at_all(definition: str, sign: float) -> None:
    choice = choose(nn.Sequential(nn.ReLU()), torch.full((7, 3, 2, 2), sign), ("0",), definition)
    assert choice.scores == {"0": 0.0}


@pytest.mark.parametrize("definition", BOTH)
def test_entropies_equal_an_independent_calculation_over_several_batches(definition: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.ReLU()).eval()
    images = torch.randn(150, 3, 8, 8)
    choice = choose(network, images, ("2", "4"), definition)
    with torch.no_grad():
        expected = {"2": network[:2](images), "4": network[:4](images)}
    for name, z in expected.items():
        assert choice.scores[name] == pytest.approx(plainly(z.numpy(), definition), abs=1e-9)


def plainly(z: np.ndarray, definition: str) -> float:
    """The definition, neuron by neuron, without a tensor operation in common with the method."""
    entropies: list[float] = []
    for channel in range(z.shape[1]):
        values = z[:, channel].reshape(len(z), -1)
        p = [sum(1 for v in column if v >= 0) / len(column) for column in values.T]
        shares = [sum(p) / len(p)] if definition == "channel" else p
        entropies += [-sum(q * math.log2(q) for q in (share, 1 - share) if q > 0) for share in shares]
    return sum(entropies) / len(entropies)


def test_tokens_are_positions_and_their_last_axis_holds_the_channels() -> None:
    images = by_hand().flatten(2).transpose(1, 2)  # (N, tokens, channels)
    assert choose(nn.Sequential(nn.GELU()), images, ("0",), "channel").scores["0"] == pytest.approx(0.5)


class Swin(nn.Module):
    """The MLP of a Swin block: tokens in a map, channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.wider, self.gelu = nn.Linear(2, 2), nn.GELU()
        with torch.no_grad():
            self.wider.weight.copy_(torch.eye(2))
            self.wider.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.gelu(self.wider(x))


def test_channels_behind_a_linear_layer_are_the_last_axis_of_a_map_of_tokens_too() -> None:
    network, images = Swin(), by_hand().permute(0, 2, 3, 1)  # (N, 1, tokens, channels)
    assert choose(network, images, ("gelu",), "channel").scores["gelu"] == pytest.approx(0.5)


def test_a_module_that_is_called_twice_counts_with_all_its_neurons() -> None:
    shared = nn.ReLU()
    network = nn.Sequential(shared, nn.Upsample(scale_factor=2), nn.BatchNorm2d(2), shared).eval()
    choice = choose(network, by_hand(), ("0",), "position")
    three_quarters = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    # Behind the first call channel 1 is 0 or 1, never below: 4 neurons of 4, then 16 of 16 that are always ON.
    assert choice.scores["0"] == pytest.approx(2 * three_quarters / (4 + 16), abs=1e-6)


@pytest.mark.parametrize("definition", BOTH)
def test_entropy_and_its_error_do_not_depend_on_the_layout_of_tensors(definition: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, 1), nn.ReLU())
    images = torch.randn(100, 3, 4, 4)
    one = choose(network, images, ("0", "2"), definition)
    other = choose(
        network.to(memory_format=torch.channels_last),
        images.contiguous(memory_format=torch.channels_last),
        ("0", "2"),
        definition,
    )
    assert (one.gap, one.gap_error) == (pytest.approx(other.gap, rel=1e-5), pytest.approx(other.gap_error, rel=1e-5))


def test_the_error_of_a_large_layer_is_that_of_some_of_its_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())
    nn.init.constant_(network[0].bias, 0.7)
    images = torch.randn(150, 3, 1, 1) + torch.randn(150, 3, 16, 16)  # neurons go together, as in images
    whole = choose(network, images, ("1", "3"), "position")
    monkeypatch.setattr(easier, "NEURONS", 200)
    some = choose(network, images, ("1", "3"), "position")
    assert some.gap == whole.gap
    assert some.gap_error == pytest.approx(whole.gap_error, rel=0.3)
    assert some.gap_error != whole.gap_error


def test_the_least_entropy_goes_and_scores_stand_in_that_order() -> None:
    torch.manual_seed(0)
    shifted = nn.BatchNorm2d(3)
    nn.init.constant_(shifted.bias, 2.0)  # nearly always ON
    network = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, 1), shifted, nn.ReLU())
    choice = choose(network, torch.randn(64, 3, 4, 4), ("0", "3"), "position")
    assert (choice.chosen, list(choice.scores)) == (("3",), ["3", "0"])
    assert choice.gap == pytest.approx(choice.scores["0"] - choice.scores["3"])


def test_a_gap_that_the_data_do_not_settle_is_within_its_error() -> None:
    torch.manual_seed(0)
    images = torch.randn(100, 2, 1, 1)
    network = nn.Sequential(nn.Tanh(), nn.Conv2d(2, 2, 1, bias=False), nn.Tanh())  # p = 1/2 in truth at both
    close = choose(network, images, ("0", "2"), "channel")
    assert 0 < close.gap < 2 * close.gap_error
    nn.init.constant_(network[1].weight, 0.0)  # always ON: now there is no doubt
    clear = choose(network, images, ("0", "2"), "channel")
    assert clear.chosen == ("2",)
    assert clear.gap > 10 * clear.gap_error


def test_the_bootstrap_error_is_the_one_that_other_samples_show() -> None:
    """Against the truth: the spread of the gap over fresh samples of images."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 1), nn.ReLU())
    nn.init.constant_(network[0].bias, 0.7)
    draws = [choose(network, torch.randn(80, 3, 2, 2), ("1", "3"), "position") for _ in range(60)]
    signed = [draw.scores["3"] - draw.scores["1"] for draw in draws]
    stated = float(np.mean([draw.gap_error for draw in draws]))
    assert stated == pytest.approx(float(np.std(signed, ddof=1)), rel=0.35)


def test_a_single_candidate_has_no_gap_and_none_ends_the_ladder() -> None:
    network, images = nn.Sequential(nn.ReLU()), torch.randn(8, 1, 2, 2)
    assert choose(network, images, ("0",), "channel").gap is None
    assert choose(network, images, (), "channel") is None


def test_choosing_leaves_no_hook_and_the_same_choice_for_the_same_seed() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(2, 2, 1), nn.ReLU(inplace=True))
    images = torch.randn(32, 1, 2, 2)
    assert choose(network, images, ("1", "3"), "position") == choose(network, images, ("1", "3"), "position")
    assert not network[1]._forward_pre_hooks

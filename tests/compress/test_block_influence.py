"""Block influence is the papers' angle and cosine, token by token, and the least goes: alone, or as a contiguous run."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from harness import content
from harness.child import Progress
from harness.compress import client, edits
from harness.compress.blocks import blocks, skip
from harness.compress.methods._paired import Paired
from harness.compress.state import BATCH, State
from harness.errors import TrainError, UsageError
from harness.records import LadderRequest

influence = content.load("method", "block-influence")
REQUEST = LadderRequest(method="block-influence", model="tiny", task="tiny", threads=1)


class Held(NamedTuple):
    """The part of a task that blocks are measured on."""

    images: Tensor
    labels: Tensor


class Turn(nn.Module):
    """A block that turns every token of two channels by `degrees`: x + (R - 1) x."""

    def __init__(self, degrees: float) -> None:
        super().__init__()
        at = math.radians(degrees)
        self.inner = nn.Linear(2, 2, bias=False)
        turn = torch.tensor([[math.cos(at), -math.sin(at)], [math.sin(at), math.cos(at)]])
        self.inner.weight.data = turn - torch.eye(2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Block(nn.Module):
    """A residual block of a convolution, with a ReLU behind the add."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.conv(x) + x)
        return y


def state(network: nn.Module, images: Tensor, step: int = 1) -> State:
    held_out = Held(images, torch.zeros(len(images), dtype=torch.int64))
    names = blocks(network, images[:2])
    return State(network.eval(), images[:2], names, names, held_out, step=step)


def choose(network: nn.Module, images: Tensor, measure: str, step: int = 1) -> Any:
    return influence.choose(state(network, images, step), influence.Recipe(measure))


def turns(*degrees: float) -> nn.Module:
    return nn.Sequential(*map(Turn, degrees))


def test_angles_and_influences_of_a_case_worked_by_hand() -> None:
    torch.manual_seed(0)
    network, images = turns(30, 90, 60), torch.randn(7, 5, 2)
    assert choose(network, images, "angle").scores == pytest.approx({"0": 1 / 6, "2": 1 / 3, "1": 1 / 2}, abs=1e-6)
    choice = choose(network, images, "influence")
    assert choice.scores == pytest.approx({"0": 1 - math.sqrt(0.75), "2": 0.5, "1": 1.0}, abs=1e-6)
    assert (choice.chosen, list(choice.scores)) == (("0",), ["0", "2", "1"])
    assert choice.gap == pytest.approx(math.sqrt(0.75) - 0.5, abs=1e-6)
    assert choice.gap_error == pytest.approx(0, abs=1e-6)  # all tokens turn alike


def test_a_run_of_least_angle_is_not_one_of_blocks_of_least_angle() -> None:
    """45, -45: each turns more than the 30s, both together not at all."""
    network, images = turns(30, 30, 45, -45, 30), torch.randn(4, 3, 2)
    choice = choose(network, images, "angle", step=2)
    assert choice.chosen == ("2", "3")
    assert choice.scores == pytest.approx({"2": 0, "3": 15 / 180, "1": 75 / 180, "0": 60 / 180}, abs=1e-6)
    assert choice.gap == pytest.approx(15 / 180, abs=1e-6)
    assert set(choose(network, images, "influence", step=2).chosen) == {"0", "1"}


def test_a_run_goes_on_across_what_was_skipped_and_not_across_another_layer() -> None:
    network, images = turns(20, 5, 40, -40), torch.randn(4, 3, 2)
    shorter = skip(network, ["1"])
    assert choose(shorter, images, "angle", step=3).chosen == ("0", "2", "3")
    cut = nn.Sequential(Turn(20), nn.Linear(2, 2), Turn(50), nn.LayerNorm(2), Turn(30))
    choice = choose(cut, images, "angle", step=2)  # no two follow each other: the two least, one by one
    assert (choice.chosen, list(choice.scores)) == (("0", "4"), ["0", "4", "2"])


@pytest.mark.parametrize("measure", ["influence", "angle"])
def test_measures_equal_an_independent_calculation_over_several_batches(measure: str) -> None:
    torch.manual_seed(0)
    network, images = nn.Sequential(Block(3), Block(3)), torch.randn(BATCH + 9, 3, 4, 5)
    choice = choose(network, images, measure)
    with torch.no_grad():
        ends = [images.numpy(), network[0](images).numpy(), network(images).numpy()]
    for name, x, y in (("0", *ends[:2]), ("1", *ends[1:])):
        assert choice.scores[name] == pytest.approx(plainly(x, y, measure).mean(), abs=1e-6)
    apart = plainly(*ends[:2], measure) - plainly(*ends[1:], measure)
    assert choice.gap_error == pytest.approx(apart.std(ddof=1) / math.sqrt(len(images)), rel=1e-4)


def plainly(x: np.ndarray, y: np.ndarray, measure: str) -> np.ndarray:
    """The definition, position by position: the mean of each image."""
    found = []
    for one, other in zip(x.astype(float), y.astype(float), strict=True):
        each = []
        for row in range(one.shape[1]):
            for column in range(one.shape[2]):
                a, b = one[:, row, column], other[:, row, column]
                lengths = math.sqrt(a @ a) * math.sqrt(b @ b)
                cosine = float(not a.any() and not b.any()) if lengths == 0 else min(1.0, max(-1.0, a @ b / lengths))
                each.append(math.acos(cosine) / math.pi if measure == "angle" else 1 - cosine)
        found.append(sum(each) / len(each))
    return np.array(found)


@pytest.mark.parametrize("measure", ["influence", "angle"])
def test_two_dead_positions_are_equal_and_one_is_at_right_angles_to_any_other(measure: str) -> None:
    dead, alive = torch.zeros(1, 1, 3), influence.unit(torch.randn(1, 1, 3), -1)
    assert influence.turned(dead, dead, measure).item() == 0
    right = {"influence": 1.0, "angle": 0.5}[measure]
    assert influence.turned(dead, alive, measure).item() == pytest.approx(right)
    assert influence.turned(alive, dead, measure).item() == pytest.approx(right)


@given(st.floats(1e-5, math.pi - 1e-3), st.floats(1e-3, 1e3))
def test_small_angles_keep_their_digits_and_lengths_do_not_count(angle: float, length: float) -> None:
    x = torch.tensor([[[1.0, 0.0]]])
    y = influence.unit(length * torch.tensor([[[math.cos(angle), math.sin(angle)]]]), -1)
    assert influence.turned(x, y, "angle").item() == pytest.approx(angle / math.pi, rel=1e-3)
    assert influence.turned(x, y, "influence").item() == pytest.approx(2 * math.sin(angle / 2) ** 2, rel=1e-3)


def test_a_token_is_a_position_with_its_channels_wherever_these_are() -> None:
    images = torch.randn(2, 3, 4, 5)
    assert torch.equal(influence.unit(images, 1), influence.unit(images.permute(0, 2, 3, 1), -1))
    assert influence.unit(images, 1).shape == (2, 20, 3)
    assert influence.unit(torch.randn(2, 3), -1).shape == (2, 1, 3)


@pytest.mark.parametrize("name", ["swin_t", "mobilenet_v2"])
def test_every_block_of_a_model_is_measured_and_a_block_that_does_nothing_goes_first(name: str) -> None:
    torch.manual_seed(0)
    network, images = content.load("model", name).build().eval(), torch.randn(6, 3, 32, 32)
    dull = blocks(network, images)[2]
    for path, weight in network.get_submodule(dull).named_parameters():
        if not path.startswith("norm"):
            nn.init.zeros_(weight)  # g(x) = 0
    choice = choose(network, images, "influence")
    assert choice.chosen == (dull,)
    assert set(choice.scores) == set(blocks(network, images))
    assert choice.scores[dull] == 0 < choice.gap


def test_choosing_leaves_no_hook_and_an_end_of_the_ladder_where_no_block_is_left() -> None:
    network, images = turns(10, 20), torch.randn(3, 2, 2)
    choose(network, images, "angle")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert choose(nn.Sequential(nn.Linear(2, 2)), images, "angle") is None


def test_only_the_blocks_of_the_recipe_may_go() -> None:
    network = turns(10, 20, 30)
    asked = influence.Recipe(blocks=("2", "1"))
    assert influence.units(state(network, torch.randn(3, 2, 2)), asked) == ("1", "2")
    with pytest.raises(UsageError, match="residual block"):
        influence.units(state(network, torch.randn(3, 2, 2)), influence.Recipe(blocks=("7",)))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 2**16))
def test_paired_means_do_not_depend_on_batches(sizes: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).normal(5, 2, (sum(sizes), 3))
    paired = Paired(("a", "b", "c"))
    for batch in np.split(values, np.cumsum(sizes)[:-1]):
        paired.add(batch)
    assert list(paired.means.values()) == pytest.approx(values.mean(axis=0).tolist())
    if len(values) < 2:
        assert paired.error("a", "c") is None
    else:
        apart = values[:, 0] - values[:, 2]
        assert paired.error("a", "c") == pytest.approx(apart.std(ddof=1) / math.sqrt(len(values)))


def test_what_is_no_number_ends_the_ladder() -> None:
    with pytest.raises(TrainError, match="1: nan was measured"):
        choose(nn.Sequential(Turn(10), Turn(math.nan)), torch.randn(3, 2, 2), "influence")


def climb(request: LadderRequest) -> Any:
    def ignore(_: Progress) -> None:
        pass

    return client.climb(request, ignore)


@pytest.mark.slow
def test_a_ladder_of_blocks_folds_exactly_and_is_fine_tuned() -> None:
    ladder = climb(REQUEST)
    assert [len(rung.removed_names) for rung in ladder.rungs] == [0, 2, 4]
    assert [rung.cost.depth for rung in ladder.rungs] == [8, 6, 4]
    assert [rung.epochs for rung in ladder.rungs] == [5, 6, 7]
    for rung in ladder.rungs:
        assert rung.fold_error_f64 <= 1e-12
    for rung in ladder.rungs[1:]:
        lost = edits.activations_lost(content.load("model", "tiny").build(), [edits.Edit("skip", rung.choice.chosen)])
        assert (rung.removed_names[-2:], rung.padding) == (lost, "kept")
    together = climb(replace(REQUEST, recipe={"measure": "angle"}, step=2))
    assert [rung.removed_names for rung in together.rungs] == [
        (),
        ("layer1.0.relu1", "layer1.0.relu2", "layer1.1.relu1", "layer1.1.relu2"),
    ]


@pytest.mark.slow
def test_a_model_without_blocks_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(UsageError, match="method block-influence removes residual blocks"):
        climb(replace(REQUEST, model="vgg16_bn", task="digits"))

"""LaCoOT's distance is the max-sliced Wasserstein distance, training makes it small, and blocks of least go, at once."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance
from told import Told, kill_child
from torch import Tensor, nn

from harness import content
from harness.compress import client
from harness.compress.blocks import blocks
from harness.compress.schedules import Budget
from harness.compress.state import BATCH, State
from harness.errors import HarnessError, TrainError, UsageError
from harness.records import Ladder, LadderRequest

lacoot = content.load("method", "lacoot")
REQUEST = LadderRequest(method="lacoot", model="tiny", task="tiny", threads=1)


class Held(NamedTuple):
    """The part of a task that distances are measured on."""

    images: Tensor
    labels: Tensor


class Shift(nn.Module):
    """A block that adds a constant to each number: x + g(x), g(x) = 0 x + c."""

    def __init__(self, by: float, size: int = 4) -> None:
        super().__init__()
        self.inner = nn.Linear(size, size)
        nn.init.zeros_(self.inner.weight)
        nn.init.constant_(self.inner.bias, by)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def state(network: nn.Module, images: Tensor, rung: int = 1, step: int = 1, seed: int = 0) -> State:
    held_out = Held(images, torch.zeros(len(images), dtype=torch.int64))
    names = blocks(network, torch.randn(2, *images.shape[1:]))
    return State(network.eval(), images[:2], names, names, held_out, seed=seed, rung=rung, step=step)


def choose(network: nn.Module, images: Tensor, rung: int = 1, step: int = 1) -> Any:
    return lacoot.choose(state(network, images, rung, step), lacoot.Recipe())


def samples(n: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, count, generator=draw), 2 * torch.randn(n, count, generator=draw).relu() - 1


@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 2**16))
def test_the_distance_is_that_of_the_best_pairing_on_the_worst_direction(n: int, count: int, seed: int) -> None:
    """Against optimal transport itself: the pairing of least cost, found without sorting."""
    x, y = samples(n, count, seed)
    squares = []
    for one, other in zip(x.T.double().numpy(), y.T.double().numpy(), strict=True):
        cost = (one[:, None] - other[None, :]) ** 2
        squares.append(cost[linear_sum_assignment(cost)].mean())
    assert lacoot.farthest(x, y).item() == pytest.approx(math.sqrt(max(squares)), rel=1e-5)


@given(st.integers(2, 20), st.integers(0, 2**16), st.floats(-5, 5))
def test_of_a_shift_the_distance_is_scipy_s_and_otherwise_no_less(n: int, seed: int, by: float) -> None:
    """W_1 <= W_2 (Jensen), equal where all is moved alike."""
    x, y = samples(n, 1, seed)
    first = wasserstein_distance(x[:, 0].numpy(), y[:, 0].numpy())
    assert lacoot.farthest(x, y).item() >= first * (1 - 1e-5)
    moved = x + by
    expected = wasserstein_distance(x[:, 0].double().numpy(), moved[:, 0].double().numpy())
    assert lacoot.farthest(x, moved).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@given(st.integers(2, 9), st.integers(0, 2**16))
def test_the_order_of_examples_does_not_count_and_the_distance_is_symmetric(n: int, seed: int) -> None:
    x, y = samples(n, 3, seed)
    assert lacoot.farthest(x.flip(0), y).item() == pytest.approx(lacoot.farthest(y, x).item(), rel=1e-6)
    assert lacoot.farthest(x, x.flip(0)).item() == 0


def test_the_gradient_reaches_both_ends_and_is_the_slope_and_no_nan_where_they_are_equal() -> None:
    x, y = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x, y = x.requires_grad_(), (y + 1).requires_grad_()
    assert torch.autograd.gradcheck(lacoot.farthest, (x, y))
    slopes = torch.autograd.grad(lacoot.farthest(x, y), (x, y))
    assert all(slope.abs().sum() > 0 for slope in slopes)
    (flat,) = torch.autograd.grad(lacoot.farthest(x, x), x)
    assert flat.abs().sum() == 0


def test_directions_are_unit_vectors_the_same_for_the_same_seed_and_even_over_the_sphere() -> None:
    one, again = (lacoot.directions(7, 4000, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, again)
    torch.testing.assert_close(one.norm(dim=0), torch.ones(4000))
    torch.testing.assert_close(one @ one.T / 4000, torch.eye(7) / 7, atol=0.02, rtol=0)


def test_distances_of_a_case_worked_by_hand_and_their_order() -> None:
    """A shift by c in each of 4 numbers is 2 c long; of 50 directions the nearest to it sees most of that."""
    torch.manual_seed(0)
    network, images = nn.Sequential(Shift(3), Shift(0), Shift(-1)), torch.randn(20, 4)
    choice = choose(network, images)
    assert (choice.chosen, list(choice.scores), choice.setting) == (("1",), ["1", "2", "0"], 0.0)
    along = lacoot.directions(4, 50, torch.Generator().manual_seed(0))  # the first block's
    assert choice.scores["0"] == pytest.approx(3 * along.sum(dim=0).abs().max().item(), rel=1e-5)
    assert 0.8 * 6 < choice.scores["0"] <= 6
    assert 0.8 * 2 < choice.scores["2"] <= 2
    assert choice.gap == choice.scores["2"]


def test_each_rung_lacks_all_blocks_of_the_least_distances_and_its_setting_is_the_largest_of_them() -> None:
    torch.manual_seed(0)
    network, images = nn.Sequential(Shift(3), Shift(0.1), Shift(-1)), torch.randn(20, 4)
    one, two, three = (choose(network, images, rung) for rung in (1, 2, 3))
    assert [choice.chosen for choice in (one, two, three)] == [("1",), ("1", "2"), ("1", "2", "0")]
    assert one.scores == two.scores == three.scores
    assert [choice.setting for choice in (one, two, three)] == list(one.scores.values())
    assert choose(network, images, 4) is None
    assert [choose(network, images, rung, step=2).chosen for rung in (1, 2)] == [two.chosen, three.chosen]
    assert choose(network, images, 3, step=2) is None


def test_held_out_batches_are_of_equal_size_and_their_distances_are_averaged() -> None:
    torch.manual_seed(0)
    network, images = nn.Sequential(nn.Linear(4, 4), Shift(1), Shift(2)), torch.randn(BATCH + 1, 4)
    network[1].inner.weight.data.normal_()
    choice = choose(network, images)
    draw, found = torch.Generator().manual_seed(0), []
    with torch.no_grad():
        for batch in (images[:33], images[33:]):  # 65 = 33 + 32, not 64 + 1
            x = network[0](batch)
            along = lacoot.directions(4, 50, draw)
            found.append(float(lacoot.farthest(x @ along, network[1](x) @ along)))
            lacoot.directions(4, 50, draw)  # the other block's
    assert choice.scores["1"] == pytest.approx(np.mean(found), rel=1e-5)
    assert choice.gap_error > 0


def test_a_network_that_has_collapsed_is_recognised_and_one_with_a_dead_branch_is_not_taken_for_it() -> None:
    images = torch.randn(10, 4)
    dead = nn.Linear(4, 4)
    nn.init.zeros_(dead.weight)
    with pytest.raises(TrainError, match="block 1: neither input nor output differs") as caught:
        choose(nn.Sequential(dead, Shift(0)), images)
    assert "weight" in caught.value.hint
    branch = choose(nn.Sequential(nn.Linear(4, 4), Shift(1)), images)  # g(x) is a constant, which is what is lost
    assert branch.scores["1"] > 0.8


@dataclass
class Lesson:
    """Training without a task: some steps on the penalty alone."""

    epochs: int
    images: Tensor

    def fit(self, network: nn.Module, penalty: Any = None, after_step: Any = None) -> None:
        torch.manual_seed(0)
        rule = torch.optim.SGD(network.parameters(), 0.05)
        for _ in range(self.epochs):
            rule.zero_grad()
            network.train()(self.images)
            penalty().backward()
            rule.step()


def test_training_with_the_distances_makes_them_smaller_and_leaves_no_hook() -> None:
    torch.manual_seed(0)
    network, images = nn.Sequential(nn.Linear(4, 4), Shift(1), Shift(-2)), torch.randn(32, 4)
    before = choose(network, images).scores
    begun, made = lacoot.begin(state(network, images), Lesson(200, images), lacoot.Recipe(weight=1.0))
    after = choose(begun, images).scores
    assert made == ()
    assert all(after[name] < 0.7 * before[name] for name in before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in begun.modules())


def test_the_term_of_the_loss_is_the_weight_times_the_mean_over_blocks_of_a_batch_of_any_size() -> None:
    network, images = nn.Sequential(Shift(3), Shift(-1)), torch.randn(5, 4)
    terms: list[float] = []

    class Asked(Lesson):
        def fit(self, network: nn.Module, penalty: Any = None, after_step: Any = None) -> None:
            torch.manual_seed(7)
            network(self.images)
            terms.append(penalty().item())

    lacoot.begin(state(network, images), Asked(1, images[:3]), lacoot.Recipe(weight=10.0))
    torch.manual_seed(7)
    draws = [torch.Generator().manual_seed(int(torch.randint(2**62, ()))) for _ in range(2)]
    seen = [by * lacoot.directions(4, 50, draw).sum(dim=0).abs().max() for by, draw in zip((3, 1), draws, strict=True)]
    assert terms == [pytest.approx(10 * float(sum(seen)) / 2, rel=1e-5)]


def test_all_epochs_are_trained_before_the_first_choice_or_half_of_them_with_healing() -> None:
    assert lacoot.budget(40, 5, lacoot.Recipe()) == Budget(40, 0)
    assert lacoot.budget(40, 5, lacoot.Recipe(healing=True)) == Budget(20, 4)
    with pytest.raises(UsageError, match="--budget-epochs 0"):
        lacoot.budget(0, 5, lacoot.Recipe())
    with pytest.raises(UsageError, match="--budget-epochs 5: not one epoch for each of 5 rungs"):
        lacoot.budget(5, 5, lacoot.Recipe(healing=True))


@pytest.mark.parametrize("recipe", [{"weight": -1.0}, {"weight": math.nan}, {"projections": 0}])
def test_settings_out_of_range_are_refused(recipe: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(recipe))):
        lacoot.check((), lacoot.Recipe(**recipe))


@pytest.mark.parametrize(("name", "count"), [("resnet18", 5), ("mobilenet_v2", 10), ("swin_t", 12)])
def test_every_block_of_a_model_has_a_distance(name: str, count: int) -> None:
    torch.manual_seed(0)
    choice = choose(content.load("model", name).build().eval(), torch.randn(6, 3, 32, 32))
    assert len(choice.scores) == count
    assert all(0 < distance < math.inf for distance in choice.scores.values())


# --- ladders ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the tests that only look: the ladder in it is made once."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def ladder(kept: Path, monkeypatch: pytest.MonkeyPatch) -> Ladder:
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))
    return client.climb(replace(REQUEST, budget_epochs=3), Told())


def plain(ladder: Ladder) -> list[dict[str, Any]]:
    return [
        {**asdict(replace(rung, seconds=None)), "variant": (rung.variant.name, rung.variant.input_shape)}
        for rung in ladder.rungs
    ]


@pytest.mark.slow
def test_a_ladder_loses_its_blocks_one_by_one_without_training_in_between_and_folds_exactly(ladder: Ladder) -> None:
    full, *shorter = ladder.rungs
    assert [rung.cost.depth for rung in ladder.rungs] == [8, 6, 4]
    assert [rung.epochs for rung in shorter] == [full.epochs + 3] * 2
    for count, rung in enumerate(shorter, 1):
        assert rung.choice is not None and len(rung.choice.chosen) == count
        assert rung.setting == list(rung.choice.scores.values())[count - 1]
        assert (rung.accuracy, rung.padding) == (rung.accuracy_removed, "kept")
        assert rung.fold_error_f64 <= 1e-12
    assert set(shorter[1].removed_names) > set(shorter[0].removed_names)


@pytest.mark.slow
@pytest.mark.parametrize("word", ["training before the first choice, epoch 2 of 3", "rung 2 of 2, choosing"])
def test_a_ladder_that_was_killed_and_resumed_is_the_one_that_was_not(
    ladder: Ladder, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(REQUEST, budget_epochs=3)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(HarnessError, match="signal 9"):
        client.climb(request, Told(word, kill_child))
    told = Told()
    resumed = client.climb(request, told)
    assert plain(resumed) == plain(ladder)
    assert not any("epoch 1 of 3" in line for line in told.lines)


@pytest.mark.slow
def test_with_healing_each_rung_is_trained_by_itself_after_the_blocks_went(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))
    healed = client.climb(replace(REQUEST, recipe={"healing": True}, budget_epochs=6), Told())
    full = healed.rungs[0].epochs
    assert [rung.epochs for rung in healed.rungs[1:]] == [
        full + 4 + 1
    ] * 2  # of 6, half for 2 rungs: 1 each, and the rest before
    assert len({rung.variant.name for rung in healed.rungs}) == 3


@pytest.mark.slow
def test_a_weight_too_large_for_the_network_ends_the_ladder_with_full_depth_kept(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))
    ladder = client.climb(replace(REQUEST, recipe={"weight": 1e30}), Told())
    assert [rung.rung for rung in ladder.rungs] == [0]
    assert ladder.ended.startswith("rung 1: training diverged: the loss became")

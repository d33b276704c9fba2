"""Smallest weights, smallest gradients, random order: what they score, by hand and by independent calculation."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness import content
from harness.child import Progress
from harness.compress import client, edits, fold, mergeable, models
from harness.compress.edits import Edit
from harness.compress.fronts import fronts
from harness.compress.ranking import lowest
from harness.compress.state import State
from harness.errors import TrainError, UsageError
from harness.records import Choice, LadderRequest

METHODS = ("smallest-weights", "smallest-gradients", "random")
MODELS = ("resnet18", "mobilenet_v2", "vgg16_bn", "swin_t")
INNER = ("layer1.0.relu1", "layer1.1.relu1", "layer2.0.relu1")


class Held(NamedTuple):
    """The part of a task that gradients are taken on."""

    images: Tensor
    labels: Tensor


class Block(nn.Module):
    """A main branch of two layers, written last, and a shortcut of one that is called first; BatchNorm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.one, self.two = (nn.Conv2d(2, 2, 1) for _ in range(3))
        self.norm, self.drop = nn.BatchNorm2d(2), nn.Dropout(0.5)
        self.inner, self.outer = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        short = self.down(x)
        main = self.drop(self.two(self.inner(self.norm(self.one(x)))))
        return self.outer(short + main)


def silent(_: Progress) -> None:
    pass


def asked(method: str, network: nn.Module, names: tuple[str, ...], held: Held, step: int = 1) -> Choice | None:
    loaded = content.load("method", method)
    state = State(network.eval(), held.images[:2], names, names, held, step=step)
    choice: Choice | None = loaded.choose(state, loaded.Recipe())
    return choice


def chosen(method: str, network: nn.Module, names: tuple[str, ...], held: Held, step: int = 1) -> Choice:
    choice = asked(method, network, names, held, step)
    assert choice is not None
    return choice


def images(count: int, *shape: int, classes: int = 2) -> Held:
    torch.manual_seed(3)
    return Held(torch.randn(count, *shape), torch.randint(classes, (count,)))


def stack() -> nn.Sequential:
    """Three layers with activations behind them, through BatchNorm and dropout, and a head."""
    torch.manual_seed(0)
    first = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU(inplace=True)]
    second = [nn.Conv2d(4, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU6(inplace=True), nn.AvgPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(20, 6), nn.GELU(), nn.Linear(6, 2)).eval()


BEHIND = {"3": "0", "6": "4", "10": "9"}  # the layer in front of each activation of `stack`


# --- the layer in front ----------------------------------------------------------------------------------------------


def test_the_layer_in_front_is_found_through_norms_and_dropout() -> None:
    assert fronts(stack(), torch.randn(2, 3, 8, 8), tuple(BEHIND)) == BEHIND


def test_the_layer_in_front_stays_the_same_when_activations_before_it_are_gone() -> None:
    example = torch.randn(2, 3, 8, 8)
    without = edits.apply(stack(), [Edit("linear", ("3",))], example)
    assert fronts(without, example, ("6", "10")) == {"6": "4", "10": "9"}


def test_behind_a_shortcut_the_main_branch_s_last_layer_counts() -> None:
    found = fronts(Block(), torch.randn(2, 2, 3, 3), ("outer", "inner"))
    assert found == {"outer": "two", "inner": "one"}
    assert list(found) == ["outer", "inner"]


@pytest.mark.parametrize("method", METHODS[:2])
def test_an_activation_without_a_layer_in_front_is_refused_before_anything_is_made(method: str) -> None:
    network = nn.Sequential(nn.ReLU(), nn.Linear(2, 2)).eval()
    loaded = content.load("method", method)
    with pytest.raises(UsageError, match="activation 0 has no convolution or linear layer in front of it") as caught:
        loaded.units(State(network, torch.randn(2, 2), ("0",), ()), loaded.Recipe())
    assert "--eligible mergeable" in caught.value.hint


def test_an_activation_that_nothing_calls_is_refused() -> None:
    network = Block()
    network.spare = nn.ReLU()
    with pytest.raises(UsageError, match='"spare"'):
        fronts(network, torch.randn(2, 2, 3, 3), ("spare",))


# --- smallest weights ------------------------------------------------------------------------------------------------


def test_mean_weights_of_a_case_worked_by_hand() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1), nn.ReLU())
    for layer, values in {0: [[-3.0, 1.0], [2.0, 0.0]], 2: [[0.5, -0.5], [0.5, -1.5]], 4: [[1.0, -1.0]]}.items():
        network[layer].weight.data = torch.tensor(values)
    choice = chosen("smallest-weights", network, ("1", "3", "5"), images(4, 2), step=2)
    assert choice.scores == {"3": 0.75, "5": 1.0, "1": 1.5}
    assert list(choice.scores) == ["3", "5", "1"]
    assert (choice.chosen, choice.gap, choice.gap_error, choice.setting) == (("3", "5"), 0.5, None, None)


def test_mean_weights_equal_those_counted_one_by_one() -> None:
    network = stack()
    choice = chosen("smallest-weights", network, tuple(BEHIND), images(4, 3, 8, 8))
    for name, layer in BEHIND.items():
        values = network.get_submodule(layer).weight.detach().numpy().ravel()
        assert choice.scores[name] == pytest.approx(sum(abs(float(value)) for value in values) / len(values))


def test_weights_that_are_no_numbers_end_the_ladder_with_a_clear_error() -> None:
    network = stack()
    network[4].weight.data[0] = torch.nan
    with pytest.raises(TrainError, match="the score of 6 is nan"):
        chosen("smallest-weights", network, tuple(BEHIND), images(4, 3, 8, 8))


# --- smallest gradients ----------------------------------------------------------------------------------------------


def test_the_mean_gradient_of_a_case_worked_by_hand() -> None:
    """Both logits are 1 and both classes as likely: an image of class 0 pulls the weights by (-1/2, 1/2) times its input."""
    network = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU())
    network[0].weight.data.fill_(1.0)
    ones = torch.ones(3, 1)
    alike = chosen("smallest-gradients", network, ("1",), Held(ones, torch.tensor([0, 0, 0])))
    assert alike.scores["1"] == pytest.approx(1 / 2)
    apart = chosen("smallest-gradients", network, ("1",), Held(ones, torch.tensor([0, 0, 1])))
    assert apart.scores["1"] == pytest.approx(1 / 6)  # |2 (-1/2) + 1/2| / 3: images that disagree cancel


def test_gradients_equal_differences_of_the_loss_over_several_batches() -> None:
    network, held = stack().double(), images(150, 3, 8, 8)
    held = Held(held.images.double(), held.labels)
    choice = chosen("smallest-gradients", network, tuple(BEHIND), held)
    for name, layer in BEHIND.items():
        weight = network.get_submodule(layer).weight.detach().view(-1)
        slopes = [slope(network, weight, index, held) for index in range(len(weight))]
        assert choice.scores[name] == pytest.approx(float(np.abs(slopes).mean()), rel=1e-4)


def slope(network: nn.Module, weight: Tensor, index: int, held: Held) -> float:
    """The loss's slope at one weight by a central difference."""
    step, before, losses = 1e-6, weight[index].item(), []
    for value in (before + step, before - step):
        weight[index] = value
        with torch.no_grad():
            losses.append(functional.cross_entropy(network(held.images), held.labels).item())
    weight[index] = before
    return (losses[0] - losses[1]) / (2 * step)


def test_gradients_leave_no_trace_in_the_network() -> None:
    network = stack()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    chosen("smallest-gradients", network, tuple(BEHIND), images(70, 3, 8, 8))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_smallest_gradient_goes_first() -> None:
    network, held = stack(), images(20, 3, 8, 8)
    network[11].weight.data *= 100  # what is behind it is pulled harder
    choice = chosen("smallest-gradients", network, tuple(BEHIND), held)
    assert choice.chosen[0] == min(choice.scores, key=choice.scores.__getitem__) == next(iter(choice.scores))


# --- random ----------------------------------------------------------------------------------------------------------

random = content.load("method", "random")
NAMES = ("a", "b", "c", "d")


def drawn(seed: int, names: tuple[str, ...] = NAMES) -> list[str]:
    """The whole order of a ladder, taken rung by rung."""
    left, order = names, []
    while choice := random.choose(State(nn.Identity(), torch.zeros(2), names, left, seed=seed), random.Recipe()):
        order += choice.chosen
        left = tuple(name for name in left if name not in choice.chosen)
    return order


def test_a_random_order_is_kept_for_the_whole_ladder_and_its_places_are_the_scores() -> None:
    first = random.choose(State(nn.Identity(), torch.zeros(2), NAMES, NAMES, seed=5), random.Recipe())
    assert drawn(5) == list(first.scores) == sorted(first.scores, key=first.scores.__getitem__)
    assert list(first.scores.values()) == [0, 1, 2, 3]
    assert (first.gap, first.gap_error) == (None, None)
    assert drawn(5) == drawn(5)
    assert len({tuple(drawn(seed, tuple("abcdefgh"))) for seed in range(6)}) == 6  # another order for each seed


def test_every_random_order_is_as_likely() -> None:
    orders = Counter(tuple(drawn(seed, NAMES[:3])) for seed in range(600))
    assert len(orders) == 6
    assert all(60 < count < 140 for count in orders.values())  # 100 expected, standard deviation 9


# --- common to all ---------------------------------------------------------------------------------------------------


def test_without_candidates_each_baseline_ends_the_ladder() -> None:
    assert [asked(method, stack(), (), images(4, 3, 8, 8)) for method in METHODS] == [None] * 3


def test_a_score_of_infinity_has_its_place_and_nan_has_none() -> None:
    choice = lowest({"a": float("inf"), "b": 1.0})
    assert choice is not None
    assert choice.chosen == ("b",)
    with pytest.raises(TrainError, match="the score of a is nan"):
        lowest({"a": float("nan"), "b": 1.0})


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_ladder_goes_down_to_the_last_activation_and_every_rung_folds_exactly(method: str) -> None:
    ladder = client.climb(LadderRequest(method=method, model="tiny", task="tiny", threads=1), silent)
    assert [rung.removed for rung in ladder.rungs] == [0, 1, 2, 3]
    assert set(ladder.rungs[-1].removed_names) == set(INNER)
    assert [rung.cost.depth for rung in ladder.rungs] == [ladder.rungs[0].cost.depth - gone for gone in range(4)]
    test = content.load("task", "tiny").load(None).test
    for rung in ladder.rungs:
        assert (rung.fold_error_f64 <= 1e-12, rung.fold_error <= 1e-5) == (True, True)
        with torch.inference_mode():
            said = torch.export.load(rung.variant.program).module()(test.images).argmax(1)
        assert (said == test.labels).float().mean().item() == pytest.approx(rung.accuracy, abs=1e-6)
    if method == "random":
        assert list(ladder.rungs[-1].removed_names) == drawn(0, INNER)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_each_baseline_shortens_the_networks_of_the_papers_and_they_fold_exactly(model: str) -> None:
    task = content.load("task", "digits")
    network = models.build(model, task, 0).eval()
    example = models.example(task, 0)
    eligible = mergeable(network, example)
    held = images(8, *task.SHAPE, classes=10)
    for method in METHODS:
        loaded = content.load("method", method)
        state = State(network, example, eligible, eligible, held, step=2)
        choice = loaded.choose(state, loaded.Recipe())
        assert set(choice.scores) == set(eligible)
        again = loaded.choose(replace(state, candidates=tuple(set(eligible) - set(choice.chosen))), loaded.Recipe())
        assert not set(again.chosen) & set(choice.chosen)
    shorter = edits.apply(network, [Edit("linear", choice.chosen)], example)
    assert fold(shorter.eval(), example).max_error <= 1e-12

"""NEPENTHE leaves out states that are 0 and weighs each channel by itself; its rounds hold on every kind of network."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from told import Told, kill_child
from torch import Tensor, nn

from harness import content
from harness.compress import activations, client, edits, fold, mergeable, models
from harness.compress.state import State
from harness.errors import HarnessError, UsageError
from harness.records import LadderRequest

nepenthe = content.load("method", "nepenthe")
egp = content.load("method", "egp")
QUARTER = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))  # H(1/4) = 0.8113
TINY = LadderRequest(
    method="nepenthe", model="tiny", task="tiny", threads=1, recipe={"zeta": 0.8}, eligible="all", rungs=3
)


class Held(NamedTuple):
    """The part of a task that entropies are taken on."""

    images: Tensor
    labels: Tensor


def state_of(network: nn.Module, images: Tensor, names: tuple[str, ...] | None = None) -> State:
    names = activations(network) if names is None else names
    held_out = Held(images, torch.zeros(len(images), dtype=torch.int64))
    return State(copy.deepcopy(network).eval(), images[:2], names, names, held_out)


def by_hand() -> State:
    """Two layers, four images; behind the first activation lie (1, 2), (1, 0), (1, 2), (0, 2)."""
    network = nn.Sequential(nn.Linear(2, 2, False), nn.ReLU(), nn.Linear(2, 2, False), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        network[2].weight.copy_(torch.tensor([[3.0, 0.0], [1.0, -1.0]]))
    images = torch.tensor([[1.0, 1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    return state_of(network.double(), images)


def test_a_round_of_a_case_worked_by_hand_goes_another_way_than_egp() -> None:
    """The second layer's first channel reads 3, 3, 3 and 0: ON, ON, ON and nothing, so it is always ON and left out."""
    choice = nepenthe.choose(by_hand(), nepenthe.Recipe())
    assert choice.scores == pytest.approx({"3": QUARTER * (1 + 1) / 2, "1": (QUARTER * 1 + QUARTER * 2) / 2}, rel=1e-12)
    assert list(choice.scores) == ["3", "1"]
    assert list(egp.choose(by_hand(), egp.Recipe()).scores) == ["1", "3"]


@pytest.mark.parametrize("seed", range(3))
def test_irrelevance_equals_an_independent_calculation(seed: int) -> None:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 6, 2), nn.ReLU(), nn.Conv2d(6, 2, 1)).double().eval()
    with torch.no_grad():
        network[1].weight.mul_((torch.rand_like(network[1].weight) > 0.6).double())  # sparse
        network[1].bias.zero_()
    images = (
        torch.randn(90, 3, 5, 5, dtype=torch.float64) - 1
    )  # many zeros behind the first ReLU, so behind the layer too
    with torch.no_grad():
        z = network[:2](images).numpy()
    assert (z == 0).any()
    score = nepenthe.choose(state_of(network, images, ("2",)), nepenthe.Recipe()).scores["2"]
    assert score == pytest.approx(plainly(z, network[1].weight.detach().numpy()), rel=1e-12)


def plainly(z: np.ndarray, weight: np.ndarray) -> float:
    """The definition, number by number."""
    terms = []
    for channel in range(z.shape[1]):
        values = [value for value in z[:, channel].ravel().tolist() if value != 0]
        p = sum(1 for value in values if value > 0) / max(1, len(values))
        live = [abs(value) for value in weight[channel].ravel().tolist() if value != 0]
        if 0 < p < 1:
            terms.append((-p * math.log2(p) - (1 - p) * math.log2(1 - p)) * sum(live) / len(live))
    return sum(terms) / len(terms)


def test_channels_that_are_never_negative_let_an_activation_become_linear() -> None:
    network = nn.Sequential(nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        network[1].weight.copy_(torch.eye(2))
        network[1].bias.zero_()
    images = torch.tensor([[1.0, -1.0], [-1.0, 2.0]], dtype=torch.float64)  # 0 is what they are without being positive
    assert nepenthe.choose(state_of(network, images, ("2",)), nepenthe.Recipe()).chosen == ("2",)
    assert egp.choose(state_of(network, images, ("2",)), egp.Recipe()).chosen == ()


def test_settings_that_are_no_shares_are_refused_by_the_name_of_the_method() -> None:
    with pytest.raises(UsageError, match="nepenthe: zeta = 2 "):
        nepenthe.check(("relu",), nepenthe.Recipe(zeta=2.0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "model"),
    [(egp, "resnet18"), (egp, "mobilenet_v2"), (egp, "vgg16_bn"), (egp, "swin_t"), (nepenthe, "resnet18")],
    ids=["egp-resnet18", "egp-mobilenet_v2", "egp-vgg16_bn", "egp-swin_t", "nepenthe-resnet18"],
)
def test_a_round_of_every_kind_of_network_cuts_and_folds_exactly(method: Any, model: str) -> None:
    task = content.load("task", "digits")
    network, example = models.build(model, task, 0).eval(), models.example(task, 0)
    images = torch.randn(8, *task.SHAPE, generator=torch.Generator().manual_seed(0))
    names = mergeable(network, example)
    recipe, state = method.Recipe(zeta=0.9), replace(state_of(network, images, names), example=example)
    assert method.units(state, recipe) == names
    choice = method.choose(replace(state, network=copy.deepcopy(network)), recipe)
    assert choice.setting == pytest.approx(0.9, abs=0.1)
    network, made = method.shorten(state, choice, recipe)
    network = edits.apply(network, made, example).eval()
    finished, more = method.finish(replace(state, network=copy.deepcopy(network)), recipe)
    assert more
    cut = edits.apply(finished, more, example).eval()
    with torch.no_grad():
        wanted, got = network.double()(images.double()), copy.deepcopy(cut).double()(images.double())
    assert float((wanted - got).abs().max() / wanted.abs().max()) <= 1e-5  # cut in float32
    assert fold(cut, example).max_error <= 1e-12


@pytest.mark.slow
def test_a_ladder_folds_exactly_and_is_the_same_when_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = client.climb(TINY, lambda _: None)
    assert all(rung.fold_error_f64 <= 1e-12 and rung.fold_error <= 1e-5 for rung in whole.rungs)
    assert whole.rungs[-1].removed > 0
    assert client.climb(TINY, lambda _: None).cached
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where nothing is yet
    with pytest.raises(HarnessError, match="signal 9"):
        client.climb(TINY, Told("rung 2 of 3, choosing", kill_child))
    again = client.climb(TINY, lambda _: None)
    for a, b in zip(whole.rungs, again.rungs, strict=True):
        one, other = (replace(rung, variant=replace(rung.variant, program=""), seconds=None) for rung in (a, b))
        assert asdict(one) == asdict(other)

"""Options are priced free first, by training then: once each, alike for a seed, and one that goes wrong spoils no other."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from told import Told, kill_child

from harness import cache
from harness.compress import client, keys, prices, pricing, rungs
from harness.compress.climber import LEARNING, Means
from harness.compress.methods import easier
from harness.compress.prices import Choice
from harness.errors import HarnessError, UsageError
from harness.records.planned import Priced, PricesRequest

EARLY, LATE = "layer1.0.conv1..layer1.0.conv2:plain", "layer2.0.conv1..layer2.0.conv2:plain"
LATE_AND_SHORTCUT = "layer2.0.conv1..layer2.0.downsample.0:plain"  # removes what LATE does, and merges more
TWO_BLOCKS = "layer1.0.conv1..layer1.1.conv2:plain"
SKIP = "layer1.0:skip"
PLAN = (EARLY, LATE)
TINY = PricesRequest(
    "tiny", "tiny", ((EARLY,), (LATE,), (LATE_AND_SHORTCUT,), (TWO_BLOCKS,), (SKIP,), (), PLAN), threads=1
)
SHORT = replace(TINY, wanted=((LATE,), (SKIP,)), seeds=(0,))


class Cut(BaseException):
    """Stands for whatever ends a process: nothing may catch it."""


def cut() -> None:
    raise Cut


def made(request: PricesRequest, told: Told | None = None) -> tuple[Priced, ...]:
    """Make the prices in the test's own process, and return what the cache has of them."""
    pricing.make(request, told or Told())
    found = prices.read(request)
    assert found is not None
    return found


def untimed(priced: tuple[Priced, ...]) -> list[Priced]:
    return [replace(one, seconds=None) for one in priced]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Told]]:
    """One cache for the tests that only look, and what was told when its prices were made."""
    home, told = tmp_path_factory.mktemp("kept"), Told()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        made(TINY, told)
    yield home, told


@pytest.fixture
def priced(kept: tuple[Path, Told], monkeypatch: pytest.MonkeyPatch) -> tuple[Priced, ...]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept[0]))
    found = prices.read(TINY)
    assert found is not None
    return found


def by_choice(priced: tuple[Priced, ...], seed: int = 0) -> Mapping[Choice, Priced]:
    return {one.options: one for one in priced if one.seed == seed}


# --- what a price is -----------------------------------------------------------------------------------------------


def test_the_full_network_against_itself_costs_exactly_nothing(priced: tuple[Priced, ...]) -> None:
    for seed in TINY.seeds:
        itself = by_choice(priced, seed)[()]
        assert itself.loss == itself.baseline and itself.accuracy == itself.baseline_accuracy
        assert (itself.entropy, itself.rise, itself.failure) == (0.0, None, None)


def test_a_price_is_the_rise_of_the_held_out_loss_over_the_full_network_trained_as_long(
    priced: tuple[Priced, ...],
) -> None:
    (late,) = (price for price in prices.summary(priced) if price.option == LATE)
    rises = [one.loss - one.baseline for one in priced if one.options == (LATE,) and one.loss and one.baseline]
    assert len(rises) == 2 and late.basis == "loss"
    assert late.price == pytest.approx(sum(rises) / 2)
    assert late.error == pytest.approx(abs(rises[0] - rises[1]) / 2)
    assert late.accuracy_drop is not None and -1 <= late.accuracy_drop <= 1


def test_seeds_are_full_networks_of_their_own(priced: tuple[Priced, ...]) -> None:
    one, other = by_choice(priced, 0)[(LATE,)], by_choice(priced, 1)[(LATE,)]
    assert one.baseline != other.baseline and one.entropy != other.entropy


def test_one_activation_costs_less_than_all_between_the_stem_and_the_second_stage(priced: tuple[Priced, ...]) -> None:
    cost = {price.option: price.price for price in prices.summary(priced)}
    bits = {price.option: price.price for price in prices.summary(priced, "entropy")}
    assert cost[LATE] < cost[TWO_BLOCKS]
    assert bits[LATE] < bits[TWO_BLOCKS] and bits[EARLY] < bits[TWO_BLOCKS]


def test_the_bits_of_an_option_are_those_of_its_activations_added_up(priced: tuple[Priced, ...]) -> None:
    of = by_choice(priced)
    assert of[PLAN].entropy == pytest.approx(of[(EARLY,)].entropy + of[(LATE,)].entropy)
    assert of[(LATE,)].entropy == of[(LATE_AND_SHORTCUT,)].entropy
    assert 0 < of[(LATE,)].entropy <= 1


def test_the_loss_before_fine_tuning_is_known_where_layers_are_dropped_and_only_there(
    priced: tuple[Priced, ...],
) -> None:
    assert {one.options for one in priced if one.rise is not None} == {(SKIP,)}


def test_entropy_is_0_for_an_activation_that_always_acts_alike_and_1_for_one_that_is_on_half_the_time() -> None:
    class Part:
        images = torch.tensor([[1.0, 1.0], [1.0, -1.0], [1.0, 1.0], [1.0, -1.0]])
        labels = torch.zeros(4, dtype=torch.int64)

    network = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Flatten())
    assert pricing.entropies(network, Part()) == {"0": 0.5}  # one position certain, one a fair coin


def test_bits_are_those_that_easier_chooses_by_position(priced: tuple[Priced, ...]) -> None:
    means = Means(keys.full(TINY, 0), Told())
    network = means.build().eval()
    choice = easier.choose(means.state(network, means.activations, 1), easier.Recipe("position"))
    assert choice is not None
    assert pricing.entropies(network, means.data.validation) == pytest.approx(choice.scores, rel=1e-5)


def test_an_interaction_is_the_joint_price_less_the_sum(priced: tuple[Priced, ...]) -> None:
    (found,) = prices.interactions(priced)
    cost = {price.option: price.price for price in prices.summary(priced)}
    assert found.options == PLAN
    assert found.added == pytest.approx(cost[EARLY] + cost[LATE])
    assert found.excess == pytest.approx(found.joint - found.added) and found.error is not None


# --- tiers and the queue -------------------------------------------------------------------------------------------


def test_what_is_free_is_known_of_all_before_anything_is_fine_tuned(kept: tuple[Path, Told]) -> None:
    lines = kept[1].lines
    listed = next(place for place, line in enumerate(lines) if "cheapest first" in line)
    assert all("decides" not in line for line in lines[listed:])
    assert all("(1 of" not in line and "fine-tuned" not in line for line in lines[:listed])
    assert sum("decides" in line for line in lines[:listed]) == len(TINY.wanted) * len(TINY.seeds)


def test_choices_are_trained_in_the_order_that_was_listed_each_with_all_seeds(kept: tuple[Path, Told]) -> None:
    lines = kept[1].lines
    listed = next(line for line in lines if "cheapest first" in line).split("cheapest first: ")[1].split(", ")
    trained = [line for line in lines if " of 16)" in line and "epoch" not in line]
    order = list(dict.fromkeys(line.split(": ", 1)[1].rsplit(" (", 1)[0] for line in trained))
    assert order[0] == "nothing taken"
    assert [choice for choice in listed if choice in order[1:]] == order[1:]
    assert order.index(LATE) < order.index(TWO_BLOCKS)


def test_progress_says_how_long_the_rest_takes(kept: tuple[Path, Told]) -> None:
    epochs = [line for line in kept[1].lines if "epoch 1 of 1" in line]
    assert epochs and all(" left" in line for line in epochs)
    assert "seed 0: the full network, training, epoch 5 of 5" in " ".join(kept[1].lines)


def test_free_prices_train_nothing_beyond_the_full_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    request, told = replace(SHORT, tier="entropy"), Told()
    found = made(request, told)
    assert not told.heard("epoch 1 of 1")
    assert all(one.loss is None and one.failure is None for one in found)
    assert [price.basis for price in prices.summary(found, "entropy")] == ["entropy", "entropy"]
    assert prices.summary(found) == ()


# --- once each -----------------------------------------------------------------------------------------------------


def test_options_that_differ_in_what_is_merged_alone_are_trained_once(priced: tuple[Priced, ...]) -> None:
    of = by_choice(priced)
    assert replace(of[(LATE,)], options=()) == replace(of[(LATE_AND_SHORTCUT,)], options=())


def test_the_full_network_is_that_of_every_ladder_of_its_seed(priced: tuple[Priced, ...]) -> None:
    for seed in TINY.seeds:
        rung = rungs.require(keys.rung(replace(keys.full(TINY, seed), method="easier"), 0, None))
        assert (rung.rung, rung.removed) == (0, 0)


@pytest.mark.slow
def test_an_interrupted_pricing_goes_on_to_the_same_prices(
    priced: tuple[Priced, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for word in ("the full network, training, epoch 2", "(2 of 3), epoch 1"):
        with pytest.raises(Cut):
            made(SHORT, Told(word, cut))
    told = Told()
    found = made(SHORT, told)
    assert "(1 of 2)" in next(line for line in told.lines if "epoch" in line)  # one was done, two are left
    assert untimed(found) == untimed(tuple(one for one in priced if one.seed == 0 and one.options in SHORT.wanted))
    assert not list((cache.root() / LEARNING).glob("*"))


@pytest.mark.slow
def test_a_killed_child_loses_one_training_and_a_whole_look_up_starts_none(
    monkeypatch: pytest.MonkeyPatch, priced: tuple[Priced, ...], tmp_path: Path
) -> None:
    for kind in ("rung", "statistic"):  # the full network need not be trained again for this
        shutil.copytree(cache.root() / kind, tmp_path / "edge-harness" / kind)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(HarnessError, match="signal 9"):
        client.prices(SHORT, Told("(2 of 3)", kill_child))
    told = Told()
    found = client.prices(SHORT, told)
    assert told.heard("(1 of 2)")
    monkeypatch.setattr("sys.executable", "/nowhere/python")  # no child could be started
    told = Told()
    assert client.prices(SHORT, told) == found and not told.lines
    assert client.prices(replace(SHORT, wanted=((SKIP,),)), told) == found[1:]
    assert untimed(found) == untimed(tuple(one for one in priced if one.seed == 0 and one.options in SHORT.wanted))


@pytest.mark.parametrize(
    "change", [{"epochs": 2}, {"threads": 2}, {"schedule": "cifar"}, {"seeds": (2,)}, {"data": "/d"}, {"kernel": 5}]
)
def test_a_price_is_known_by_all_that_it_depends_on(change: dict[str, object]) -> None:
    other = replace(SHORT, **change)  # type: ignore[arg-type]
    assert keys.trained(SHORT, (LATE,), 0) != keys.trained(other, (LATE,), other.seeds[0])


def test_the_order_of_the_options_of_a_plan_changes_nothing() -> None:
    assert keys.trained(TINY, PLAN, 0) == keys.trained(TINY, PLAN[::-1], 0)
    assert keys.trained(TINY, PLAN, 0) != keys.trained(TINY, PLAN[:1], 0)


# --- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "said"), [((("layer1.0:skipp",),), r"layer1\.0:skip"), (((SKIP, EARLY),), "touch one layer")]
)
def test_options_that_cannot_be_are_refused_before_anything_is_trained(wanted: tuple[Choice, ...], said: str) -> None:
    told = Told()
    with pytest.raises(UsageError, match=said):
        made(replace(SHORT, wanted=((LATE,), *wanted)), told)
    assert not told.lines


GUARDED = """
import torch
from torch import nn

TASK = "tiny"

def build(weights=None, classes=10, shape=(3, 16, 16)):
    '''A network of which one ReLU6 bounds what would be beyond all numbers without it, and one guards nothing.'''
    torch.manual_seed(0)
    wild = nn.Conv2d(3, 4, 1)
    wild.weight.data *= 1e30
    layers = [wild, nn.ReLU6(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
"""


def test_a_training_that_diverges_costs_one_option_its_price_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "guarded.py").write_text(GUARDED)
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    wild, tame = ("0..2:plain",), ("2..4:plain",)
    found = made(replace(SHORT, model="guarded", wanted=(wild, tame)))
    assert found[0].loss is None and found[0].failure is not None and "diverged" in found[0].failure
    assert found[1].loss is not None and math.isfinite(found[1].loss)
    assert [price.option for price in prices.summary(found)] == list(tame)
    assert list(prices.failures(found)) == list(wild)
    assert made(replace(SHORT, model="guarded", wanted=(wild,)))[0] == found[0]

"""What a planner has trained, and what it looks up: prices of options, plans and pairs. Nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness import transport
from harness.child import Progress
from harness.compress import prices
from harness.compress.prices import Choice, Free, Trained
from harness.planner import folder, goals, work
from harness.planner.bench import Bench
from harness.planner.folder import Asked
from harness.planner.goals import Goal
from harness.records import Cost, Device, Profile, Speedup
from harness.records.planned import FoldingPlan, Gain, Listing, Option, Prediction, PriceBasis, Verified

ASKED = Asked("local", "tiny", "tiny", None, "onnxruntime", "fp32", 1, 1)
DEVICE = Device("local", Profile("box", "", "any", ("onnxruntime",)))
NINE = Prediction(1.0, 1.0, 1.0, 9.0, 9.0, 9.0)
MEASURED = Verified(Speedup(1.2, 1.1, 1.3, "faster"), 1.0, 0.0, Cost(1, 1, 1, 1, 1, 1, 1), None)
KEPT = Option("kept", "plain", 0, 2, ("a", "b"), (), ("relu",), 2, 1, 1, 1, "x")
DROPPED = replace(KEPT, name="dropped", form="skip", layers=(), dropped=("a", "b"))
LISTING = Listing("tiny", "tiny", ("a", "b"), ("relu",), (KEPT, DROPPED))
GAINS = tuple(Gain(option.name, 3.0, 2.0, 4.0, "in place") for option in LISTING.options)


def a_planner(tmp_path: Path, basis: PriceBasis) -> work.Work:
    own = folder.make(tmp_path, folder.begin(ASKED, {"facts": {}, "versions": {}}))
    return work.Work(tmp_path, Goal(basis), Bench(own, DEVICE, transport.connect(DEVICE), None, silent))


def silent(_: Progress) -> None:
    """Nobody listens."""


def keep(costs: dict[Choice, float], basis: PriceBasis = "loss") -> None:
    """Have choices in the cache as if they had been trained; the second seed's cost a little more."""
    request = goals.request(ASKED, tuple(costs), basis)
    for choice, cost in costs.items():
        for seed in request.seeds:
            prices.write_free(request, choice, seed, Free(cost, None))
            prices.write_trained(request, choice, seed, Trained(1 + cost + seed / 64, 0.75, 1.0))


def test_pairs_within_the_plans_of_a_front_are_priced_beside_the_plans(tmp_path: Path) -> None:
    three = FoldingPlan(("a", "b", "c"), (), 0.0, NINE, verified=MEASURED)
    two = replace(three, options=("a", "b"))
    lost = replace(three, options=("b", "d"), verified=None)
    plans: dict[Choice, float] = {("a", "b", "c"): 1.0, ("a", "b"): 0.25}
    keep({(): 0.0, ("a",): 0.125, ("b",): 0.125, ("c",): 0.25, ("a", "c"): 0.5, ("b", "c"): 0.25, **plans})
    planner = a_planner(tmp_path, "loss")
    front, found = planner._trained((two, three, lost))
    assert {each.options: each.excess for each in found} == pytest.approx(
        {("a", "b", "c"): 0.5, ("a", "b"): 0.0, ("a", "c"): 0.125, ("b", "c"): -0.125}
    )
    assert [plan.verified and plan.verified.price for plan in front] == [0.25, 1.0, None]
    assert not planner.bench.measured and not planner.bench.seconds  # it was a look-up


def test_as_many_pairs_are_trained_as_a_number_of_trainings_allows() -> None:
    plan = tuple("abcdefgh")
    assert len(prices.pairs([plan], work.PAIR_TRAININGS)) == 6


def test_prices_are_those_of_the_cache_whatever_was_priced_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner = a_planner(tmp_path, "loss")
    for cost in (0.25, 0.5):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / str(cost)))
        keep({(): 0.0, ("kept",): cost, ("dropped",): cost})
        assert {price.price for price in planner._prices(LISTING, GAINS)[0]} == {cost}


def test_bits_price_no_option_that_drops_layers(tmp_path: Path) -> None:
    keep({("kept",): 0.25, ("dropped",): 0.0}, "entropy")
    found, unpriced = a_planner(tmp_path, "entropy")._prices(LISTING, GAINS)
    assert [price.option for price in found] == ["kept"]
    assert unpriced == {"dropped": "bits say nothing of dropped layers"}


def test_an_option_whose_training_diverged_has_no_price_and_says_why(tmp_path: Path) -> None:
    keep({(): 0.0, ("kept",): 0.25})
    request = goals.request(ASKED, [("dropped",)], "loss")
    for seed in request.seeds:
        prices.write_free(request, ("dropped",), seed, Free(0.0, None))
        prices.write_trained(request, ("dropped",), seed, Trained(None, None, 1.0, "diverged"))
    found, unpriced = a_planner(tmp_path, "loss")._prices(LISTING, GAINS)
    assert [price.option for price in found] == ["kept"] and unpriced == {"dropped": "seed 1: diverged"}

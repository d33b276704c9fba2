"""What prices come to over seeds: means and errors, interactions of plans, pairs worth a training. Nothing is trained."""

from __future__ import annotations

import pytest

from harness.compress import prices
from harness.compress.prices import Choice
from harness.records.planned import Interaction, Price, Priced


def one(choice: Choice, seed: int, loss: float | None, baseline: float = 1.0) -> Priced:
    failure = None if loss is not None else "diverged"
    return Priced(choice, seed, 0.5, None, loss, baseline, 0.75, 0.875, 1.0, failure)


def test_the_error_of_an_interaction_is_that_of_its_seeds_own_excesses() -> None:
    singles = [one(("a",), 0, 1.25), one(("a",), 1, 1.5), one(("b",), 0, 1.25), one(("b",), 1, 1.0)]
    (found,) = prices.interactions([*singles, one(("a", "b"), 0, 2.0), one(("a", "b"), 1, 2.0)])
    assert found == Interaction(("a", "b"), joint=1.0, added=0.5, excess=0.5, error=0.0, seeds=2, low=0.5, high=0.5)
    assert prices.interactions([*singles[:3], one(("a", "b"), 0, 2.0), one(("a", "b"), 1, 2.0)]) == ()


def test_two_seeds_leave_an_interaction_an_interval_of_13_standard_errors_and_one_seed_none() -> None:
    singles = [one((name,), seed, 1.25) for name in "ab" for seed in (0, 1)]
    (found,) = prices.interactions([*singles, one(("a", "b"), 0, 1.75), one(("a", "b"), 1, 2.0)])
    assert (found.excess, found.error, found.seeds) == (0.375, 0.125, 2)
    assert found.low is not None and found.low == pytest.approx(0.375 - 12.706 * 0.125, abs=1e-3)
    assert found.high is not None and found.high == pytest.approx(0.375 + 12.706 * 0.125, abs=1e-3)
    (alone,) = prices.interactions([*singles[::2], one(("a", "b"), 0, 1.75)])
    assert (alone.seeds, alone.error, alone.low, alone.high) == (1, None, None, None)


def test_a_price_below_0_stays_as_it_was_measured_and_one_seed_has_no_error() -> None:
    assert prices.summary([one(("a",), 0, 0.75)]) == (Price("a", -0.25, None, "loss", 0.125),)


def test_an_option_that_failed_with_one_seed_has_no_price_though_another_went_well() -> None:
    both = [one(("a",), 0, 1.5), one(("a",), 1, None), one(("b",), 0, 1.5), one(("b",), 1, 1.5)]
    assert [price.option for price in prices.summary(both)] == ["b"]
    assert prices.failures(both) == {"a": "seed 1: diverged"}


def test_pairs_within_a_budget_are_those_that_most_plans_hold_and_no_plan_itself() -> None:
    plans = (("a", "b", "c"), ("a", "c", "d"), ("c", "d"))
    assert prices.pairs(plans, trainings=2) == (("a", "c"),)
    assert prices.pairs(plans, trainings=100) == (("a", "c"), ("a", "b"), ("b", "c"), ("a", "d"))
    assert prices.pairs(plans, trainings=1) == ()

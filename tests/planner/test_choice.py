"""Choosing options: against all choices there are, on small networks; and what every front promises, on any."""

import itertools
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.planner import goals
from harness.planner.choice import fastest, front, items, predicted, reaching, unbeaten
from harness.planner.programme import STEPS, Item, Programme, likely_ns, price_of, worthwhile
from harness.records.made import Cost
from harness.records.measured import Speedup
from harness.records.planned import FoldingPlan, Gain, Listing, Option, Prediction, Price, Verified

PLACES, MOST = 6, 9
US = 1000.0
REFERENCE = 1000 * US


def item(first, after, price, gain, name=None, spread=0.5):
    """An item of so many µs for sure, estimated at half as much again."""
    sure = gain * US
    name = name or f"l{first}..l{after - 1}"
    return Item(name, first, after, price, sure, (1 + spread) * sure, sure, (1 + 2 * spread) * sure, (f"relu{first}",))


def named(listed):
    """The same with names of their own, that say nothing of what they are worth."""
    return tuple(replace(each, option=f"option{place}") for place, each in enumerate(listed))


spans = st.integers(0, PLACES - 1).flatmap(lambda first: st.tuples(st.just(first), st.integers(first + 1, PLACES)))
any_item = st.builds(lambda span, price, gain: item(*span, price, gain), spans, st.integers(0, 8), st.integers(1, 40))
networks = st.lists(any_item, max_size=MOST).map(named)


def apart(choice):
    in_order = sorted(choice, key=lambda each: each.first)
    return all(one.after <= other.first for one, other in itertools.pairwise(in_order))


def all_choices(listed):
    return [
        choice for many in range(1, len(listed) + 1) for choice in itertools.combinations(listed, many) if apart(choice)
    ]


def worth(choice):
    return price_of(choice), likely_ns(choice)


def best_by_brute_force(listed):
    """Price and gain of every choice that no other beats in both."""
    points = {worth(choice) for choice in all_choices(listed)}
    return sorted(
        (price, gain)
        for price, gain in points
        if not any((p <= price and g > gain) or (p < price and g >= gain) for p, g in points)
    )


def by_name(listed, plan):
    return [next(each for each in listed if each.option == name) for name in plan.options]


# --- against all there are -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(networks)
@settings(max_examples=300)
def test_no_choice_of_all_there_are_beats_one_of_the_front_and_none_is_missing(listed):
    assert [worth(choice) for choice in unbeaten(listed, REFERENCE)] == best_by_brute_force(listed)


@given(networks)
def test_every_plan_is_one_that_none_beats_and_there_are_five_at_least_where_so_many_exist(listed):
    points = best_by_brute_force(listed)
    plans = front(listed, REFERENCE)
    assert len(plans) >= min(5, len(points))
    assert {(plan.price, likely_ns(by_name(listed, plan))) for plan in plans} <= set(points)


@given(networks)
def test_stage_one_leaves_out_nothing_that_a_best_choice_needs(listed):
    assert best_by_brute_force(worthwhile(listed)) == best_by_brute_force(listed)


@given(networks, any_item)
def test_one_option_more_never_makes_the_front_worse(listed, more):
    before, after = (
        [worth(choice) for choice in unbeaten(each, REFERENCE)]
        for each in (listed, (*listed, replace(more, option="z")))
    )
    assert all(any(p <= price and g >= gain for p, g in after) for price, gain in before)


# --- what every front promises -------------------------------------------------------------------------------------------


def large(seed, layers=40, forms=3):
    """A network of many layers with segments of up to four, in several forms, of any prices."""
    dice = random.Random(seed)
    return [
        item(
            first,
            first + long,
            long * dice.lognormvariate(0, 1) / 100,
            long * dice.lognormvariate(0, 1),
            f"{first}+{long}:{form}",
        )
        for first in range(layers)
        for long in range(1, min(4, layers - first) + 1)
        for form in range(forms)
    ]


@given(networks)
def test_options_of_a_plan_never_overlap(listed):
    assert all(apart(by_name(listed, plan)) for plan in front(listed, REFERENCE))


@pytest.mark.parametrize("seed", range(5))
def test_a_front_is_sorted_and_dearer_plans_gain_more_and_options_never_overlap_on_large_networks(seed):
    listed = large(seed)
    plans = front(listed, REFERENCE)
    gains = [likely_ns(by_name(listed, plan)) for plan in plans]
    prices = [plan.price for plan in plans]
    assert gains == sorted(set(gains)) and prices == sorted(set(prices))
    assert all(apart(by_name(listed, plan)) for plan in plans)


@pytest.mark.parametrize("seed", range(5))
def test_a_front_of_a_large_network_is_ten_plans_spread_evenly_from_the_cheapest_to_the_fastest(seed):
    listed = large(seed)
    plans = front(listed, REFERENCE)
    every = unbeaten(listed, REFERENCE)
    assert len(plans) == 10
    assert (plans[0].price, plans[-1].price) == (price_of(every[0]), price_of(every[-1]))
    latencies = [math.log(REFERENCE - likely_ns(by_name(listed, plan))) for plan in plans]
    steps = [one - other for one, other in itertools.pairwise(latencies)]
    assert max(steps) <= 2.5 * (latencies[0] - latencies[-1]) / 9


def test_an_unsure_option_that_likely_gains_more_does_not_hide_one_that_surely_gains():
    """Both do something to one segment at one price: the unsure one by itself is no plan, the sure one is."""
    unsure = Item("plain", 0, 2, 1.0, 8 * US, 20 * US, -4 * US, 44 * US, ("relu",))
    sure = Item("dense", 0, 2, 1.0, 7 * US, 8 * US, 6 * US, 10 * US, ("relu",))
    assert front([unsure], REFERENCE) == ()
    assert [plan.options for plan in front([unsure, sure], REFERENCE)] == [("dense",)]
    assert goals.reaching([unsure], REFERENCE, 1.01) is None  # nor is it built for a target
    assert goals.reaching([unsure, sure], REFERENCE, 1.005).options == ("dense",)


@given(networks)
def test_a_front_of_options_of_which_some_are_unsure_holds_sure_plans_alone(listed):
    doubtful = [replace(each, low_ns=-each.low_ns) if place % 2 else each for place, each in enumerate(listed)]
    plans = front(doubtful, REFERENCE)
    assert all(plan.predicted.speedup_low > 1 for plan in plans)
    assert bool(plans) >= any(each.low_ns > 0 for each in doubtful)


@given(networks)
def test_the_fastest_plan_is_the_fastest_of_all_choices_to_the_last_digit(listed):
    fastest = max(map(likely_ns, all_choices(listed)), default=0.0)
    assert likely_ns(Programme(listed).fastest) == fastest


@pytest.mark.parametrize("seed", range(5))
def test_no_budget_promises_more_than_its_items_gain_and_rounding_costs_less_than_a_step_an_item(seed):
    programme = Programme(large(seed))
    for budget in programme.levels:
        choice = programme.choice(budget)
        gain = likely_ns(choice)
        assert budget * programme.step_ns <= gain * (1 + 1e-12)
        assert gain < (budget + len(choice)) * programme.step_ns
    assert programme.levels[-1] <= STEPS


@given(networks, st.integers(-10, 10))
def test_times_in_another_unit_make_the_same_plans(listed, power):
    scale = 2.0**power
    other = [
        replace(
            each,
            likely_ns=scale * each.likely_ns,
            gain_ns=scale * each.gain_ns,
            low_ns=scale * each.low_ns,
            high_ns=scale * each.high_ns,
        )
        for each in listed
    ]
    plans, scaled = front(listed, REFERENCE), front(other, scale * REFERENCE)
    assert [plan.options for plan in plans] == [plan.options for plan in scaled]
    assert [scale * plan.predicted.latency_ns for plan in plans] == [plan.predicted.latency_ns for plan in scaled]


@given(networks, st.randoms())
def test_the_order_in_which_options_are_listed_does_not_matter(listed, dice):
    shuffled = list(listed)
    dice.shuffle(shuffled)
    assert front(shuffled, REFERENCE) == front(listed, REFERENCE)


@pytest.mark.parametrize("name", ["a", "z"])
def test_of_equal_choices_the_one_of_fewer_options_is_taken_whatever_its_name(name):
    whole, left, right = item(0, 4, 2, 30, name), item(0, 2, 1, 10), item(2, 4, 1, 20)
    more = item(4, 5, 9, 70)  # the steps are of 1 ns, so that nothing is rounded
    plans = [plan.options for plan in front([left, right, whole, more], REFERENCE)]
    assert (name,) in plans and plans[-1] == (name, "l4..l4")


def test_of_options_that_do_the_same_the_first_by_name_is_taken():
    twins = [item(0, 2, 1, 10, name) for name in ("b", "a", "c")]
    assert [plan.options for plan in front(twins, REFERENCE)] == [("a",)]


def test_stage_one_leaves_out_what_another_form_a_split_or_a_part_beats_and_of_twins_all_but_one():
    left, right = item(0, 1, 1, 10), item(1, 2, 1, 10)
    split_is_better, part_is_better = item(0, 2, 3, 15, "a"), item(0, 2, 1, 9, "b")
    cheapest, twin, form_is_better = item(0, 2, 0, 5, "c"), item(0, 2, 0, 5, "d"), item(0, 2, 0, 4, "e")
    listed = [left, right, split_is_better, part_is_better, cheapest, twin, form_is_better]
    assert set(worthwhile(listed)) == {left, right, cheapest}


def test_the_fastest_plan_is_there_though_no_budget_tells_it_from_a_cheaper_one():
    listed = [item(0, 1, 5, 100.005, "dear"), item(0, 1, 1, 100.001, "cheap"), item(1, 2, 0, 900, "most")]
    programme = Programme(listed)
    assert {programme._steps(each) for each in listed[:2]} == {10_000}
    assert [plan.options for plan in front(listed, 2 * REFERENCE)][-2:] == [("cheap", "most"), ("dear", "most")]


def test_at_least_five_plans_are_told_however_near_they_lie_and_of_more_only_those_a_percent_apart():
    near = [item(place, place + 1, 1 + place, 0.5) for place in range(8)]
    assert len(unbeaten(near, REFERENCE)) == 8
    assert len(front(near, REFERENCE)) == 5
    assert len(front(near, REFERENCE, at_least=7)) == 7
    far = [item(place, place + 1, 1 + place, 50) for place in range(8)]
    assert len(front(far, REFERENCE)) == 8
    assert len(front(far, REFERENCE, most=6)) == 6


def test_where_no_option_pays_there_is_no_plan():
    assert front([], REFERENCE) == ()
    assert front([item(0, 2, 1, 0), item(2, 4, 1, -3)], REFERENCE) == ()


# --- out of records, and what is predicted -------------------------------------------------------------------------------


def option(name, first, after, form="plain"):
    return Option(name, form, first, after, (), (), (f"{name}.relu",), 1, 1, 1, 1, "")


def test_only_options_that_most_likely_gain_and_have_a_price_are_chosen_from_and_a_price_below_zero_is_zero():
    names = ["sure", "likely", "unsure", "slower", "failed", "unpriced", "unmeasured", "free"]
    options = tuple(option(name, place, place + 1) for place, name in enumerate(names))
    listing = Listing("tiny", "digits", (), (), options)
    ends = {
        "sure": (9.0, 5.0, 13.0),
        "likely": (9.0, -1.0, 19.0),
        "unsure": (9.0, -9.0, 27.0),
        "slower": (-9.0, -12.0, -6.0),
    }
    ends |= {"failed": (None, None, None), "unpriced": ends["sure"], "free": ends["sure"]}
    gains = [Gain(name, *each, "in place") for name, each in ends.items()]
    prices = [Price(name, -0.1 if name == "free" else 1.0, None, "loss") for name in names if name != "unpriced"]
    made = items(listing, gains, prices)
    assert [(each.option, each.price, each.likely_ns, each.low_ns, each.removed) for each in made] == [
        ("sure", 1.0, 7.0, 5.0, ("sure.relu",)),
        ("likely", 1.0, 4.0, -1.0, ("likely.relu",)),
        ("free", 0.0, 7.0, 5.0, ("free.relu",)),
    ]


def test_what_no_option_surely_gains_by_itself_many_gain_together_and_no_plan_is_emitted_that_may_be_slower():
    doubtful = [Item(str(at), at, at + 1, 1.0, 9 * US, 20 * US, -2 * US, 42 * US) for at in range(9)]
    plans = front(doubtful, REFERENCE)
    assert all(plan.predicted.speedup_low > 1 for plan in plans)
    assert len(plans[-1].options) == 9 and min(len(plan.options) for plan in plans) == 2
    assert front(doubtful[:1], REFERENCE) == ()


def test_gains_add_up_and_their_errors_do_so_as_those_of_measurements_that_share_a_reference():
    choice = [Item("a", 0, 1, 1.0, 85.0, 100.0, 70.0, 130.0), Item("b", 1, 2, 1.0, 180.0, 200.0, 160.0, 260.0)]
    found = predicted(choice, 1000.0)
    below, above = (math.sqrt(0.8 * (a * a + b * b) + 0.2 * (a + b) ** 2) for a, b in ((30.0, 60.0), (30.0, 40.0)))
    assert (found.latency_ns, found.latency_low_ns) == (700.0, pytest.approx(700.0 - below))
    assert found.latency_high_ns == pytest.approx(700.0 + above)
    assert found.speedup == 1000.0 / 700.0
    assert (found.speedup_low, found.speedup_high) == (1000.0 / found.latency_high_ns, 1000.0 / found.latency_low_ns)


@given(st.lists(any_item, max_size=MOST), st.floats(1.0, 1e9))
def test_whatever_the_gains_no_latency_is_predicted_below_a_fiftieth_of_the_unfolded_one(listed, reference_ns):
    found = predicted(listed, reference_ns)
    assert 0 < found.latency_low_ns <= found.latency_ns <= found.latency_high_ns
    assert 0 < found.speedup_low <= found.speedup <= found.speedup_high <= 50.0 * (1 + 1e-12)


def test_of_one_option_the_interval_is_the_option_s_and_of_many_it_is_wider_than_independent_errors_make_it():
    many = [Item(str(place), place, place + 1, 1.0, 9.0, 10.0, 8.0, 12.0) for place in range(17)]
    alone, together = predicted(many[:1], 1000.0), predicted(many, 1000.0)
    assert alone.latency_high_ns == pytest.approx(alone.latency_ns + 2.0)
    assert together.latency_high_ns - together.latency_ns == pytest.approx(2.05 * 2.0 * math.sqrt(17), rel=1e-3)


def test_a_plan_says_what_is_removed_in_the_order_of_the_layers():
    (plan,) = front([item(2, 4, 0, 10), item(0, 2, 0, 10)], REFERENCE)
    assert plan.options == ("l0..l1", "l2..l3") and plan.removed == ("relu0", "relu2")


# --- the one that is meant -----------------------------------------------------------------------------------------------


def a_plan(price, measured=None, accuracy=None, verdict="faster", predicted=9.0):
    prediction = Prediction(1 / predicted, 1 / predicted, 1 / predicted, predicted, predicted, predicted)
    cost = Cost(1, 1, 1, 1, 1, 1, 1)
    verified = measured and Verified(Speedup(measured, None, None, verdict), 1.0, 0.0, cost, 0.0, accuracy, 0.9)
    return FoldingPlan((), (), price, prediction, (), verified or None, None if verified else "lost")


PLANS = (a_plan(1.0, 1.1), a_plan(2.0, 1.3), a_plan(4.0, 1.6))


def test_a_target_is_reached_by_the_cheapest_plan_that_was_measured_so_fast_or_by_none():
    assert [reaching(PLANS, target) for target in (1.0, 1.1, 1.2, 1.6, 1.7)] == [0, 0, 1, 2, None]
    assert reaching((), 1.0) is None


def test_a_plan_that_failed_is_never_meant_whatever_was_predicted_of_it():
    failed = a_plan(0.5)
    assert reaching((failed, *PLANS), 1.2) == 2 and reaching((failed,), 1.2) is None
    assert fastest((failed, *PLANS)) == 3 and fastest((failed,)) is None


def test_the_fastest_plan_is_one_that_surely_is_faster_or_none():
    lucky = a_plan(5.0, 1.9, verdict="unclear")
    assert fastest(PLANS) == fastest((*PLANS, lucky)) == 2
    assert fastest((lucky, a_plan(1.0, 1.01, verdict="same"), a_plan(1.0, 0.9, verdict="slower"))) is None


def test_a_drop_of_accuracy_is_only_known_of_plans_that_were_trained():
    trained = (PLANS[0], a_plan(2.0, 1.3, 0.897), a_plan(4.0, 1.6, 0.85))
    assert [fastest(trained, drop) for drop in (0.001, 0.005, 0.1)] == [None, 1, 2]
    assert fastest(PLANS, drop=1.0) is None


@pytest.mark.parametrize("lost", range(1, 40))
def test_a_drop_that_is_just_what_is_allowed_is_allowed(lost):
    """0.9 - 0.895 is 0.0050000000000000044."""
    just = a_plan(1.0, 1.3, 0.9 - lost / 1000)
    assert fastest((just,), drop=lost / 1000) == 0 and fastest((just,), drop=(lost - 0.5) / 1000) is None

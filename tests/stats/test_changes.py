"""The nightly decision: what is a change, by how much, since when; and what never is."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import histories
from harness.stats import changes, levels
from harness.stats.changes import TAIL, History, Rule, Tolerance, exact, judge

FIVE = math.log(1.05)


def nights(seed=0, number=40, sd=0.004):
    return np.random.default_rng(seed).normal(16.0, sd, number)


def stepped(last=2, size=FIVE, **also):
    values = nights(**also)
    values[-last:] += size
    return values


def said(history):
    return judge([history])[0]


def test_a_step_is_suspected_on_its_first_night_and_confirmed_on_its_second_once_it_was_measured_again():
    assert said(History(nights())).state == "unchanged"
    first = stepped(last=1)
    assert said(History(first)).state == "suspected"
    assert said(History(first, again=first[-1])).state == "suspected"
    second = stepped(last=2)
    assert said(History(second)).state == "suspected"
    told = said(History(second, again=second[-1]))
    assert told.state == "confirmed" and told.since == 38
    assert told.low < 1.05 < told.high and told.ratio == pytest.approx(1.05, abs=0.01)
    assert told.p <= told.adjusted <= changes.Q


def test_an_improvement_is_found_as_a_regression_is():
    down = stepped(size=-FIVE)
    told = said(History(down, again=down[-1]))
    assert told.state == "confirmed" and told.high < 1


def test_a_spike_of_one_night_never_confirms_however_high_and_though_it_lasts_through_the_second_run():
    spike = stepped(last=1, size=3.0)
    assert said(History(spike, again=spike[-1])).state == "suspected"
    for later in range(1, 15):
        after = np.concatenate([spike, nights(seed=later, number=later)])
        assert said(History(after, again=after[-1])).state != "confirmed", later


def test_a_second_run_at_the_old_level_confirms_nothing():
    values = stepped()
    assert said(History(values, again=16.0)).state == "suspected"
    assert said(History(values, again=math.nan)).state == "suspected"


def test_a_contended_or_throttled_night_never_alarms_nor_enters_the_level():
    values, usable = stepped(last=1, size=1.0), np.ones(40, dtype=bool)
    usable[-1] = False
    told = said(History(values, usable))
    assert (told.state, told.reason) == ("unjudged", "tonight's run was contended or throttled")
    noisy = nights()
    noisy[10:30:2] += 0.5
    usable = np.ones(40, dtype=bool)
    usable[10:30:2] = False
    assert said(History(noisy, usable)) == said(History(np.where(usable, noisy, np.nan)))


def test_a_series_without_a_night_before_or_tonight_is_unjudged_with_the_reason():
    assert said(History(np.empty(0))).reason == "not measured tonight"
    assert said(History(np.append(nights(), np.nan))).reason == "not measured tonight"
    assert said(History(nights(number=8))).reason.startswith("fewer than")
    assert said(History(nights(number=9))).state == "unchanged"
    assert said(History(nights(), breaks=(38,))).state == "unjudged"


def test_less_than_the_least_change_is_no_change_however_sure():
    quiet = stepped(last=14, size=math.log(1.015), sd=1e-5)
    assert said(History(quiet, again=quiet[-1])).state == "unchanged"
    assert said(History(quiet, again=quiet[-1], rule=Rule(least=0.01))).state == "confirmed"


def test_what_a_device_cannot_resolve_is_no_change_there():
    assert TAIL.resolving(0.05) == TAIL and Rule().resolving(None) == Rule()
    assert Rule().resolving(0.05) == Rule(least=0.05)


def test_a_level_that_never_moved_does_not_divide_by_nothing():
    flat = np.full(40, 16.0)
    assert said(History(flat)).state == "unchanged"
    flat[-2:] += FIVE
    told = said(History(flat, again=flat[-1]))
    assert told.state == "confirmed" and told.since == 38 and told.ratio == pytest.approx(1.05)


def test_what_the_caller_knows_of_the_noise_is_a_least_spread():
    values = stepped()
    assert said(History(values, again=values[-1], noise=0.03)).state != "confirmed"


def test_a_drift_that_creeps_is_found_beside_the_first_nights_of_the_segment():
    creeping = nights(number=300, sd=0.004) + np.linspace(0, math.log(1.04), 300)
    told = said(History(creeping, again=creeping[-1]))
    assert told.state == "confirmed" and told.ratio > 1.025


def test_after_a_change_three_nights_are_a_level_and_its_repair_is_found():
    values = stepped(last=6)
    values = np.append(values, nights(seed=1, number=2))
    told = said(History(values, breaks=(34,), again=values[-1]))
    assert told.state == "confirmed" and told.since == 40
    assert told.low < 1 / 1.05 < told.high < 1


def test_an_upgrade_begins_a_level_of_its_own():
    upgraded = stepped(last=10, size=0.3)
    assert said(History(upgraded, breaks=(30,), again=upgraded[-1])).state == "unchanged"


def test_among_many_series_a_change_must_be_clearer():
    """p = 0.0004 stands alone, not among two hundred that did not change: 0.0004 > 0.05 / 200."""
    values = next(
        values
        for values in (stepped(seed=seed, size=0.026, sd=0.006) for seed in range(2000))
        if 2.6e-4 < said(History(values, again=values[-1])).p < 2.9e-3
        and said(History(values, again=values[-1])).state == "confirmed"
    )
    others = [History(np.full(40, 16.0)) for _ in range(200)]
    told, *rest = judge([History(values, again=values[-1]), *others])
    assert told.state == "suspected" and told.adjusted == pytest.approx(201 * told.p)
    assert {each.state for each in rest} == {"unchanged"}


def test_the_tail_asks_for_two_of_three_nights_and_fifteen_percent():
    one, two, small = (stepped(last=n, size=math.log(s), sd=0.01) for n, s in ((1, 3.0), (2, 1.6), (3, 1.12)))
    assert said(History(one, again=one[-1], rule=TAIL)).state == "suspected"
    assert said(History(two, again=two[-1], rule=TAIL)).state == "confirmed"
    assert said(History(small, again=small[-1], rule=TAIL)).state == "unchanged"


def test_quantities_without_noise_change_by_more_than_is_allowed_or_not_at_all():
    size = np.array([np.nan, 100.0, 100.0, np.nan, 100.0])
    assert exact(size, changes.BYTES).state == "unchanged"
    told = exact(np.append(size, 101.0), changes.BYTES)
    assert (told.state, told.ratio, told.since) == ("confirmed", 1.01, 5)
    assert exact(np.array([0.91, 0.9095]), Tolerance(absolute=0.001)).state == "unchanged"
    assert exact(np.array([0.0, 5e-7]), changes.FOLD_ERROR).state == "unchanged"
    assert exact(np.array([0.0, 2e-6]), changes.FOLD_ERROR) == changes.Judgement(
        "confirmed", None, since=1, p=0.0, adjusted=0.0
    )
    assert exact(np.array([np.nan, 3.0]), changes.BYTES).reason == "nothing before it at this level"
    assert exact(np.array([3.0, np.nan]), changes.BYTES).state == "unjudged"
    assert exact(np.array([1.0, 2.0, 2.0]), changes.BYTES, breaks=(1,)).state == "unchanged"


def test_small_steps_of_a_quantity_without_noise_add_up():
    creeping = 100.0 + np.arange(5)
    assert [exact(creeping[: n + 1], Tolerance(absolute=2.5)).state for n in range(1, 5)] == [
        *["unchanged"] * 2,
        *["confirmed"] * 2,
    ]


def test_a_shift_worked_by_hand():
    """Reference of alternating 0 and 2, then 7, 8, 9: shift 8 - 1 by the median; rho at its least, 0.25."""
    reference = np.tile([0.0, 2.0], 10)
    now = np.concatenate([np.full(54 - 20 + 3, np.nan), reference, [7.0, 8.0, 9.0]])[None, :]
    blank = np.full((1, 54), np.nan)
    found = levels.evidence(levels.Past(now, blank, blank, np.zeros(1)), (3,))
    of_3 = (1 + 2 * (2 / 3 * 0.25 + 1 / 3 * 0.25**2)) / 3
    of_20 = (1 + 2 * sum((1 - j / 20) * 0.25**j for j in range(1, 20))) / 20
    assert found.shift[0, 0] == 7.0 and found.level[0, 0] == 1.0
    assert found.error[0, 0] == pytest.approx(math.sqrt(20 / 19 * (1.35 * of_3 + of_20)))
    assert found.freedom[0, 0] == pytest.approx(20 * (1 - 0.25**2) / (1 + 0.25**2) - 1)
    assert found.p[1, 0] == 1.0 and math.isnan(found.shift[1, 0])


@pytest.mark.parametrize(
    ("recent", "centre"), [([3, 1], 1), ([1, 9, 2], 2), ([9, 1, 2, 3, 4], 3), ([*range(9), 100], 4.5)]
)
def test_the_centre_leaves_out_what_lies_far(recent, centre):
    assert levels.centre(np.array([recent], dtype=float), np.zeros(1)) == centre


values = st.lists(st.floats(-0.05, 0.05), min_size=10, max_size=90)


@given(values, st.floats(-20, 20), st.booleans())
@settings(deadline=None, max_examples=60)
def test_units_do_not_matter_nor_does_the_sign_of_a_change(logs, by, mirrored):
    logs = np.array(logs)
    other = (-logs if mirrored else logs) + by
    one, two = said(History(logs, again=logs[-1])), said(History(other, again=other[-1]))
    assert one.p == pytest.approx(two.p, abs=1e-6)
    if not any(abs(abs(math.log(one.ratio)) - math.log1p(r)) < 1e-6 for r in (0.02,) if one.ratio):
        assert abs(math.log(one.ratio or 1)) == pytest.approx(abs(math.log(two.ratio or 1)), abs=1e-6)


@given(st.permutations(range(6)), st.integers(0, 5))
@settings(deadline=None, max_examples=30)
def test_what_is_said_of_a_series_does_not_depend_on_its_place(order, which):
    series = [History(stepped(seed=seed, size=0.01 * seed)) for seed in range(6)]
    straight, mixed = judge(series), judge([series[place] for place in order])
    assert mixed[order.index(which)] == straight[which]


@given(values, st.data())
@settings(deadline=None, max_examples=60)
def test_missing_nights_count_as_if_they_had_never_been_planned(logs, data):
    logs = np.array(logs)
    gaps = sorted(data.draw(st.lists(st.integers(0, len(logs) - 1), max_size=30)))
    with_gaps = np.insert(logs, gaps, np.nan)
    one, two = said(History(logs)), said(History(with_gaps))
    assert (one.state, one.ratio, one.p) == (two.state, two.ratio, two.p)
    if one.since is not None:
        assert with_gaps[two.since] == logs[one.since]


def test_a_rule_or_a_history_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        Rule(least=0.0)
    with pytest.raises(ValueError, match="two nights"):
        Rule(windows=(1, 3))
    with pytest.raises(ValueError, match="one flag a night"):
        History(nights(), np.ones(3, dtype=bool))


@pytest.mark.parametrize(("rho", "within", "most"), [(0.0, 0.5, 1.0), (0.5, 0.5, 1.0), (0.7, 0.25, 6.0)])
def test_where_nothing_changed_p_is_about_what_it_says_and_too_small_where_nights_hang_together(rho, within, most):
    """Of 10,000 series-nights; the least change is so small here that it hides none."""
    world = histories.World(rho=rho, within=within, spikes=0.0, contended=0.0)
    year, rule = histories.simulate(np.random.default_rng(3), world, np.zeros((1000, 330))), Rule(least=1e-6)
    told = [e.p for n in range(60, 330, 27) for e in judge([History(own[: n + 1], rule=rule) for own in year.first])]
    assert np.mean(np.array(told) <= 0.003) <= 0.003 * most and np.mean(np.array(told) <= 0.05) <= 0.05 * most

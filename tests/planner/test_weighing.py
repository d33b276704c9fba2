"""Options weighed in groups: designs are balanced, gains come out as they went in, and noise is smaller than one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from harness.planner import weighing
from harness.planner.gains import saved
from harness.planner.weighing import ORDERS
from harness.records.planned import Option
from harness.stats import Floats

UNFOLDED_NS = 1e6


def option(name: str, first: int, after: int) -> Option:
    return Option(name, "plain", first, after, (), (), (), 1, 1, 1, 1, name)


def ranked(many: int) -> list[Option]:
    return [option(f"o{place:02}", place, place + 1) for place in range(many)]


def latencies(
    sets: tuple[tuple[str, ...], ...], gains: dict[str, float], blocks: int = 6
) -> dict[tuple[str, ...], Floats]:
    """Without any noise, but in blocks that differ as a whole."""
    speed = np.linspace(1.0, 1.3, blocks)
    return {each: speed * (UNFOLDED_NS - sum(gains[name] for name in each)) for each in ((), *sets)}


@pytest.mark.parametrize("networks", ORDERS)
def test_each_option_is_in_half_of_the_networks_and_any_two_together_in_a_quarter(networks: int) -> None:
    sets = weighing.sets(ranked(networks - 1), networks)
    assert len(sets) == networks - 1
    names = {name for each in sets for name in each}
    assert {sum(name in each for each in sets) for name in names} == {networks // 2}
    pairs = itertools.combinations(sorted(names), 2)
    assert {sum(one in each and other in each for each in sets) for one, other in pairs} == {networks // 4}


@pytest.mark.parametrize(
    ("options", "room", "networks"), [(3, 99, 8), (7, 99, 8), (8, 99, 12), (18, 25.5, 20), (18, 13, 12), (5, 2, 8)]
)
def test_there_are_more_networks_than_options_and_as_many_as_there_is_time_for(
    options: int, room: float, networks: int
) -> None:
    assert weighing.order(options, room) == networks
    assert len({name for each in weighing.sets(ranked(options), room) for name in each}) == min(options, networks - 1)


def test_where_there_is_time_for_few_the_best_are_weighed_and_sets_are_in_forward_order() -> None:
    backwards = ranked(15)[::-1]
    sets = weighing.sets(backwards, 12)
    assert {name for each in sets for name in each} == {option.name for option in backwards[:11]}
    assert all(list(each) == sorted(each) for each in sets)


def test_of_options_that_overlap_the_better_one_is_weighed() -> None:
    overlapping = [option("best", 2, 5), option("worse", 4, 6), option("apart", 5, 7), option("inside", 3, 4)]
    assert [each.name for each in weighing.apart(overlapping)] == ["best", "apart"]


@pytest.mark.parametrize("many", [1, 3, 7, 11, 16])
def test_gains_come_out_as_they_went_in_whatever_the_blocks_do(many: int) -> None:
    gains = {each.name: 1e4 * (place - 2) for place, each in enumerate(ranked(many))}
    told = weighing.compared(latencies(weighing.sets(ranked(many), 20), gains))
    assert set(told) == {(name,) for name in gains}
    levels = {saved_ns / gains[name[0]] for name, each in told.items() if gains[name[0]] and (saved_ns := _ns(each))}
    assert max(levels) == pytest.approx(min(levels), rel=1e-6)  # of one scale: that of the middle block
    assert min(levels) == pytest.approx(1.15, abs=0.01)


def _ns(compared: weighing.Compared) -> float:
    found = saved(compared)
    assert found is not None
    return found.ns


def test_an_option_that_is_not_told_from_another_is_left_out_and_the_others_are_told() -> None:
    gains = {each.name: 1e4 for each in ranked(5)}
    measured = latencies(weighing.sets(ranked(5), 8), gains)
    twins = {
        tuple(dict.fromkeys((*each, "o99") if "o00" in each else each)): values for each, values in measured.items()
    }
    assert set(weighing.compared(twins)) == {(f"o0{place}",) for place in range(1, 5)}


def test_without_the_unfolded_network_or_a_second_block_nothing_is_told() -> None:
    measured = latencies(weighing.sets(ranked(5), 8), {each.name: 1e4 for each in ranked(5)})
    assert weighing.compared({options: values for options, values in measured.items() if options}) == {}
    assert weighing.compared({options: values[:1] for options, values in measured.items()}) == {}
    assert weighing.compared({}) == {}


def test_the_sum_of_many_gains_is_told_twice_as_well_as_one_by_one_in_as_many_processes() -> None:
    """Sixteen options, 4 % noise: 20 networks, or each against a reference that is measured four times in each block."""
    draw, gains = np.random.default_rng(3), {each.name: 2e4 for each in ranked(16)}
    exact = latencies(weighing.sets(ranked(16), 20), gains)
    grouped, single = [], []
    for _ in range(100):
        noisy = {options: values * np.exp(draw.normal(0, 0.04, 6)) for options, values in exact.items()}
        grouped.append(sum(_ns(each) for each in weighing.compared(noisy).values()))
        reference = np.median(draw.normal(0, 0.04, (6, 4)), axis=1)
        alone = [np.mean(reference - draw.normal(np.log(0.98), 0.04, 6)) for _ in range(16)]
        single.append(sum(UNFOLDED_NS * (1 - np.exp(-each)) for each in alone))
    assert np.std(grouped) < 0.5 * np.std(single)


def test_intervals_hold_the_true_gain_as_often_as_they_say() -> None:
    draw, gains = np.random.default_rng(4), {each.name: 1e4 * (place % 4) for place, each in enumerate(ranked(16))}
    exact = latencies(weighing.sets(ranked(16), 20), gains)
    held = []
    for _ in range(60):
        noisy = {options: values * np.exp(draw.normal(0, 0.04, 6)) for options, values in exact.items()}
        for options, each in weighing.compared(noisy).items():
            found = saved(each)
            assert found is not None
            held.append(found.low <= 1.145 * gains[options[0]] <= found.high)
    assert 0.93 < np.mean(held) < 0.97

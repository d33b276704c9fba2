"""Methods are ranked by paired accuracy at equal depth where seeds and examples are enough, and otherwise not at all."""

from __future__ import annotations

from dataclasses import replace

import example_methods
import pytest

from harness.report import methods, ranking


@pytest.fixture(scope="module")
def large():
    return example_methods.run(("easier", "tlc", "random", "continue"), seeds=3, examples=4000, gap=0.03)


def test_the_better_method_is_ahead_at_every_depth_where_it_is_clear(large) -> None:
    places = ranking.ranking([large])
    assert [place.depth for place in places] == sorted((place.depth for place in places), reverse=True)
    last = {place.name: place for place in places if place.depth == 10}
    assert [last[name].rank for name in ("easier", "tlc", "random")] == [1, 2, 3]
    assert last["easier"].ahead_of == ("tlc", "random") and last["random"].ahead_of == ()
    own = [row.accuracy for row in large.cases if row.method == "tlc" and row.depth == 10]
    assert last["tlc"].accuracy == pytest.approx(sum(own) / 3)
    assert "continue" not in last and 18 not in {place.depth for place in places}


def test_methods_that_do_not_differ_share_a_rank() -> None:
    run = example_methods.run(("easier", "tlc"), seeds=3, examples=4000, gap=0.0)
    assert {place.rank for place in ranking.ranking([run])} == {1}


def test_one_seed_that_disagrees_is_enough_not_to_be_ahead(large) -> None:
    """The seed's ladders change places: over all examples one is still better by far."""
    swapped = {"easier-s1": "tlc-s1", "tlc-s1": "easier-s1"}
    known = {ladder.name: ladder for ladder in large.ladders}
    ladders = tuple(
        replace(ladder, rungs=known[swapped[ladder.name]].rungs) if ladder.name in swapped else ladder
        for ladder in large.ladders
    )
    places = ranking.ranking([replace(large, ladders=ladders)])
    last = {place.name: place for place in places if place.depth == 10}
    assert last["easier"].rank == last["tlc"].rank == 1 and last["random"].rank == 3


@pytest.mark.parametrize(
    ("seeds", "examples", "why"),
    [
        (3, 270, "one image is 0.37 %"),
        (2, 4000, "needs 3 seeds, and here are 2"),
        (1, 4000, "and here is 1."),
        (1, 1999, "1999 test images prove"),
        (1, 1, "1 test image proves"),
    ],
)
def test_too_few_images_or_seeds_rank_nothing_and_say_why(seeds, examples, why) -> None:
    run = example_methods.run(("easier", "tlc"), seeds=seeds, examples=examples)
    assert ranking.ranking([run]) == () and why in ranking.refusal([run])
    assert methods.reading([run]) == ranking.refusal([run])


def test_a_ranking_says_how_it_was_made(large) -> None:
    text = methods.reading([large])
    assert "| 10 | 1 | easier |" in text and "McNemar" in text and "Holm" in text

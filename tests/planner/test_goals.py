"""What is said of the plan that a target means: how surely it reaches it, and why no plan does."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from harness.planner import goals, work
from harness.planner.folder import Pair, Row
from harness.planner.gains import Compared
from harness.planner.goals import Goal
from harness.records import Cost, Speedup
from harness.records.planned import FoldingPlan, Listing, Planned, Prediction, Verified, Wanted

COST = Cost(1, 1, 1, 1, 1, 1, 1)
NINE = Prediction(1.0, 1.0, 1.0, 9.0, 9.0, 9.0)


def a_plan(ratio: float, verdict: Any = "faster", accuracy: float | None = None) -> FoldingPlan:
    """A plan measured so fast, give or take 0.02, that has so much of the full network's accuracy of 0.9."""
    speedup = Speedup(ratio, ratio - 0.02, ratio + 0.02, verdict)
    return FoldingPlan((f"o{ratio}",), (), ratio, NINE, (), Verified(speedup, 1.0, 0.0, COST, None, accuracy, 0.9))


FAILED = FoldingPlan(("lost",), (), 0.5, NINE, failure="cannot be built: no")


def said(goal: Goal, *front: FoldingPlan) -> str | None:
    chosen, listing = goals.chosen(front, goal), Listing("tiny", "tiny", (), (), ())
    made = Planned(1, "local", "", {}, listing, 1e6, None, (), (), front, chosen, (), None, {}, goal=asdict(goal))
    return goals.told(made, goal)


def test_a_target_is_reached_with_the_whole_interval_or_not_told_apart() -> None:
    assert said(Goal(speedup=1.25), a_plan(1.3)) == "plan 1 reaches 1.25x with its whole interval"
    assert said(Goal(speedup=1.29), a_plan(1.3)) == (
        "plan 1 reaches 1.29x by its best estimate; whether it surely does is not told apart"
    )


def test_a_plan_that_failed_reaches_no_target_and_is_not_the_fastest() -> None:
    goal = Goal(speedup=1.5)
    assert goals.chosen((FAILED, a_plan(1.4)), goal) is None
    assert said(goal, FAILED, a_plan(1.4)) == "no plan reaches 1.5x on local: the fastest is 1.400x"
    assert said(goal, FAILED) == "no plan reaches 1.5x on local: none was measured"
    assert said(goal) == "no plan reaches 1.5x on local: nothing surely gains there"


@pytest.mark.parametrize(
    ("front", "words"),
    [
        ((), "no plan was trained: none is known to lose at most 0.01 of accuracy"),
        ((FAILED, a_plan(1.3)), "no plan was trained: none is known to lose at most 0.01 of accuracy"),
        ((a_plan(1.3, accuracy=0.85),), "no plan loses at most 0.01 of accuracy: the least is 0.05"),
        (
            (a_plan(1.01, "unclear", 0.895), a_plan(1.3, accuracy=0.85)),
            "at most 0.01 of accuracy is lost by plan 1, but that surely makes nothing faster",
        ),
        ((a_plan(1.3, accuracy=0.895),), None),
    ],
)
def test_why_no_plan_keeps_the_accuracy_is_said(front: tuple[FoldingPlan, ...], words: str | None) -> None:
    assert said(Goal("loss", accuracy_drop=0.01), *front) == words


def test_without_a_target_it_is_said_where_no_plan_surely_is_faster() -> None:
    assert (
        said(Goal(), a_plan(1.01, "unclear")) == "no plan surely is faster than the unfolded network: none has the star"
    )
    assert said(Goal(), a_plan(1.3)) is said(Goal()) is None


def test_a_plan_that_could_not_be_measured_keeps_why() -> None:
    row = Row(Pair(("lost",), Wanted("whole", ("lost",)), Wanted("whole")), "c", "r", COST, None)
    bare = FoldingPlan(("lost",), (), 0.5, NINE)
    found = work._verified(bare, row, Compared(1e6, None, "worker: out of memory"), None)
    assert (found.verified, found.failure) == (None, "worker: out of memory")
    found = work._verified(bare, row, Compared(1e6), None)
    assert (found.verified, found.failure) == (None, "measured in fewer than two blocks")
    found = work._verified(bare, row, Compared(1e6, Speedup(1.3, 1.2, 1.4, "faster")), 1e6)
    assert found.verified is not None and found.failure is None

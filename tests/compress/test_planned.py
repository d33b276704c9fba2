"""The method `planned` makes each plan a rung: from the full network, folding what the plan names and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from in_process import TINY, climb

from harness import content
from harness.errors import UsageError
from harness.records import LadderRequest

SMALL = "layer1.1.conv1..layer1.1.conv2:plain"
LARGE = "layer1.0:skip+layer1.1.conv1..layer1.1.conv2:bypass=layer1.1.conv1+layer2.0.conv1..fc:tail"
PLANNED = replace(TINY, method="planned", budget_epochs=1)


def asked(*plans: str) -> LadderRequest:
    return replace(PLANNED, recipe={"plans": plans})


@pytest.mark.slow
def test_each_plan_is_a_rung_that_starts_from_the_full_network() -> None:
    outline, made = climb(asked(SMALL, LARGE))
    full, small, large = made
    assert outline.ended == ""
    assert [rung.choice.chosen for rung in made if rung.choice] == [(SMALL,), (LARGE,)]
    assert small.removed_names == ("layer1.1.relu1",)
    assert large.removed_names == (
        "layer1.0.relu1", "layer1.0.relu2", "layer2.0.relu1", "layer2.0.relu2", "layer1.1.relu1"
    )  # fmt: skip
    assert full.cost.depth and small.cost.depth and large.cost.depth
    assert small.cost.depth == full.cost.depth - 1
    assert large.cost.depth == 3  # the stem, what is left of layer1.1, the tail
    assert small.epochs == large.epochs == (full.epochs or 0) + 1
    assert all(rung.fold_error is not None and rung.fold_error < 1e-5 for rung in made)
    assert all(rung.accuracy is not None for rung in made)


@pytest.mark.slow
def test_what_a_plan_does_not_name_stays_apart() -> None:
    """Depth goes by one; a plan of no merge at all would be the full network, and easier would merge all that it opens."""
    _, (_, rung) = climb(asked("layer2.0.conv1..layer2.0.conv2:plain"))
    merged = [group.layers for group in rung.groups if group.reason is None]
    assert merged == [("layer2.0.conv1", "layer2.0.conv2")]


def test_without_plans_the_next_move_is_told() -> None:
    with pytest.raises(UsageError, match="no plan is named") as caught:
        climb(PLANNED)
    assert "harness plan --device" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("plans", "said"),
    [
        ((SMALL, SMALL), "named 2 times"),
        ((f"{SMALL}+layer1.0:skip", f"layer1.0:skip+{SMALL}"), "named 2 times"),
        (("layer1.0:skipp",), r'"layer1\.0:skipp"'),
        (("layer1.0:skip+layer1.0.conv1..layer1.1.conv2:plain",), "touch one layer"),
        (("",), 'option of the network ""'),
    ],
)
def test_plans_that_cannot_be_are_refused_before_anything_is_made(plans: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        climb(asked(*plans))


def test_a_plan_is_trained_as_long_as_a_whole_ladder() -> None:
    method = content.load("method", "planned")
    budget = method.budget(8, 3, method.Recipe((SMALL,)))
    assert (budget.begin, budget.rung) == (0, 8)


@pytest.mark.slow
def test_a_step_of_other_methods_leaves_a_rung_to_each_plan() -> None:
    _, made = climb(replace(asked(SMALL, LARGE), step=8))
    assert [rung.choice.chosen for rung in made if rung.choice] == [(SMALL,), (LARGE,)]

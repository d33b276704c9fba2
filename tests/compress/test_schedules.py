"""Schedules fall where they say, and a budget is shared out whole: never more, and no rung without an epoch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from in_process import TINY, Told, climb
from torch import nn

from harness import cache
from harness.compress import schedules, train
from harness.compress.schedules import Schedule, split_evenly
from harness.errors import UsageError


def by_torch(schedule: Schedule, per_epoch: int) -> list[float]:
    """Learning rates of every step, as torch's own scheduler gives them."""
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), schedule.peak)
    at = [round(share * schedule.epochs) for share in schedule.milestones]
    falling = torch.optim.lr_scheduler.MultiStepLR(optimizer, at)
    rates = []
    for _ in range(schedule.epochs):
        rates += [optimizer.param_groups[0]["lr"]] * per_epoch
        optimizer.step()
        falling.step()
    return rates


@pytest.mark.parametrize("model", ["resnet18", "vgg16_bn", "swin_t"])
@pytest.mark.parametrize("name", ["cifar", "imagenet", "domains"])
@pytest.mark.parametrize("per_epoch", [1, 7, 391])
def test_steps_fall_to_a_tenth_where_torch_s_scheduler_lets_them(name: str, model: str, per_epoch: int) -> None:
    schedule = schedules.named(name, model).full
    steps = schedule.epochs * per_epoch
    ours = [train.rate(schedule, step, steps) for step in range(steps)]
    assert ours == pytest.approx(by_torch(schedule, per_epoch))


def test_a_constant_rate_is_constant() -> None:
    schedule = schedules.named("layer-folding", "resnet18").rung
    assert {train.rate(schedule, step, 50) for step in range(50)} == {1e-3}


def test_a_shrunk_schedule_falls_at_the_same_shares_of_its_epochs() -> None:
    short = schedules.named("cifar", "resnet18").rung.lasting(4)  # milestones at a half and three quarters
    assert [train.rate(short, step, 4) for step in range(4)] == pytest.approx([0.1, 0.1, 0.01, 0.001])


def test_the_papers_schedules_are_what_their_tables_say() -> None:
    cifar, vgg = (schedules.named("cifar", model).rung for model in ("resnet18", "vgg16_bn"))
    assert (cifar.epochs, cifar.peak, cifar.batch, cifar.weight_decay, cifar.nesterov) == (160, 0.1, 128, 1e-4, False)
    assert (vgg.peak, vgg.milestones) == (0.01, (0.5, 0.75))
    assert schedules.named("quick", "resnet18") == schedules.named("quick", "swin_t")


def test_an_unknown_schedule_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match='no schedule "cifer"; did you mean "cifar"'):
        schedules.named("cifer", "resnet18")


@given(st.integers(1, 4000), st.integers(1, 60), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_a_budget_is_never_exceeded_and_what_is_left_does_not_make_another_round(
    total: int, rungs: int, share: float
) -> None:
    try:
        budget = split_evenly(total, rungs, share)
    except UsageError:
        assert total * (1 - share) < rungs + 1 or round(total * share) < 1
        return
    used = budget.begin + rungs * budget.rung
    assert used <= total < used + rungs
    assert budget.rung >= 1 or share == 1.0
    assert (budget.begin >= 1) == (share > 0)


@pytest.mark.parametrize(("total", "rungs", "share", "least"), [(2, 3, 0.0, 3), (3, 3, 0.5, 4), (0, 1, 0.0, 1)])
def test_a_budget_too_small_for_a_rung_says_how_much_is_enough(
    total: int, rungs: int, share: float, least: int
) -> None:
    with pytest.raises(
        UsageError, match=rf"--budget-epochs {total}: not one epoch for each of {rungs} rungs"
    ) as caught:
        split_evenly(total, rungs, share)
    assert f"Give {least} or more" in caught.value.hint


@pytest.mark.parametrize("delta", [None, 0.1], ids=["alone", "with a delta"])
def test_a_budget_too_small_is_refused_before_anything_is_trained(delta: float | None) -> None:
    told = Told()
    with pytest.raises(UsageError, match="--budget-epochs 2: not one epoch for each of 3 rungs"):
        climb(replace(TINY, budget_epochs=2, delta=delta), told)
    assert not told.lines and not cache.entries()

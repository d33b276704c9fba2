"""Training learns, is the same for the same seed, and says so when it diverges."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from harness import content
from harness.compress import train
from harness.compress.schedules import Schedule
from harness.errors import TrainError

LONGER = Schedule(epochs=20, peak=0.1)


def silent(epoch: int, loss: float) -> None:
    pass


def tiny(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    network: nn.Module = content.load("model", "tiny").build(None)
    return network


def test_a_network_learns_the_tiny_task() -> None:
    data = content.load("task", "tiny").load(None)
    network = tiny()
    train.fit(network, data.train, LONGER, 0, silent)
    assert train.evaluate(network, data.train) > 0.7
    assert train.evaluate(network, data.test) > 0.5


def test_the_same_seed_trains_the_same_weights_and_another_seed_others() -> None:
    data = content.load("task", "tiny").load(None)

    def trained(seed: int) -> list[torch.Tensor]:
        network = tiny()
        train.fit(network, data.train, Schedule(2, 0.05), seed, silent)
        return list(network.state_dict().values())

    first, again, other = trained(0), trained(0), trained(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_loss_that_is_not_finite_is_an_error_that_says_so() -> None:
    data = content.load("task", "tiny").load(None)
    with pytest.raises(TrainError, match=r"the loss became (nan|inf) at step \d+ of 20"):
        train.fit(tiny(), data.train, Schedule(10, 1e30), 0, silent)


def test_progress_is_told_after_each_epoch_with_the_mean_loss() -> None:
    data = content.load("task", "tiny").load(None)
    told: list[tuple[int, float]] = []
    train.fit(tiny(), data.train, Schedule(3, 0.01), 0, lambda epoch, loss: told.append((epoch, loss)))
    assert [epoch for epoch, _ in told] == [0, 1, 2]
    assert all(math.isfinite(loss) for _, loss in told)


def test_evaluation_counts_every_image_once() -> None:
    class Always(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.one_hot(torch.full((len(x),), 3), 10).float()

    test = content.load("task", "digits").load(None).test
    assert train.evaluate(Always(), test) == (test.labels == 3).sum().item() / 270


def test_one_cycle_rises_to_its_peak_and_falls_to_almost_nothing() -> None:
    rates = [train.one_cycle(step, 100, 0.05) for step in range(100)]
    top = rates.index(max(rates))
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) == pytest.approx(0.05, rel=0.02)
    assert rates[-1] < 1e-4
    assert 0 < train.one_cycle(0, 1, 0.02) <= 0.02

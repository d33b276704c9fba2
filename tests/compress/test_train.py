"""Training learns, is the same for the same seed, and says so when it diverges."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Literal

import pytest
import torch
from torch import nn

from harness import content
from harness.compress import climber, train
from harness.compress.schedules import Schedule
from harness.errors import TrainError, UsageError
from harness.records import LadderRequest

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


# --- what a method or the user adds to the loop ---------------------------------------------------------------------


def plain_step(network: nn.Module, x: torch.Tensor, labels: torch.Tensor, teacher: nn.Module, share: float) -> float:
    """(1 - share) CE + share T^2 KL(teacher || student), number by number, in float64 and without torch's losses."""
    student, wanted = (model(x).double().detach().numpy() for model in (network, teacher))
    total = 0.0
    for z, w, label in zip(student, wanted, labels.tolist(), strict=True):
        p = [math.exp(v) / sum(math.exp(u) for u in z) for v in z]
        soft, hard = ([math.exp(v / 4) / sum(math.exp(u / 4) for u in row) for v in row] for row in (z, w))
        divergence = sum(h * math.log(h / s) for h, s in zip(hard, soft, strict=True))
        total += (1 - share) * -math.log(p[label]) + share * 16 * divergence
    return total / len(labels)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_distillation_is_its_formula_by_a_plain_calculation(share: float) -> None:
    network, teacher = tiny(0).eval(), tiny(1).eval()
    data = content.load("task", "tiny").load(None)
    x, labels = data.train.images[:16], data.train.labels[:16]
    found = train._loss(network(x), x, labels, train.Teacher(teacher, share)).item()
    assert found == pytest.approx(plain_step(network, x, labels, teacher, share), rel=1e-5)


def test_a_student_of_its_teacher_alone_comes_nearer_to_it_and_the_teacher_stays_as_it_was() -> None:
    data = content.load("task", "tiny").load(None)
    teacher, network = tiny(1), tiny(0)
    train.fit(teacher, data.train, LONGER, 0, silent)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}

    def agree() -> float:
        with torch.no_grad():
            return (
                (network.eval()(data.test.images).argmax(1) == teacher(data.test.images).argmax(1))
                .float()
                .mean()
                .item()
            )

    first = agree()
    train.fit(network, data.train, LONGER, 0, silent, train.Extras(teacher=train.Teacher(teacher, 1.0)))
    assert agree() > first + 0.2
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_learns_the_tiny_task(optimizer: Literal["adam", "adamw"]) -> None:
    data = content.load("task", "tiny").load(None)
    network = tiny()
    train.fit(network, data.train, Schedule(20, 0.01, optimizer), 0, silent)
    assert train.evaluate(network, data.train) > 0.7


def test_a_penalty_is_part_of_what_is_minimised_and_of_the_loss_that_is_told() -> None:
    data = content.load("task", "tiny").load(None)
    network, losses = tiny(), list[float]()
    extras = train.Extras(penalty=lambda: 100 + network.fc.weight.square().sum())
    train.fit(network, data.train, Schedule(5, 0.05), 0, lambda epoch, loss: losses.append(loss), extras)
    plain = tiny()
    train.fit(plain, data.train, Schedule(5, 0.05), 0, silent)
    assert min(losses) > 100
    assert network.fc.weight.norm() < 0.5 * plain.fc.weight.norm()


def test_after_each_step_weights_are_put_back_within_bounds() -> None:
    data = content.load("task", "tiny").load(None)
    network, steps = tiny(), [0]

    def clamp() -> None:
        steps[0] += 1
        network.fc.weight.clamp_(-0.01, 0.01)

    train.fit(network, data.train, Schedule(3, 0.05, batch=32), 0, silent, train.Extras(after_step=clamp))
    assert network.fc.weight.abs().max() <= 0.01
    assert steps == [3 * 4]  # 120 images in batches of 32


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_and_nothing_falls_back() -> None:
    data = content.load("task", "tiny").load(None)
    with pytest.raises(UsageError, match="--train-on cuda: torch finds no CUDA device"):
        train.fit(tiny(), data.train, LONGER, 0, silent, train.Extras(on="cuda"))


# --- time left ---------------------------------------------------------------------------------------------------------


def test_the_time_left_is_told_from_epochs_done_and_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    pace = climber.Pace()
    pace.start()
    for seconds, left, said in ((60, 3, "3 min"), (30, 2, "90 s"), (45, 0, "0 s")):
        now[0] += seconds
        assert pace.lap(left) == f"; about {said} left"
    pace.start()
    for _ in range(climber.LAPS):  # only the last few count
        now[0] += 7200
        said = pace.lap(10)
    assert said == "; about 20.0 h left"


@pytest.mark.parametrize(("method", "epochs"), [("easier", 5 + 3), ("shallow", 5 + 8), ("narrow", 5 + 3 + 3)])
def test_epochs_to_come_are_those_of_all_rungs(method: str, epochs: int) -> None:
    means = climber.Means(LadderRequest(method=method, model="tiny", task="tiny", threads=1), lambda _: None)
    full = climber.Lesson(means, means.schedules.full, 0, "key", "training")
    assert full.epochs + full._to_come() == epochs
    last = climber.Lesson(means, means.rung_schedule, means.rungs, "key", "fine-tuning")
    assert last._to_come() == 0


NARROW_STRIDED = """
import torch
from torch import nn
from harness.compress import train
from harness.compress.schedules import Schedule
from collections import namedtuple
torch.set_num_threads(2)
split = namedtuple("Split", "images labels")(torch.randn(41, 8, 32, 32), torch.arange(41) % 10)
narrow = nn.Sequential(nn.Conv2d(8, 16, 1, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
train.fit(train.lay_out(narrow), split, Schedule(2, 0.01), 0, lambda epoch, loss: None)
"""


@pytest.mark.slow
def test_narrow_strided_layers_train_in_two_threads_where_torch_dies_of_them_with_channels_innermost() -> None:
    assert subprocess.run([sys.executable, "-c", NARROW_STRIDED], check=False).returncode == 0


def test_weights_lie_with_channels_innermost_where_torch_bears_it() -> None:
    wide = train.lay_out(nn.Sequential(nn.Conv2d(16, 16, 3)))
    narrow = train.lay_out(nn.Sequential(nn.Conv2d(16, 8, 3), nn.Conv2d(8, 16, 1, stride=2)))
    assert wide[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert narrow[0].weight.is_contiguous()

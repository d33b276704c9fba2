"""A training that was cut off, at whatever moment, goes on to the same weights to the last bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from in_process import TINY, Told, climb
from torch import Tensor, nn

from harness import cache, content
from harness.compress import train
from harness.compress.climber import LEARNING
from harness.compress.schedules import Schedule
from harness.compress.train import CHECKPOINT, Extras

EPOCHS = 4
DATA = content.load("task", "tiny").load(None)


class Cut(BaseException):
    """Stands for whatever ends a process: nothing may catch it."""


def dropping() -> nn.Module:
    """BatchNorm with its running statistics, and dropout, which draws."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU6(), nn.Dropout(0.4), nn.Flatten())
    return train.lay_out(nn.Sequential(*layers, nn.Linear(6 * 49, 10)))


def trained(
    schedule: Schedule, folder: Path | None = None, after: Callable[[int, int], None] | None = None
) -> list[Tensor]:
    """Train, calling `after(epoch, step)` at each step; return all weights and statistics."""
    network, steps = dropping(), [0]

    def count() -> None:
        steps[0] += 1
        if after is not None:
            after(epochs[0], steps[0])

    epochs = [0]

    def on_epoch(epoch: int, loss: float) -> None:
        epochs[0], steps[0] = epoch + 1, 0
        if after is not None:
            after(epoch + 1, 0)

    train.fit(network, DATA.train, schedule, 3, on_epoch, Extras(after_step=count, folder=folder))
    return list(network.state_dict().values())


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def cut_at(epoch: int, step: int) -> Callable[[int, int], None]:
    def after(at: int, steps: int) -> None:
        if (at, steps) == (epoch, step):
            raise Cut

    return after


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("step", [0, 1], ids=["after an epoch", "within an epoch"])
@pytest.mark.parametrize("epoch", range(1, EPOCHS))
def test_a_training_cut_off_at_any_epoch_goes_on_to_the_same_weights(
    epoch: int, step: int, optimizer: str, tmp_path: Path
) -> None:
    schedule = Schedule(EPOCHS, 0.01, optimizer, batch=32)  # type: ignore[arg-type]
    whole = trained(schedule)
    with pytest.raises(Cut):
        trained(schedule, tmp_path, cut_at(epoch, step))
    seen: list[int] = []
    torch.manual_seed(99)  # another process draws from elsewhere
    again = trained(schedule, tmp_path, lambda at, steps: seen.append(at) if not steps else None)
    assert equal(whole, again)
    assert seen == list(range(epoch + 1, EPOCHS + 1))


def test_a_training_cut_off_twice_goes_on_twice(tmp_path: Path) -> None:
    schedule = Schedule(EPOCHS, 0.05, "sgd", "steps", (0.5,), batch=32)
    for cut in ((1, 2), (3, 0)):
        with pytest.raises(Cut):
            trained(schedule, tmp_path, cut_at(*cut))
    assert equal(trained(schedule), trained(schedule, tmp_path))


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None], ids=["empty", "no archive", "half"])
def test_a_damaged_checkpoint_counts_as_none(damage: bytes | None, tmp_path: Path) -> None:
    schedule = Schedule(EPOCHS, 0.05, batch=32)
    with pytest.raises(Cut):
        trained(schedule, tmp_path, cut_at(2, 1))
    file = tmp_path / CHECKPOINT
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if damage is None else damage)
    seen: list[int] = []
    again = trained(schedule, tmp_path, lambda at, steps: seen.append(at) if not steps else None)
    assert equal(trained(schedule), again)
    assert seen == [1, 2, 3, 4]


TRAIN = """
import sys, torch
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
torch.set_num_threads(1)
import test_checkpoints as here
weights = here.trained(here.LONG, Path(sys.argv[1]), lambda at, steps: print(at, steps, flush=True))
torch.save(weights, sys.argv[2])
"""
LONG = Schedule(12, 0.02, batch=8)


@pytest.mark.slow
@pytest.mark.parametrize("lines", [1, 17, 40, 100, 186])
def test_a_process_killed_at_any_moment_is_gone_on_from_to_the_same_weights(lines: int, tmp_path: Path) -> None:
    """15 steps and a line more an epoch: some of these are within one, and the moment within a step is chance."""
    script = TRAIN.format(tests=str(Path(__file__).parent), root=str(Path(__file__).parents[2]))
    command = [sys.executable, "-c", script, str(tmp_path / "checkpoints"), str(tmp_path / "weights.pt")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(lines):
            assert process.stdout.readline()
        time.sleep(0.001 * (lines % 7))
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "weights.pt").exists()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert equal(trained(LONG), torch.load(tmp_path / "weights.pt"))


def test_checkpoints_are_there_while_a_rung_is_trained_and_vanish_when_it_is_there() -> None:
    learning = cache.root() / LEARNING
    found: list[int] = []
    told = Told("epoch 2 of 5", lambda: found.append(len(list(learning.rglob(CHECKPOINT)))))
    climb(replace(TINY, rungs=1), told)
    assert found == [1]
    assert not list(learning.rglob("*"))


def test_a_climb_cut_off_within_full_depth_goes_on_from_its_last_epoch_to_the_same_ladder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = climb(replace(TINY, rungs=1))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def cut() -> None:
        raise Cut

    for word in ("training, epoch 3 of 5", "fine-tuning, epoch 1 of 1"):
        with pytest.raises(Cut):
            climb(replace(TINY, rungs=1), Told(word, cut))
    told = Told()
    _, again = climb(replace(TINY, rungs=1), told)
    assert [rung.variant.name for rung in again] == [rung.variant.name for rung in whole]
    assert not told.heard("rung 0")


TWICE = """
from dataclasses import dataclass
from harness.compress.ranking import lowest

TRAINS = True

@dataclass(frozen=True)
class Recipe:
    pass

def choose(state, recipe):
    return lowest({name: 0.0 for name in state.candidates})

def tune(network, training, recipe):
    training.fit(network)
    training.fit(network)
"""


def test_a_method_that_trains_twice_has_a_checkpoint_for_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "twice.py").write_text(TWICE)
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    request = replace(TINY, method="twice", rungs=1, budget_epochs=3)
    told = Told()
    _, whole = climb(request, told)
    tuned = [line for line in told.lines if "fine-tuning, epoch" in line]
    assert len(tuned) == 6  # the second goes through all of its epochs, though the first left a checkpoint
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))

    def cut() -> None:
        raise Cut

    with pytest.raises(Cut):
        climb(request, Told("fine-tuning, epoch", cut, at=5))
    assert [rung.variant.name for rung in climb(request)[1]] == [rung.variant.name for rung in whole]

"""What a ladder is made of, loaded when first needed: method, data, full network, eligible units, schedules, epochs."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from harness import cache, content
from harness.child import OnProgress, Progress
from harness.compress import activations, mergeable, models, recipes, schedules, train
from harness.compress.schedules import Budget, Schedule, Schedules
from harness.compress.state import AfterStep, Data, Penalty, State
from harness.errors import UsageError
from harness.records import LadderRequest

LAPS = 5  # epochs that the time left is told from
LEARNING = "training"  # the folder of checkpoints in the cache


class Pace:
    """How long an epoch of this ladder takes, as far as this process has seen, and so how long the rest will take."""

    def __init__(self) -> None:
        self._laps: list[float] = []
        self._since = 0.0

    def start(self) -> None:
        """A training begins, or goes on."""
        self._since = time.monotonic()

    def lap(self, epochs_left: int) -> str:
        """Another epoch is done: return in words how long so many more will take, at the pace of the last few."""
        now = time.monotonic()
        self._laps.append(now - self._since)
        self._since = now
        recent = self._laps[-LAPS:]
        return f"; about {in_words(epochs_left * sum(recent) / len(recent))} left"


def in_words(seconds: float) -> str:
    """Write a duration with one unit: `40 s`, `3 min`, `2.5 h`."""
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


class Means:
    """A request with all that it takes to make its rungs."""

    def __init__(self, request: LadderRequest, on_progress: OnProgress) -> None:
        self.request = request
        self.on_progress = on_progress
        self.recipe = recipes.resolve(request.method, request.recipe)
        self.name = recipes.ladder_name(request.method, self.recipe, request.seed)
        self.method = content.load("method", request.method)
        self.trains: bool = self.method.TRAINS
        self.fresh: bool = getattr(self.method, "FRESH", False)
        self.control: bool = getattr(self.method, "CONTROL", False)
        self.pace: Pace | None = Pace()
        self.task = models.task(request.task, request.data)
        self.example = models.example(self.task, request.seed)

    @cached_property
    def data(self) -> Data:
        """The task's images, loaded when first needed. Of files that is said: a first time may take minutes."""
        if hasattr(self.task, "DATA"):
            self.say(f"reading the data of {self.request.task}")
        with content.blaming(content.find("task", self.request.task)):
            data: Data = self.task.load(self.request.data)
        return data

    @cached_property
    def activations(self) -> tuple[str, ...]:
        """All activations of the full network, in forward order."""
        return activations(self.build())

    @cached_property
    def eligible(self) -> tuple[str, ...]:
        """The activations that this ladder may remove, in forward order."""
        return self.activations if self.request.eligible == "all" else mergeable(self.build(), self.example)

    @cached_property
    def units(self) -> tuple[str, ...]:
        """What the method takes one by one: activations, or what its `units` says. Raises UsageError: it finds none."""
        own: Callable[[State, Any], tuple[str, ...]] | None = self.hook("units")
        if own is None:
            return self.eligible
        with self.blaming():
            return own(State(self.build().eval(), self.example, self.eligible, (), controls=self.controls), self.recipe)

    @cached_property
    def rungs(self) -> int:
        """The most rungs there will be below full depth."""
        return min(math.ceil(len(self.units) / self.step), self.request.rungs or len(self.units))

    @property
    def step(self) -> int:
        """How many units each rung takes: as asked, but networks that are made each for itself stand so."""
        own_networks = not getattr(self.method, "CHAINS", True) and self.hook("begin") is None
        return 1 if own_networks else self.request.step

    @cached_property
    def schedules(self) -> Schedules:
        """How this ladder's networks are trained."""
        return schedules.named(self.request.schedule, self.request.model)

    @cached_property
    def budget(self) -> Budget:
        """The epochs of this ladder, as its method shares them out. Raises UsageError: too few for one rung.

        Unless said, as many as one activation after the other takes; more where a method has more rungs than that, or where
        it trains before its first choice and not an epoch would be left for that. What is said is rounded down to whole
        epochs of each activation rung, so that no method spends a rest that others cannot.
        """
        asked, each = self.request.budget_epochs, math.ceil(len(self.eligible) / self.request.step)
        lessons = max(self.rungs, min(each, self.request.rungs or each))
        least = self.rungs + (self.hook("begin") is not None and not self.control)
        usual = max(least, lessons * self.schedules.rung.epochs)
        total = usual if asked is None else self._whole(asked, lessons, least)
        share: Callable[[int, int, Any], Budget] | None = self.hook("budget")
        if not self.trains:
            return Budget(0, 0)
        return share(total, self.rungs, self.recipe) if share else schedules.split_evenly(total, self.rungs)

    def _whole(self, asked: int, lessons: int, least: int) -> int:
        """The epochs asked for, without a rest; the control `continue` is given exactly those of whom it is held against."""
        if self.control and getattr(self.method, "CHAINS", True):
            return asked
        return max(asked - asked % lessons, min(asked, least))

    @cached_property
    def rung_schedule(self) -> Schedule:
        """How a rung is trained: from fresh weights as the full network is, else as rungs are."""
        if self.fresh:
            return self.schedules.full.lasting(self.schedules.full.epochs + self.budget.rung)
        return self.schedules.rung.lasting(self.budget.rung)

    def hook(self, name: str) -> Any:
        """Return an optional function of the method, or None."""
        return getattr(self.method, name, None)

    def blaming(self) -> Any:
        """Turn what the method's file does wrong into a ContentError that names it."""
        return content.blaming(content.find("method", self.request.method))

    def build(self) -> nn.Module:
        """Return the full network with random weights, the same ones for the same seed."""
        return train.lay_out(models.build(self.request.model, self.task, self.request.seed))

    def controls(self) -> dict[str, nn.Module]:
        """Return the model's smaller networks by name, untrained."""
        return models.controls(self.request.model, self.task, self.request.seed)

    def check(self) -> None:
        """Judge the request, and look at its data, before anything is made. Raises UsageError, ContentError."""
        self.judge()
        self.look()

    def look(self) -> None:
        """Let the task look at the data that it will be trained on, if it has a `check`. Raises ContentError."""
        look: Callable[[str | None], None] | None = getattr(self.task, "check", None)
        if self.trains and look is not None:
            with content.blaming(content.find("task", self.request.task)):
                look(self.request.data)

    def judge(self) -> None:
        """Let the method judge its recipe by the units there are, if it has a `check`. Raises UsageError."""
        judge, units = self.hook("check"), self.units
        if judge is not None:
            with self.blaming():
                judge(units, self.recipe)
        if self.trains and not units:
            raise UsageError(
                f"method {self.request.method} finds nothing to remove from model {self.request.model}",
                "Name another --method, or --eligible all.",
            )
        if self.trains and self.task.CLASSES < 2:
            raise UsageError(
                f"task {self.request.task} has one class: there is nothing to learn", "Name another --task."
            )
        assert self.budget is not None  # judged before anything is made

    def state(self, network: nn.Module, candidates: tuple[str, ...], rung: int) -> State:
        """Return what the method sees when it makes rung `rung` from `network`, a copy that it may change."""
        return State(
            network=copy.deepcopy(network).eval(),
            example=self.example,
            eligible=self.units,
            candidates=candidates,
            held_out=self.data.validation if self.trains else None,
            train=self.data.train if self.trains else None,
            seed=self.request.seed,
            rung=rung,
            step=self.step,
            epochs=self.budget.begin + rung * self.budget.rung,
            controls=self.controls,
            full=self.build,
        )

    def checkpoints(self, key: str) -> Path:
        """Where the training of a rung keeps its checkpoint until its result is kept."""
        return cache.root() / LEARNING / key

    def tell(self, rung: int, doing: str) -> None:
        """Report what is being done for which rung."""
        self.on_progress(Progress(f"{self.name}: rung {rung} of {self.rungs}, {doing}", rung, self.rungs + 1))

    def say(self, text: str) -> None:
        """Report something about the ladder as a whole."""
        self.on_progress(Progress(f"{self.name}: {text}"))


@dataclass(frozen=True)
class Lesson:
    """One training of a ladder's network, as a method may ask for it (`Training`): `number` is the rung's."""

    means: Means
    schedule: Schedule
    number: int
    key: str
    doing: str
    teacher: nn.Module | None = None
    _fits: list[None] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """How many epochs it lasts."""
        return self.schedule.epochs

    def fit(self, network: nn.Module, penalty: Penalty | None = None, after_step: AfterStep | None = None) -> None:
        """Train `network` in place, going on where a training of the same key was cut off. Raises TrainError.

        A method may train several times; each time has a checkpoint and a seed of its own.
        """
        if not self.epochs:
            return
        request, means = self.means.request, self.means
        means.tell(self.number, self.doing)

        def on_epoch(epoch: int, loss: float) -> None:
            left = means.pace.lap(self.epochs - epoch - 1 + self._to_come()) if means.pace else ""
            means.tell(self.number, f"{self.doing}, epoch {epoch + 1} of {self.epochs}, loss {loss:.3f}{left}")

        teacher = train.Teacher(self.teacher.eval(), request.distil) if self.teacher and request.distil else None
        extras = train.Extras(penalty, after_step, teacher, self.folder / str(len(self._fits)), request.train_on)
        seed = 1000 * request.seed + self.number + 10**6 * len(self._fits)
        self._fits.append(None)
        split = means.data.train
        if means.pace:
            means.pace.start()
        train.fit(network, split, self.schedule, seed, on_epoch, extras)

    @property
    def folder(self) -> Path:
        """Where its checkpoints lie until its result is kept."""
        return self.means.checkpoints(self.key)

    def _to_come(self) -> int:
        """Epochs of the trainings after this one, if the ladder gets to its last rung."""
        means = self.means
        first = self.schedule == means.schedules.full and not self.number
        rest = (means.rungs - self.number) * means.rung_schedule.epochs if means.trains else 0
        return rest + (means.budget.begin if first else 0)

"""Climb a ladder: from full depth, one activation less at a time. The only caller of methods; runs in the child.

    choose -> remove -> (accuracy) -> move padding first -> (accuracy) -> fine-tune -> (accuracy) -> fold -> export

Each rung is cached as soon as it is made, and a climb goes on from the last one there. For a method that does not
train, weights are random and accuracies null.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from harness import content
from harness.child import OnProgress, Progress
from harness.compress import activations, keys, mergeable, models, pad_first, program, recipes, remove, rungs, train
from harness.compress.state import Data, State
from harness.records import Choice, LadderRequest, Padding, Rung

UNTRAINED = "the weights are random: this ladder is for latency alone"
FULL_DEPTH = "full depth: nothing was removed"
NOT_MOVED = "no padding had to move"


def climb(request: LadderRequest, key: str, on_progress: OnProgress) -> None:
    """Make every rung of the ladder that is not in the cache, and record the ladder, finished, under `key`.

    Raises UsageError (settings, names of activations; before anything is made), ContentError, TrainError, FoldError,
    StoreError.
    """
    climber = Climber(request, on_progress)
    climber.check()
    position: Position | None = climber.first()
    made = []
    while position is not None:
        made.append(position.key)
        position = climber.next(position)
    examples = len(climber.data.test.labels) if climber.trains else None
    outline = rungs.Outline(climber.name, recipes.plain(climber.recipe), examples, len(climber.eligible))
    rungs.write_ladder(key, outline, made)


@dataclass(frozen=True)
class Position:
    """Where a climb stands: a cached rung, and its trainable network when that is at hand."""

    key: str
    rung: Rung
    network: nn.Module | None = None


@dataclass(frozen=True)
class Draft:
    """A rung before it is folded: its trainable network and what is known of it. Accuracies as in Rung."""

    network: nn.Module
    removed_names: tuple[str, ...] = ()
    padding: Padding = "kept"
    choice: Choice | None = None
    accuracy: float | None = None
    accuracy_removed: float | None = None
    accuracy_moved: float | None = None


class Climber:
    """A request with all that it takes to make its rungs."""

    def __init__(self, request: LadderRequest, on_progress: OnProgress) -> None:
        self.request = request
        self.on_progress = on_progress
        self.recipe = recipes.resolve(request.method, request.recipe)
        self.name = recipes.ladder_name(request.method, self.recipe)
        self.method = content.load("method", request.method)
        self.trains: bool = self.method.TRAINS
        self.task = content.load("task", request.task)
        self.example = models.example(self.task, request.seed)

    @cached_property
    def data(self) -> Data:
        """The task's images, loaded when first needed."""
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

    def build(self) -> nn.Module:
        """Return the full network with random weights, the same ones for the same seed."""
        return train.lay_out(models.build(self.request.model, self.task, self.request.seed))

    def check(self) -> None:
        """Let the method judge its recipe by the activations there are, if it has a `check`. Raises UsageError."""
        judge, eligible = getattr(self.method, "check", None), self.eligible
        if judge is not None:
            with content.blaming(content.find("method", self.request.method)):
                judge(eligible, self.recipe)

    def tell(self, rung: int, doing: str) -> None:
        """Report what is being done for which rung."""
        deepest = len(self.eligible)
        self.on_progress(Progress(f"{self.name}: rung {rung} of {deepest}, {doing}", rung, deepest + 1))

    def first(self) -> Position:
        """Return rung 0: the full network, trained unless the method does not train."""
        key = keys.rung(self.request, 0, None)
        if (known := rungs.read(key)) is not None:
            return Position(key, known)
        network, accuracy = self.build(), None
        if self.trains:
            self._fit(network, 0, train.FULL_DEPTH)
            accuracy = train.evaluate(network, self.data.test)
        return self._finish(key, Draft(network, accuracy=accuracy))

    def next(self, above: Position) -> Position | None:
        """Return the rung below `above`, of one activation less, or None where the ladder ends."""
        key = keys.rung(self.request, above.rung.rung + 1, above.rung.variant.name)
        if (known := rungs.read(key)) is not None:
            return Position(key, known)
        if len(above.rung.removed_names) == len(self.eligible):
            return None
        network = self._restore(above) if above.network is None else above.network
        choice = self._choose(network, above.rung)
        return self._finish(key, self._shorten(network, above.rung, choice)) if choice else None

    def _choose(self, network: nn.Module, above: Rung) -> Choice | None:
        self.tell(above.rung + 1, "choosing what to remove")
        candidates = tuple(name for name in self.eligible if name not in above.removed_names)
        images = self.data.validation.images if self.trains else None
        state = State(network.eval(), self.eligible, candidates, images, self.request.seed)
        with content.blaming(content.find("method", self.request.method)):
            choice: Choice | None = self.method.choose(state, self.recipe)
        return choice

    def _shorten(self, network: nn.Module, above: Rung, choice: Choice) -> Draft:
        """Remove the chosen activation, move the padding, fine-tune; accuracy after each, if the method trains."""
        number, test = above.rung + 1, self.data.test if self.trains else None
        without = train.lay_out(remove(network, [choice.chosen]))
        network = self._remove(network, choice.chosen)
        moved = _paddings(network) != _paddings(without)
        removed_names = (*above.removed_names, choice.chosen)
        padding: Padding = "moved" if moved or above.padding == "moved" else "kept"
        if test is None:
            return Draft(network, removed_names, padding, choice)
        self.tell(number, f"without {choice.chosen}")
        accuracy_removed = train.evaluate(without, test)
        accuracy_moved = train.evaluate(network, test) if moved else None
        self._fit(network, number, train.RUNG)
        accuracy = train.evaluate(network, test)
        return Draft(network, removed_names, padding, choice, accuracy, accuracy_removed, accuracy_moved)

    def _remove(self, network: nn.Module, name: str) -> nn.Module:
        """Remove an activation; if layers can then merge, pad once before the first, its BatchNorm folded."""
        opens = mergeable(network, self.example, [name])
        without = remove(network, [name])
        return train.lay_out(pad_first(without, self.example, opens) if opens else without)

    def _restore(self, position: Position) -> nn.Module:
        """Return the trainable network of a cached rung: the steps that led to it, then its weights."""
        network = self.build()
        for name in position.rung.removed_names:
            network = self._remove(network, name)
        network.load_state_dict(torch.load(rungs.state_file(position.key), weights_only=True))
        return network

    def _fit(self, network: nn.Module, number: int, schedule: train.Schedule) -> None:
        doing = "fine-tuning" if number else "training"
        self.tell(number, doing)

        def on_epoch(epoch: int, loss: float) -> None:
            self.tell(number, f"{doing}, epoch {epoch + 1} of {schedule.epochs}, loss {loss:.3f}")

        train.fit(network, self.data.train, schedule, 1000 * self.request.seed + number, on_epoch)

    def _finish(self, key: str, draft: Draft) -> Position:
        """Fold the rung, cache it with the state to go on from, and return it as cached."""
        number = len(draft.removed_names)
        self.tell(number, "folding and exporting")
        with rungs.writing(key) as folder:
            torch.save(draft.network.state_dict(), folder / rungs.STATE)
            file = folder / rungs.PROGRAM
            vocabulary = models.vocabulary(self.task)
            deployed = program.deploy(
                draft.network, self.example, self.task.CLASSES, self.request.forms, file, vocabulary
            )
            rungs.write_record(folder, self._record(number, draft, deployed))
        return Position(key, rungs.require(key), draft.network)

    def _record(self, number: int, draft: Draft, deployed: program.Deployed) -> Rung:
        return Rung(
            rung=number,
            network=self.request.model,
            removed=number,
            activations=len(self.activations),
            eligible=len(self.eligible),
            removed_names=draft.removed_names,
            setting=None,
            padding=draft.padding,
            accuracy=draft.accuracy,
            accuracy_removed=draft.accuracy_removed,
            accuracy_moved=draft.accuracy_moved,
            choice=draft.choice,
            reasons=self._reasons(draft),
            **vars(deployed),
        )

    def _reasons(self, draft: Draft) -> dict[str, str]:
        """Why a number is null, by its key."""
        shared = not draft.removed_names  # rung 0 belongs to every method
        reasons = {"setting": FULL_DEPTH if shared else f"{self.request.method} has no scalar setting"}
        if not self.trains:
            return {**reasons, **dict.fromkeys(("accuracy", "accuracy_removed", "accuracy_moved"), UNTRAINED)}
        if shared:
            return {**reasons, "accuracy_removed": FULL_DEPTH, "accuracy_moved": FULL_DEPTH}
        return reasons if draft.accuracy_moved is not None else {**reasons, "accuracy_moved": NOT_MOVED}


def _paddings(network: nn.Module) -> dict[str, object]:
    """How much each layer pads, by its path."""
    return {name: module.padding for name, module in network.named_modules() if hasattr(module, "padding")}

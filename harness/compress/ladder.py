"""Climb a ladder: from full depth, one step shorter at a time. The only caller of methods; runs in the child.

    (begin) -> choose -> shorten -> (accuracy) -> move padding -> (accuracy) -> fine-tune -> finish -> (accuracy) -> fold

Each rung is cached as soon as it is made, and a climb goes on from the last one there; a training that was cut off goes
on from its last epoch. For a method that does not train, weights are random and accuracies null.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.child import OnProgress
from harness.compress import delta, edits, keys, models, program, recipes, rungs, train
from harness.compress.climber import Lesson, Means
from harness.compress.edits import Edit
from harness.errors import TrainError
from harness.records import Choice, LadderRequest, Padding, Rung

UNTRAINED = "the weights are random: this ladder is for latency alone"
FULL_DEPTH = "full depth: nothing was removed"
NOT_MOVED = "no padding had to move"


def climb(request: LadderRequest, key: str, on_progress: OnProgress) -> None:
    """Make every rung of the ladder that is not in the cache, and record the ladder, finished, under `key`.

    A training that diverges ends the ladder at the last good rung, and so does an accuracy below what `delta` allows; the
    record says so. Raises UsageError (settings, names; before anything is made), ContentError, TrainError (full depth
    already), FoldError, StoreError.
    """
    climber = Climber(Means(request, on_progress))
    climber.means.check()
    made, ended = climber.all()
    means = climber.means
    examples = len(means.data.test.labels) if means.trains else None
    outline = rungs.Outline(means.name, recipes.plain(means.recipe), examples, len(means.units), ended)
    rungs.write_ladder(key, outline, made)
    rungs.drop_states(made[1:-1])  # rung 0 is every ladder's, the last is there to go on from


@dataclass(frozen=True)
class Position:
    """Where a climb stands: a cached rung, and its trainable network when that is at hand."""

    key: str
    rung: Rung
    network: nn.Module | None = None


@dataclass
class Draft:
    """A rung in the making: its trainable network and what is known of it. Accuracies as in Rung."""

    network: nn.Module
    edits: tuple[Edit, ...] = ()
    choice: Choice | None = None
    removed_names: tuple[str, ...] = ()
    padding: Padding = "kept"
    epochs: int = 0
    accuracy_removed: float | None = None
    accuracy_moved: float | None = None
    accuracy: float | None = None
    accuracy_validation: float | None = None
    correct: str = ""


class Climber:
    """The story of one ladder, told with its Means."""

    def __init__(self, means: Means) -> None:
        self.means = means

    def all(self) -> tuple[list[str], str]:
        """Make every rung; return their keys, and why there are no more if not for want of candidates."""
        position, made = self.first(), list[str]()
        bound = delta.bound(self.means)
        while True:
            made.append(position.key)
            if position.rung.rung >= self.means.rungs:
                return made, ""
            try:
                following = self.next(position)
            except TrainError as error:
                return made, f"rung {position.rung.rung + 1}: {error.message}"
            if following is None:
                return made, ""
            if (why := bound(following.rung)) is not None:
                return made, why
            position = following

    def first(self) -> Position:
        """Return rung 0: the full network, trained unless the method does not train."""
        key = keys.rung(self.means.request, 0, None)
        if (known := rungs.standing(key)) is not None:
            return Position(key, known)
        began, draft = time.monotonic(), Draft(self.means.build())
        if self.means.trains:
            full = self.means.schedules.full
            Lesson(self.means, full, 0, key, "training").fit(draft.network)
            draft.epochs = full.epochs
        return self._finish(key, 0, draft, began)

    def next(self, above: Position) -> Position | None:
        """Return the rung below `above`, one step shorter, or None where the ladder ends."""
        number = above.rung.rung + 1
        key = keys.rung(self.means.request, number, above.rung.variant.name, self._tuning())
        if (known := rungs.standing(key)) is not None:
            return Position(key, known)
        began = time.monotonic()
        start = self._start(above)
        self.means.tell(number, "choosing what to remove")
        gone = {name for edit in start.edits for name in edit.names}
        candidates = tuple(name for name in self.means.units if name not in gone)
        with self.means.blaming():
            state = self.means.state(start.network, candidates, number)
            choice: Choice | None = self.means.method.choose(state, self.means.recipe)
        if choice is None:
            return None
        return self._finish(key, number, self._shorten(start, choice, candidates, number, key), began)

    # --- one rung, step by step --------------------------------------------------------------------------------------

    def _tuning(self) -> dict[str, Any]:
        """What of schedule and budget a rung depends on."""
        budget = self.means.budget
        begun = asdict(self.means.schedules.rung.lasting(budget.begin)) if budget.begin else None
        return {"begin": begun, "rung": asdict(self.means.rung_schedule)}

    def _start(self, above: Position) -> Draft:
        """The network that a rung is made from: that of the rung above, or the full one as the method began it."""
        chains: bool = getattr(self.means.method, "CHAINS", True)
        if above.rung.rung and chains:
            return self._restore(above)
        full = above if not above.rung.rung else self.first()
        return self._begin(full) if self.means.hook("begin") else self._restore(full)

    def _restore(self, position: Position) -> Draft:
        """The trainable network of a cached rung: its edits again on the full network, then its weights."""
        made = rungs.edits_of(position.key)
        network = position.network
        if network is None:
            network = train.lay_out(edits.apply(self.means.build(), made, self.means.example))
            network.load_state_dict(torch.load(rungs.state_file(position.key), weights_only=True))
        rung = position.rung
        return Draft(network, made, removed_names=rung.removed_names, padding=_padding(rung), epochs=rung.epochs or 0)

    def _begin(self, full: Position) -> Draft:
        """The full network as the method trains it before its first choice; kept, for every rung may start from it."""
        means, start = self.means, self._restore(full)
        key = keys.begun(means.request, full.rung.variant.name, self._tuning())
        schedule = means.schedules.rung.lasting(means.budget.begin)
        network, made = start.network, rungs.begun(key)
        if made is None:
            lesson = Lesson(means, schedule, 0, key, f"training for {means.name}", start.network)
            with means.blaming():
                state = means.state(start.network, means.units, 0)
                network, made = means.method.begin(state, lesson, means.recipe)
            rungs.write_begun(key, network, made)
            shutil.rmtree(lesson.folder, ignore_errors=True)
        else:
            network = train.lay_out(edits.apply(network, made, means.example))
            network.load_state_dict(torch.load(rungs.begun_file(key), weights_only=True))
        return Draft(network, made, epochs=start.epochs + schedule.epochs)

    def _shorten(self, start: Draft, choice: Choice, candidates: tuple[str, ...], number: int, key: str) -> Draft:
        """Remove what was chosen, move the padding, fine-tune; accuracy after each, if the method trains."""
        means = self.means
        own = means.hook("shorten")
        network, made = start.network, (Edit("linear", choice.chosen),)
        if own is not None:
            with means.blaming():
                network, made = own(means.state(start.network, candidates, number), choice, means.recipe)
        draft = Draft(network, choice=choice, padding=start.padding, epochs=start.epochs)
        self._edit(draft, start, made, number)
        if not means.trains:
            return draft
        self._tune(draft, number, key)
        finish = means.hook("finish")
        if finish is not None:
            with means.blaming():
                draft.network, more = finish(means.state(draft.network, candidates, number), means.recipe)
            self._edit(draft, Draft(draft.network, draft.edits, removed_names=draft.removed_names), more, number)
        return draft

    def _edit(self, draft: Draft, start: Draft, made: tuple[Edit, ...], number: int) -> None:
        """Carry edits out on the draft's network; before the fine-tuning, evaluate it with padding kept, then moved."""
        means, before = self.means, draft.network
        draft.network = train.lay_out(edits.apply(before, made, means.example))
        draft.edits = (*start.edits, *made)
        draft.removed_names = (*start.removed_names, *edits.activations_lost(before, made))
        without = before
        for edit in made:
            without = (
                edits.without_activations(without, edit)
                if edit.kind == "linear"
                else edits.apply(without, [edit], means.example)
            )
        moved = _paddings(draft.network) != _paddings(without)
        draft.padding = "moved" if moved else draft.padding
        if means.trains and draft.accuracy_removed is None:
            means.tell(number, f"without {', '.join(draft.choice.chosen) if draft.choice else ''}")
            draft.accuracy_removed = train.evaluate(train.lay_out(without), means.data.test)
            draft.accuracy_moved = train.evaluate(draft.network, means.data.test) if moved else None

    def _tune(self, draft: Draft, number: int, key: str) -> None:
        means = self.means
        teacher = self._restore(self.first()).network if means.request.distil else None
        lesson = Lesson(means, means.rung_schedule, number, key, "fine-tuning", teacher)
        own = means.hook("tune")
        if own is None:
            lesson.fit(draft.network)
        else:
            with means.blaming():
                own(draft.network, lesson, means.recipe)
        draft.epochs += lesson.epochs

    def _finish(self, key: str, number: int, draft: Draft, began: float) -> Position:
        """Evaluate and fold the rung, cache it with the state to go on from, and return it as cached."""
        means = self.means
        if means.trains:
            right = train.classified(draft.network, means.data.test)
            draft.accuracy, draft.correct = float(right.double().mean()), _bits(right)
            draft.accuracy_validation = train.evaluate(draft.network, means.data.validation)
        means.tell(number, "folding and exporting")
        with rungs.writing(key) as folder:
            torch.save(draft.network.state_dict(), folder / rungs.STATE)
            edits.write(folder, draft.edits)
            file, vocabulary = folder / rungs.PROGRAM, models.vocabulary(means.task)
            deployed = program.deploy(
                draft.network, means.example, means.task.CLASSES, means.request.forms, file, vocabulary
            )
            rungs.write_record(folder, self._record(number, draft, deployed, time.monotonic() - began))
        shutil.rmtree(Lesson(means, means.schedules.full, 0, key, "").folder, ignore_errors=True)
        return Position(key, rungs.require(key), draft.network)

    def _record(self, number: int, draft: Draft, deployed: program.Deployed, seconds: float) -> Rung:
        means = self.means
        return Rung(
            rung=number,
            network=means.request.model,
            removed=len(draft.removed_names),
            activations=len(means.activations),
            eligible=len(means.eligible),
            removed_names=draft.removed_names,
            setting=draft.choice.setting if draft.choice else None,
            padding=draft.padding,
            accuracy=draft.accuracy,
            accuracy_removed=draft.accuracy_removed,
            accuracy_moved=draft.accuracy_moved,
            choice=draft.choice,
            reasons=self._reasons(draft),
            epochs=draft.epochs if means.trains else None,
            seconds=round(seconds, 3),
            accuracy_validation=draft.accuracy_validation,
            correct=draft.correct,
            **vars(deployed),
        )

    def _reasons(self, draft: Draft) -> dict[str, str]:
        """Why a number is null, by its key."""
        shared = draft.choice is None  # rung 0 belongs to every method
        reasons = {}
        if shared or draft.choice is None or draft.choice.setting is None:
            reasons["setting"] = FULL_DEPTH if shared else f"{self.means.request.method} has no scalar setting"
        if not self.means.trains:
            return {**reasons, **dict.fromkeys(("accuracy", "accuracy_removed", "accuracy_moved"), UNTRAINED)}
        if shared:
            return {**reasons, "accuracy_removed": FULL_DEPTH, "accuracy_moved": FULL_DEPTH}
        return reasons if draft.accuracy_moved is not None else {**reasons, "accuracy_moved": NOT_MOVED}


def _padding(rung: Rung) -> Padding:
    return rung.padding or "kept"


def _bits(right: Tensor) -> str:
    """Which examples were classified correctly, in hexadecimal, the first in the highest bit."""
    import numpy as np

    return np.packbits(right.numpy()).tobytes().hex()


def _paddings(network: nn.Module) -> dict[str, object]:
    """How much each layer pads, by its path."""
    return {name: module.padding for name, module in network.named_modules() if hasattr(module, "padding")}

"""Climb a ladder: from full depth, one step shorter at a time. The only caller of methods; runs in the child.

    (begin) -> choose -> shorten -> (accuracy) -> move padding -> (accuracy) -> fine-tune -> finish -> (accuracy) -> fold

Each rung is cached as soon as it is made, and a climb goes on from the last one there; a training that was cut off goes
on from its last epoch. For a method that does not train, weights are random and accuracies null.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from harness.child import OnProgress
from harness.compress import delta, drafts, edits, keys, models, program, recipes, rungs, shelf, train
from harness.compress.climber import Lesson, Means
from harness.compress.drafts import Draft
from harness.compress.edits import Edit
from harness.compress.shelf import Shelf
from harness.errors import TrainError
from harness.records import Choice, LadderRequest, Padding, Rung


def climb(request: LadderRequest, key: str, on_progress: OnProgress) -> None:
    """Make every rung of the ladder that is not in the cache, and record the ladder, finished, under `key`.

    A training that diverges ends the ladder at the last good rung, and so does an accuracy below what `delta` allows; the
    record says so. Raises UsageError (settings, names; before anything is made), ContentError, TrainError (full depth
    already), FoldError, StoreError (rungs that do not fit the cache; where that is known, before anything is made).
    """
    means = Means(request, on_progress)
    means.check()
    climber = Climber(means, Shelf(means.say))
    shelf.require_room(means.build(), means.rungs + 1)
    made, ended = climber.all()
    outline = rungs.Outline(
        name=means.name,
        recipe=recipes.plain(means.recipe),
        test_examples=len(means.data.test.labels) if means.trains else None,
        eligible=_removable(means),
        ended=ended,
        delta=request.delta if means.trains and not means.control else None,
        validation_examples=len(means.data.validation.labels) if means.trains else None,
    )
    rungs.write_ladder(key, outline, made)


def _removable(means: Means) -> int:
    """How many activations this ladder may remove: with a block all go that are inside, eligible or not."""
    return len(means.eligible if set(means.units) <= set(means.activations) else means.activations)


@dataclass(frozen=True)
class Position:
    """Where a climb stands: a cached rung, its trainable network when that is at hand, and the rungs above."""

    key: str
    rung: Rung
    network: nn.Module | None = None
    above: Position | None = None

    @property
    def behind(self) -> list[str]:
        """Keys of the rungs above, rung 0 aside: it is every ladder's."""
        return [*self.above.behind, self.above.key] if self.above and self.above.rung.rung else []


class Climber:
    """The story of one ladder, told with its Means, its rungs kept on its Shelf."""

    def __init__(self, means: Means, kept: Shelf) -> None:
        self.means, self.kept = means, kept
        self.chains: bool = getattr(means.method, "CHAINS", True)
        self.begun: str | None = None  # the key of what this process began with

    def all(self) -> tuple[list[str], str]:
        """Make every rung; return their keys, and why there are no more if not for want of candidates."""
        position, made = self.first(), list[str]()
        bound = delta.bound(self)
        while True:
            made.append(position.key)
            if position.rung.rung >= self.means.rungs:
                return made, ""
            try:
                following = self.next(position)
            except TrainError as error:
                return made, f"rung {position.rung.rung + 1}: {error.message}"
            if isinstance(following, str):
                return made, following
            if (why := bound(following.rung)) is not None:
                return made, why
            position = following

    def first(self) -> Position:
        """Return rung 0: the full network, trained unless the method does not train."""
        key = keys.rung(self.means.request, 0, None)
        self.kept.own(rungs.place(key))
        if (known := rungs.read(key)) is not None and rungs.can_go_on(key):
            return Position(key, known)
        rungs.forget(key)
        began, draft = time.monotonic(), Draft(self.means.build())
        if self.means.trains:
            full = self.means.schedules.full
            Lesson(self.means, full, 0, key, "training").fit(draft.network)
            draft.epochs = full.epochs
        return self._finish(key, None, draft, began)

    def next(self, above: Position) -> Position | str:
        """Return the rung below `above`, one step shorter; where the ladder ends, why, or "" for want of candidates."""
        number = above.rung.rung + 1
        key = keys.rung(self.means.request, number, above.rung.variant.name, self._tuning())
        self.kept.own(rungs.place(key))
        if (known := rungs.read(key)) is not None:
            return Position(key, known, above=replace(above, network=None))
        began = time.monotonic()
        above = self._revived(above)
        start = self._start(above)
        self.means.tell(number, "choosing what to remove")
        gone = {name for edit in start.edits if edit.kind in ("linear", "skip") for name in edit.names}
        candidates = tuple(name for name in self.means.units if name not in gone)
        with self.means.blaming():
            state = self.means.state(start.network, candidates, number)
            choice: Choice | None = self.means.method.choose(state, self.means.recipe)
            why = self.means.hook("exhausted") if choice is None else None
            ended: str = why(state, self.means.recipe) if why else ""
        if choice is None:
            return ended
        return self._finish(key, above, self._shorten(start, choice, candidates, number, key), began)

    # --- one rung, step by step --------------------------------------------------------------------------------------

    def _tuning(self) -> dict[str, Any]:
        """What of schedule and budget a rung depends on."""
        budget = self.means.budget
        begun = asdict(self.means.schedules.rung.lasting(budget.begin)) if budget.begin else None
        return {"begin": begun, "rung": asdict(self.means.rung_schedule)}

    def _revived(self, above: Position) -> Position:
        """The rung above with its weights; where they were dropped for want of room, it is made once more."""
        if not above.rung.rung or not self.chains or above.network or rungs.can_go_on(above.key):
            return above
        assert above.above is not None
        rungs.forget(above.key)
        again = self.next(above.above)
        assert isinstance(again, Position)
        return again

    def _start(self, above: Position) -> Draft:
        """The network that a rung is made from: that of the rung above, or the full one as the method began it."""
        if self.means.fresh:
            return Draft(self.means.build())
        if above.rung.rung and self.chains:
            return self._restore(above)
        full = above if not above.rung.rung else self.first()
        idle = self.means.control and not self.means.budget.begin
        return self._begin(full) if self.means.hook("begin") and not idle else self._restore(full)

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
        spare, self.begun = self.kept.own(rungs.begun_place(key)), key
        schedule = means.schedules.rung.lasting(means.budget.begin)
        network, made = start.network, rungs.begun(key)
        if made is None:
            lesson = Lesson(means, schedule, 0, key, "training before the first choice", start.network)
            with means.blaming():
                state = means.state(start.network, means.units, 0)
                network, made = means.method.begin(state, lesson, means.recipe)
            rungs.write_begun(key, network, made, spare, self.kept.gone)
            shelf.discard(lesson.folder)
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
                if edit.kind in edits.MOVING
                else edits.apply(without, [edit], means.example)
            )
        moved = _paddings(draft.network) != _paddings(without)
        draft.padding = "moved" if moved else draft.padding
        if means.trains and not means.control and draft.accuracy_removed is None:
            means.tell(number, f"without {', '.join(draft.choice.chosen) if draft.choice else ''}")
            draft.accuracy_removed = train.evaluate(train.lay_out(without), means.data.test)
            draft.accuracy_moved = train.evaluate(draft.network, means.data.test) if moved else None

    def _tune(self, draft: Draft, number: int, key: str) -> None:
        means = self.means
        teacher = self._restore(self.first()).network if means.request.distil else None
        doing = "training" if means.fresh else "fine-tuning"
        lesson = Lesson(means, means.rung_schedule, number, key, doing, teacher)
        own = means.hook("tune")
        if own is None:
            lesson.fit(draft.network)
        else:
            with means.blaming():
                own(draft.network, lesson, means.recipe)
        draft.epochs += lesson.epochs

    def _finish(self, key: str, above: Position | None, draft: Draft, began: float) -> Position:
        """Evaluate and fold the rung, cache it with the state to go on from, and return it as cached."""
        means, number = self.means, above.rung.rung + 1 if above else 0
        if means.trains:
            right = train.classified(draft.network, means.data.test)
            draft.accuracy, draft.correct = float(right.double().mean()), drafts.bits(right)
            draft.accuracy_validation = train.evaluate(draft.network, means.data.validation)
        means.tell(number, "folding and exporting")
        with rungs.writing(key, self.kept.own(rungs.place(key)), self.kept.gone) as folder:
            if self.chains or not number:
                torch.save(draft.network.state_dict(), folder / rungs.STATE)
            edits.write(folder, draft.edits)
            file, vocabulary = folder / rungs.PROGRAM, models.vocabulary(means.task)
            deployed = program.deploy(
                draft.network,
                means.example,
                means.task.CLASSES,
                means.request.forms,
                file,
                vocabulary,
                edits.merging(draft.edits),
            )
            rungs.write_record(folder, drafts.record(means, number, draft, deployed, time.monotonic() - began))
        shelf.discard(means.checkpoints(key))
        made = Position(key, rungs.require(key), draft.network, replace(above, network=None) if above else None)
        self.kept.settle(made.behind, self.begun if self.chains else None)
        return made


def _padding(rung: Rung) -> Padding:
    return rung.padding or "kept"


def _paddings(network: nn.Module) -> dict[str, object]:
    """How much each layer pads, by its path."""
    return {name: module.padding for name, module in network.named_modules() if hasattr(module, "padding")}

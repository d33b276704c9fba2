"""One device's night: reached, its cut run finished, then row by row, the canary first, until all is done or the time is up.

What goes wrong with a row does not end the night of its device, unless the device is gone; nothing of a device touches others.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace

from harness import bundle, store, transport
from harness import run as story
from harness.child import OnProgress, Progress
from harness.errors import BusyError, DeviceError, HarnessError, StoreError
from harness.nights import cut, due, identity
from harness.nights.identity import Identity
from harness.nights.tasks import Shared, Task, outcome_of
from harness.preflight import Ready
from harness.records import Device, EnergyRequest, Run
from harness.records.nights import Outcome, RowOutcome
from harness.store import nights
from harness.text import printable


def _at_once(tell: OnProgress) -> AbstractContextManager[None]:
    return nullcontext()


class _GoneError(Exception):
    """The device does not answer any more."""


@dataclass
class Shift:
    """The night of one device, in a thread of its own."""

    shared: Shared
    device: Device
    tell: OnProgress
    seen: dict[str, Identity] = field(default_factory=dict)
    built: list[int] = field(default_factory=list)

    def work(self, tasks: Sequence[Task]) -> None:
        """Bring every row to an outcome. Raises StoreError where outcomes cannot be kept, KeyboardInterrupt."""
        left = [task for task in tasks if self.shared.book.of(task.planned.row.key) is None]
        if not left and not cut.runs(self.shared.book, self.shared.results / self.device.name):
            return
        try:
            self.tell(Progress(f"looking at {self.device.name}"))
            self._require_there(tasks[0])
            self._finish_cut(tasks)
            for task in left:
                if self.shared.book.of(task.planned.row.key) is None:
                    self._one(task)
        except _GoneError as gone:
            for task in left:
                if self.shared.book.of(task.planned.row.key) is None:
                    self._not_reached(task, str(gone))

    def _not_reached(self, task: Task, reason: str) -> None:
        """A row of a device that is not there; what was fresh was not to be measured, and is not missed."""
        if task.planned.due == "fresh":
            self._say(task, "fresh", f"{task.planned.reason}, as far as is known: {reason}", run=task.planned.run)
        else:
            self._say(task, "unreachable", reason)

    def again(self, tasks: Sequence[Task], limit_s: float) -> None:
        """Measure rows again that seem to have changed, until the time is up; what fails is not confirmed, no more."""
        began = time.monotonic()
        for task in tasks:
            came = self.shared.book.of(task.planned.row.key)
            if came is None or came.again or time.monotonic() - began >= limit_s:
                continue
            self.tell(Progress(f"{task.planned.row.title}: again, for it seems to have changed"))
            with suppress(HarnessError):
                run, _ = self._measured(task)
                self.shared.book.add(replace(came, again=run.run))

    # --- rows ------------------------------------------------------------------------------------------------------

    def _one(self, task: Task) -> None:
        """Bring one row to an outcome."""
        if task.planned.due == "fresh":
            task = self._looked_at(task)
        if task.planned.due == "fresh":
            self._say(task, "fresh", task.planned.reason, run=task.planned.run)
        elif late := self._late(task):
            self._say(task, "out-of-time", late)
        else:
            self._measure(task)

    def _looked_at(self, task: Task) -> Task:
        """A row that is fresh as far as is known here: due all the same where the device was upgraded."""
        try:
            changed = due.upgraded(self.shared.past, task.planned.row.key, self._told(task))
        except BusyError:
            return task
        except HarnessError as error:
            self._require_there(task)
            changed = (error.message,)
        if not changed:
            return task
        self.shared.book.annotate(self.device.name, changed)
        return replace(task, planned=replace(task.planned, due="due", reason="; ".join(changed), run=None))

    def _told(self, task: Task) -> Identity:
        """What the device tells of itself and the row's runtime, asked once a night. Raises HarnessError."""
        runtime = task.planned.row.runtime
        if runtime not in self.seen:
            asked = replace(task.plan, energy=EnergyRequest("none"))  # sensors are not asked for
            ready = story.preflight(asked, self.device, self.shared.results, self.tell)
            with closing(ready.line):
                self.seen[runtime] = identity.there(ready, runtime)
        return self.seen[runtime]

    def _late(self, task: Task) -> str:
        """Why there is no time left for a row; empty where there is. The canary and the first row after it always come."""
        if not any(each.row.device == self.device.name and not each.row.canary and each.seconds for each in self._rows):
            return ""
        left = self.shared.budget_s - self.shared.book.spent_s(self.device.name)
        expected = task.planned.expected_s
        if left <= 0:
            return f"the night's {self.shared.budget_s:.0f} s were spent on rows before it"
        if expected is not None and expected > left:
            return f"it takes {expected:.0f} s, and {left:.0f} s of the night's {self.shared.budget_s:.0f} s were left"
        return ""

    def _measure(self, task: Task) -> None:
        row = task.planned.row
        self.tell(Progress(f"{row.title}: {task.planned.reason}"))
        began = time.monotonic()
        try:
            run, there = self._measured(task)
        except HarnessError as error:
            self._failed(task, error, time.monotonic() - began)
        except Exception as error:  # a bug met by one row leaves the others alone
            traceback.print_exc()
            self._say(task, "failed", f"a bug: {type(error).__name__}: {error}", seconds=time.monotonic() - began)
        else:
            self._came(task, run, there, time.monotonic() - began)

    def _failed(self, task: Task, error: HarnessError, seconds: float) -> None:
        """A row that failed; where its device is gone it is missing, and where nothing can be kept the night ends."""
        if isinstance(error, StoreError):
            store.require_writable(self.shared.results, nights.GO_ON)
        if isinstance(error, BusyError):
            self._say(task, "missing", error.message, seconds=seconds)
            return
        if isinstance(error, DeviceError):
            try:
                self._require_there(task)
            except _GoneError:
                self._say(task, "missing", f"the device vanished: {error.message}", seconds=seconds)
                raise
        self._say(task, "failed", error.message, seconds=seconds)

    def _measured(self, task: Task) -> tuple[Run, Identity]:
        """Carry out a row's plan; return its run and what the device told of itself."""
        self.built.clear()
        with self._here():
            ready = story.preflight(task.plan, self.device, self.shared.results, self.tell)
            with closing(ready.line):
                there = self._noted(task, ready)
                folder = story.start(
                    task.plan,
                    ready,
                    results=self.shared.results,
                    command=self.shared.command,
                    session=self.shared.book.night.session,
                    tell=self._heard,
                    turn=_at_once if self._is_here else self.shared.machine.mine,
                )
        return store.load(folder), there

    def _noted(self, task: Task, ready: Ready) -> Identity:
        """What the device tells, noted; upgrades since the row was last measured, there and here, are annotated."""
        row, once = task.planned.row, self.shared.past.measured(task.planned.row.key)
        told = self.seen[row.runtime] = identity.there(ready, row.runtime)
        if once is not None:
            here = identity.here(task.plan, self.device)
            upgraded = identity.changes(once.came.here, here) if identity.breaks(once.came.here, here) else ()
            self.shared.book.annotate(self.device.name, (*upgraded, *identity.changes(once.came.there, told)))
        return told

    def _heard(self, progress: Progress) -> None:
        """Pass progress on; of artifacts that are built it says how many there are."""
        runtime, *_ = progress.text.split(" ")
        if progress.total and runtime in self.device.runtimes:
            self.built.append(progress.total)
        self.tell(progress)

    def _build_s(self, run: Run) -> float | None:
        """How long building took, if nothing came from the cache."""
        needed = len({(entry.variant, entry.case.precision) for entry in run.entries})
        return run.seconds.get("build") if self.built and max(self.built) >= needed else None

    # --- the cut run, and where the device is ------------------------------------------------------------------------

    def _finish_cut(self, tasks: Sequence[Task]) -> None:
        """Go on with the run that was being measured when the night was cut off."""
        for folder in cut.runs(self.shared.book, self.shared.results / self.device.name):
            task = cut.whose(folder, tasks, self.shared.book)
            if task is None:
                continue
            began = time.monotonic()
            try:
                with self._here():
                    story.resume(folder, self.device, tell=self.tell)
            except StoreError:  # it cannot go on, for its ladders came out otherwise: then it is measured anew
                store.require_writable(self.shared.results, nights.GO_ON)
                continue
            except HarnessError as error:
                self._failed(task, error, time.monotonic() - began)
                continue
            run, came = store.load(folder), self.shared.book.of(task.planned.row.key)
            if came is not None:
                self.shared.book.add(replace(came, again=run.run))
            else:
                self._came(task, run, self._told(task), sum(run.seconds.values()))

    def _require_there(self, task: Task) -> None:
        """Look at the device. Raises _GoneError with the reason."""
        try:
            with closing(transport.connect(self.device)) as line:
                line.look(bundle.build(task.planned.row.runtime))
        except DeviceError as error:
            raise _GoneError(error.message) from None

    # --- outcomes ------------------------------------------------------------------------------------------------------

    def _came(self, task: Task, run: Run, there: Identity, seconds: float) -> None:
        failed = [case for case in run.cases if case.status == "failed"]
        if not run.cases:
            self._say(task, "failed", "nothing could be measured", run=run.run, seconds=seconds)
        elif failed:
            why = failed[0].reasons.get("status", "it failed")
            named = f"{failed[0].ladder} {failed[0].rung}: {why}"
            self._say(task, "failed", f"{len(failed)} of {len(run.cases)} cases: {named}", run=run.run, seconds=seconds)
        else:
            outcome = outcome_of(task, self.shared.past, "measured", task.planned.reason, run.run, seconds)
            here = identity.here(task.plan, self.device)
            state = run.verdict.state if run.verdict and not run.virtual else ""
            self.shared.book.add(replace(outcome, here=here, there=there, build_s=self._build_s(run), state=state))

    def _say(
        self, task: Task, outcome: Outcome, reason: str, *, run: str | None = None, seconds: float | None = None
    ) -> None:
        if outcome not in ("fresh", "excluded"):
            self.tell(Progress(f"{task.planned.row.title}: {outcome}: {printable(reason)}"))
        self.shared.book.add(outcome_of(task, self.shared.past, outcome, reason, run, seconds))

    @property
    def _rows(self) -> Sequence[RowOutcome]:
        return self.shared.book.night.rows

    @property
    def _is_here(self) -> bool:
        return self.device.address is None

    @contextmanager
    def _here(self) -> Iterator[None]:
        """Have this machine alone where it is the device: nothing is prepared while it is measured."""
        with self.shared.machine.mine(self.tell) if self._is_here else nullcontext():
            yield

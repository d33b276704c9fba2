"""Several devices at once: a thread each, for what they share this machine, and how all of them end.

    look at every device -> (one after the other) make ladder and artifacts -> measure, each at its own pace

Ladders and artifacts are work of this machine and the same for many devices: who comes second finds them in the cache.
A device far away is measured as soon as its artifacts are there. A device that is this machine is measured while
nothing is prepared here, for that would disturb it.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from harness import interrupt
from harness import run as story
from harness.child import OnProgress, Progress
from harness.errors import HarnessError, UsageError
from harness.preflight import Busy
from harness.records import Device, Plan

T = TypeVar("T")

_MUSTER_S = 10.0  # how long devices that are ready wait for the others to be looked at
_LATE_S = 60.0  # how long this machine, as a device, waits for another that is still being looked at
_GRACE_S = 30.0  # how long after Ctrl-C agents may take to be stopped and records to be written
_LOOK_S = 1.0
_LEFT = "Not every agent was stopped: --resume follows one that is still at work, --steal ends it."


@dataclass(frozen=True)
class Outcome:
    """What became of one device: the run's folder, or why there is none. A bug's error is no HarnessError."""

    device: str
    folder: Path | None
    error: Exception | None = None


def run_each(
    planned: Sequence[tuple[Device, Plan]],
    *,
    results: Path,
    command: Sequence[str],
    tell: Mapping[str, OnProgress],
    complain: Callable[[str, HarnessError], None],
    busy: Busy = "refuse",
) -> tuple[Outcome, ...]:
    """Do the main job on every device at once, in one session; return what became of each, in the order given.

    A device alone raises its HarnessError. Of several, one that fails is complained about at once and leaves the others
    alone; a UsageError found before anything has started is raised. Raises KeyboardInterrupt, with how to go on with each
    run, when all have ended or `_GRACE_S` after Ctrl-C; at once at the second.
    """
    fleet = _Fleet(results, command, busy, complain, _Turns(device.name for device, _ in planned))
    if len(planned) == 1:
        ((device, plan),) = planned
        return (Outcome(device.name, fleet.one(device, plan, tell[device.name])),)
    outcomes = together([partial(fleet.among_others, device, plan, tell[device.name]) for device, plan in planned])
    if fleet.turns.mistake is not None:
        raise fleet.turns.mistake
    return outcomes


def together(works: Sequence[Callable[[], T]]) -> tuple[T, ...]:
    """Do all at once, each in a thread; return what each returned. Raises KeyboardInterrupt, with how to go on, if any was
    interrupted; else the first error, when all have ended.
    """
    _import_what_ends_a_run()
    futures: list[Future[T]] = []
    try:
        for work in works:
            futures.append(_begun(work))  # noqa: PERF401  what has begun must be known when Ctrl-C comes
        wait(futures)
    except KeyboardInterrupt:
        interrupt.interrupt()
        with suppress(KeyboardInterrupt):  # the second Ctrl-C ends this at once
            wait(futures, _GRACE_S)
        if not all(future.done() for future in futures):
            raise KeyboardInterrupt(*_hints(futures), _LEFT) from None
        interrupt.clear()
        raise KeyboardInterrupt(*_hints(futures)) from None
    if any(isinstance(future.exception(), KeyboardInterrupt) for future in futures):
        raise KeyboardInterrupt(*_hints(futures))
    return tuple(future.result() for future in futures)


def _begun(work: Callable[[], T]) -> Future[T]:
    """Begin work in a thread that does not outlive the program."""
    future: Future[T] = Future()

    def carry_out() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=carry_out, daemon=True).start()
    return future


def _hints(futures: Sequence[Future[T]]) -> list[str]:
    errors = (future.exception() for future in futures if future.done())
    return [str(word) for error in errors if isinstance(error, KeyboardInterrupt) for word in error.args]


def _import_what_ends_a_run() -> None:
    """Import here, once, what runs import when they end: threads that do so at once may see modules half made."""
    for name in ("pandas", "pyarrow.parquet", "pydantic", "scipy.special"):
        importlib.import_module(name)


class _Fleet:
    """What the workers of one invocation share."""

    def __init__(
        self,
        results: Path,
        command: Sequence[str],
        busy: Busy,
        complain: Callable[[str, HarnessError], None],
        turns: _Turns,
    ) -> None:
        self.results, self.command, self.busy, self.complain, self.turns = results, command, busy, complain, turns
        self.session = story.new_session()
        self.speaking = threading.Lock()

    def one(self, device: Device, plan: Plan, tell: OnProgress) -> Path:
        """Do the main job on one device and return the run's folder. Raises HarnessError."""
        ready = story.preflight(plan, device, self.results, tell, self.busy)
        with closing(ready.line):
            self.turns.muster(device.name)
            turn = partial(self.turns.turn, device)
            return story.start(
                plan, ready, results=self.results, command=self.command, session=self.session, tell=tell, turn=turn
            )

    def among_others(self, device: Device, plan: Plan, tell: OnProgress) -> Outcome:
        """Do the main job on one device; complain of what goes wrong. Raises KeyboardInterrupt alone."""
        try:
            folder = self.one(device, plan, tell)
        except HarnessError as error:
            tell(Progress("failed"))
            if not (isinstance(error, UsageError) and self.turns.stop(error)):
                with self.speaking:
                    self.complain(device.name, error)
            return Outcome(device.name, None, error)
        except Exception as error:  # a bug met on one device leaves the others alone, too
            tell(Progress("failed: a bug"))
            return Outcome(device.name, None, error)
        finally:
            self.turns.leave(device.name)
        tell(Progress("done"))
        return Outcome(device.name, folder)


class _Turns:
    """Who may use this machine: one device at a time is prepared, none while this machine is measured as a device.

    Where it waits a device says why, and hears an interruption and another's wrong word.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.mistake: UsageError | None = None
        self._change = threading.Condition()
        self._began = time.monotonic()
        self._unseen = set(names)
        self._unprepared = set(self._unseen)
        self._prepared = False
        self._at_work: str | None = None
        self._here: set[str] = set()

    def muster(self, name: str) -> None:
        """Having been looked at, wait a while for the others: a mistake is to be found before anything starts."""
        with self._change:
            self._unseen.discard(name)
            self._change.notify_all()
        self._until(lambda: not self._unseen or self._age_s() > _MUSTER_S)

    @contextmanager
    def turn(self, device: Device, tell: OnProgress) -> Iterator[None]:
        """Prepare within the block, when nobody else does; when it has ended the device may be measured."""
        self._until(partial(self._take, device.name), lambda: tell(Progress(self._why())))
        try:
            yield
        except UsageError as error:
            self.stop(error)
            raise
        finally:
            with self._change:
                self._at_work = None
                self._change.notify_all()
        with self._change:
            self._prepared = True
            self._unprepared.discard(device.name)
        if device.address is None:
            waiting = Progress("waiting: this machine is measured when nothing more is to be prepared on it")
            self._until(partial(self._may_measure_here, device.name), lambda: tell(waiting))

    def leave(self, name: str) -> None:
        """Wait for this device no more: it has ended, well or not."""
        with self._change:
            for names in (self._unseen, self._unprepared, self._here):
                names.discard(name)
            self._change.notify_all()

    def stop(self, mistake: UsageError) -> bool:
        """Let a wrong word stop every device; return whether it does: not when one has been prepared, for which it was right."""
        with self._change:
            if not self._prepared:
                self.mistake = self.mistake or mistake
            self._change.notify_all()
            return not self._prepared

    def _until(self, may: Callable[[], bool], waits: Callable[[], None] = lambda: None) -> None:
        """Wait until `may()`. Raises KeyboardInterrupt, and UsageError when another device has met one."""
        with self._change:
            first = True
            while not may():
                if self.mistake is not None:
                    raise UsageError(self.mistake.message, self.mistake.hint)
                if first:
                    waits()
                first = False
                self._change.wait(_LOOK_S)
                interrupt.pause(0)

    def _take(self, name: str) -> bool:
        if self._at_work is not None or self._here or self.mistake is not None:
            return False
        self._at_work = name
        return True

    def _why(self) -> str:
        if self._here:
            return "waiting: nothing is prepared while this machine is measured"
        return f"waiting: ladder and artifacts of {self._at_work} are made first"

    def _may_measure_here(self, name: str) -> bool:
        late = self._unseen if self._age_s() > _LATE_S else set()
        if self._unprepared - late:
            return False
        self._here.add(name)
        return True

    def _age_s(self) -> float:
        return time.monotonic() - self._began

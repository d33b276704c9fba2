"""The story of one night: every device at once, then what changed, then what seemed to is measured again, and said.

    rows due -> a thread per device: canary, rows by priority, until the time is up -> series judged together
      -> canaries that seem to have moved, again -> devices blamed -> other rows that seem to have changed, again -> confirmed

The night's file grows with every row, so that a night may be cut off at any moment; the next `harness nightly` goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from harness import fleet, store
from harness import run as story
from harness.child import OnProgress
from harness.nights import data, due, judging
from harness.nights.book import Book, opened
from harness.nights.machine import Machine
from harness.nights.matrix import Laid
from harness.nights.past import Past, day
from harness.nights.series import Cases
from harness.nights.shift import Shift
from harness.nights.tasks import Shared, Task, outcome_of
from harness.records.nights import Matrix, Night, RowOutcome
from harness.store import nights

AGAIN = 0.5  # of a night's budget: so much longer it may become to confirm changes


def now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


def keep(
    matrix: Matrix,
    rows: Sequence[Laid],
    results: Path,
    command: Sequence[str],
    tell: Mapping[str, OnProgress],
    clock: Callable[[], datetime] = now,
) -> Night:
    """Carry out a night, or go on with the one that was cut off; return what came of it.

    Raises StoreError: another nightly is at work, an earlier night is damaged, results cannot be written. KeyboardInterrupt: what
    is done is kept.
    """
    with nights.held(results):
        store.require_writable(results)
        earlier = nights.nights(results)
        book, past = opened(results, earlier, [each.row for each in rows], story.new_session(), clock())
        shared = Shared(results, book, past, Machine(), matrix.budget_s, tuple(command))
        shifts = _shifts(shared, rows, matrix, tell)
        _together([partial(shift.shift.work, shift.tasks) for shift in shifts])
        confirm(book, past, partial(_again, shared, shifts))
        book.write(ended=clock().astimezone(UTC).isoformat(timespec="seconds"))
        return book.night


@dataclass(frozen=True)
class _Tasked:
    shift: Shift
    tasks: tuple[Task, ...]


def _shifts(
    shared: Shared, rows: Sequence[Laid], matrix: Matrix, tell: Mapping[str, OnProgress]
) -> tuple[_Tasked, ...]:
    """A shift for each device with its tasks; what is excluded is written down at once."""
    by_key = {each.row.key: each for each in rows}
    planned = due.plan(rows, shared.past, shared.results, day(shared.book.night), matrix.max_age_days)
    for each in planned:
        if each.due == "excluded" and shared.book.of(each.row.key) is None:
            shared.book.add(RowOutcome(each.row, "excluded", each.reason))
    tasks = [Task(by_key[each.row.key], each) for each in planned if each.due != "excluded"]
    left = [task for task in tasks if shared.book.of(task.planned.row.key) is None]
    absent = data.missing([task.laid for task in left], planned, next(iter(tell.values())))
    for task in left:
        if reason := absent.get(task.planned.row.key):
            shared.book.add(outcome_of(task, shared.past, "failed", reason, None, None))
    devices = {task.laid.device.name: task.laid.device for task in tasks}
    return tuple(
        _Tasked(Shift(shared, device, tell[name]), tuple(task for task in tasks if task.laid.device.name == name))
        for name, device in devices.items()
    )


def _together(works: Sequence[Callable[[], None]]) -> None:
    if works:
        fleet.together(works)


def confirm(book: Book, past: Past, again: Callable[[set[str]], None]) -> None:
    """Judge the night; have what seems to have changed measured `again`, canaries first; write down what holds.

    `again` takes the keys of rows. Raises StoreError.
    """
    cases = Cases(book.results)
    judged = judging.judge(book.night, past, cases)
    for device, note in judged.notes.items():
        book.annotate(device, (note,))
    canaries = {change.row.key for change in judged.moved if judging.is_of_device(change)}
    if canaries:
        again(canaries)
        judged = judging.judge(book.night, past, cases)
    able = [each for each in judged.suspected if each.row.device not in judged.unheard]  # others could not be confirmed
    others = {each.row.key for each in able if judging.is_worth_another_run(each)} - canaries
    if others:
        again(others)
        judged = judging.judge(book.night, past, cases)
    told = {"suspected": judged.suspected, "blamed": judged.blamed, "waiting": judged.waiting}
    book.write(changes=judged.confirmed, **told)


def _again(shared: Shared, shifts: Sequence[_Tasked], keys: set[str]) -> None:
    wanted = [
        (each.shift, [task for task in each.tasks if task.planned.row.key in keys])
        for each in shifts
        if any(task.planned.row.key in keys for task in each.tasks)
    ]
    _together([partial(shift.again, tasks, AGAIN * shared.budget_s) for shift, tasks in wanted])

"""Runs of a night that was cut off: those that nothing is written of yet, and whose rows they are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness import store
from harness.errors import StoreError
from harness.nights.book import Book
from harness.nights.tasks import Task


def runs(book: Book, device: Path) -> list[Path]:
    """Return the folders, oldest first, of runs below a device's folder that are of this night and stand nowhere in its file."""
    known = {name for each in book.night.rows for name in (each.run, each.again)}
    found = []
    for file in sorted(device.glob("*/run.json")):
        if file.parent.name not in known:
            with suppress(StoreError):  # of another night, and damaged
                if store.load(file.parent).session == book.night.session:
                    found.append(file.parent)
    return found


def whose(folder: Path, tasks: Sequence[Task], book: Book) -> Task | None:
    """Return the row that a run is of: one without an outcome, or one that was being measured again; None: it failed then."""
    plan = store.load(folder).plan
    fitting = [(task, book.of(task.planned.row.key)) for task in tasks if task.laid.plan == plan]
    first = [task for task, came in fitting if came is None]
    again = [task for task, came in fitting if came and came.outcome == "measured" and not came.again]
    return next(iter([*first, *again]), None)

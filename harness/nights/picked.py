"""Stored cases that a test of one's own is about: those of a run, or of the newest run per device that an expression picks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness import content, store, stored
from harness.errors import UsageError
from harness.nights.gates import matches
from harness.records import Run, Summary

_RUN = re.compile(
    r"[A-Za-z0-9._-]+|.*://\S+"
)  # an id, the start of one, a URL; anything else is a path or an expression
WHICH = ("ladder", "rung", "method", "model", "runtime", "precision", "threads", "batch")

Case = tuple[Run, Summary]


def pick(word: str | Path, results: Path, which: Mapping[str, Any]) -> list[Case]:
    """Return the cases that a run (folder, id, start of one, URL) or an SQL expression over cases has, of these properties.

    An expression picks among all runs; of each device only the newest run counts that has such a case. Raises UsageError,
    with the names that are there, where nothing is picked; StoreError.
    """
    for name in which:
        content.require_known("property of a case", name, WHICH)
    found = list(_picked(word, results))
    if cases := [(run, case) for run, case in found if matches(case, which)]:
        return cases
    said = " and ".join(f"{name}={value!r}" for name, value in which.items())
    if not found:
        raise UsageError(f"{word}: no case is picked")
    there = ", ".join(dict.fromkeys(f"{case.ladder} rung {case.rung} {case.runtime}" for _, case in found))
    raise UsageError(f"{word}: no case has {said}", f"There are: {there}.")


def is_run(word: str | Path) -> bool:
    """Whether a word names a run, and is no expression."""
    return isinstance(word, Path) or _RUN.fullmatch(word) is not None or (Path(word) / "run.json").is_file()


def _picked(word: str | Path, results: Path) -> Iterator[Case]:
    if is_run(word):
        run = stored.load(store.find(results, str(word)))
        yield from ((run, case) for case in run.cases)
        return
    with store.search(results, str(word)) as search:
        rows = list(search.all())
    newest = dict(sorted((row["device"], row["folder"]) for row in rows))
    for folder in newest.values():
        wanted = {(row["ladder"], row["rung"], row["case_id"]) for row in rows if row["folder"] == folder}
        run = stored.load(results / folder)
        yield from ((run, case) for case in run.cases if (case.ladder, case.rung, case.case_id) in wanted)

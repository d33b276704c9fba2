"""How long raw samples are kept: for ever, unless someone asks that those of older runs be given up.

What stays for ever: the record (plan, provenance, every figure with its interval, findings), medians and tails per process,
processes, system state, energy windows, jobs, replies and figures (`harness/store/thinning.py`). A run is thinned only when it
is done and every part of it can be read, after the analysis of now has had a last look. Examples are never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness import content, store, stored
from harness.errors import HarnessError, UsageError
from harness.records import Run
from harness.records.nights import Night

# Where more is between two nights, or within one, or less than nothing, a clock may have been set.
_PAUSE, _LONGEST, _BACK = timedelta(days=31), timedelta(days=7), timedelta(days=1)


@dataclass(frozen=True)
class Thinned:
    """Runs whose raw samples went (or would go), the bytes, and the old ones that were kept, each with the reason."""

    runs: tuple[Path, ...] = ()
    freed_bytes: int = 0
    kept: Mapping[Path, str] = field(default_factory=dict)


def doubt(known: Sequence[Night], night: Night, older_than_days: float, now: datetime | None = None) -> str:
    """Why ages cannot be told tonight: a clock seems to have been set since the night before, or in this one. Else empty.

    What is given up does not come back, and a clock that is wrong for one night must not cost what was measured the night before.
    """
    began = datetime.fromisoformat(night.began)
    before = next((each for each in reversed(known) if each.number < night.number), None)
    pause = began - datetime.fromisoformat(before.began) if before else timedelta()
    lasted = (now or datetime.now(UTC)) - began
    if -_BACK <= pause <= max(timedelta(days=older_than_days), _PAUSE) and -_BACK <= lasted <= _LONGEST:
        return ""
    since = f"the night before began {before.began}, " if before else ""
    when = f"{since}this one {night.began}, and now it is {began + lasted:%Y-%m-%d}"
    return f"{when}: a clock may be wrong; the next night looks again"


def thin(
    results: Path,
    older_than_days: float,
    now: datetime | None = None,
    dry_run: bool = False,
    tell: Callable[[Path], None] = lambda _: None,
) -> Thinned:
    """Give up the raw samples of all runs under `results` that are older; `tell` hears each run before it is thinned.

    A run that fails is kept, with the reason, and the others go on. With `dry_run` nothing is written. Raises UsageError.
    """
    if not older_than_days >= 1:  # nan, too: a slip of the finger must not cost what was measured last night
        raise UsageError(f"{older_than_days:g} days: raw samples are kept for a day at least")
    before = (now or datetime.now(UTC)) - timedelta(days=older_than_days)
    runs, freed, kept = [], 0, {}
    for folder in store.folders(results):
        if not store.raw(folder) or _is_example(folder):
            continue
        try:
            if (reason := _why_not(run := store.load(folder), before)) is None:
                tell(folder)
                freed += _size(folder) if dry_run else _thin(folder)
                runs.append(folder)
            elif reason:
                kept[folder] = f"run {run.run} {reason}"
        except HarnessError as error:
            kept[folder] = error.message
    return Thinned(tuple(runs), freed, kept)


def _why_not(run: Run, before: datetime) -> str | None:
    """Why a run keeps its samples: empty where it is too young, which needs no word; None: it does not."""
    if datetime.fromisoformat(run.created) >= before:
        return ""
    return None if run.status == "done" else f"is {run.status}: it can go on where its journal is"


def _thin(folder: Path) -> int:
    """Thin one run, held meanwhile: whoever measures into it or archives it is let be."""
    with store.held(folder):
        if store.thinned(folder) is None:
            run = store.require_whole(folder)
            current = stored.load(folder)
            if current.analysis_version != run.analysis_version:
                store.save(folder, current)
        else:
            current = store.load(folder)
        return store.thin(folder, datetime.now(UTC).isoformat(timespec="seconds"), current.analysis_version)


def _size(folder: Path) -> int:
    return sum((folder / name).stat().st_size for name in store.raw(folder))


def _is_example(folder: Path) -> bool:
    return folder.resolve().is_relative_to((content.ROOT / "results" / "examples").resolve())

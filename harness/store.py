"""Runs on disk and back: one folder per run, atomic writes, versions with stepwise upgrades.

    results/<device>/<UTC time>-<short id>/
        run.json            what was asked, from what, what came out (records.Run)
        samples.parquet     case_id, block, replicate, attempt, phase, index, start_ns, latency_ns, valid
        state.parquet       block, when, sensor, scope, kind, status, start_ns, value, unit
        jobs/<runtime>/     job.json, events.jsonl (the journal: the truth), reply.json
        plots/

Statistics are recomputed from the journal when `analysis_version` is older than the program's; nothing here computes.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import content, files, tables, wire
from harness.analysis import Jobs, Journals, Replies
from harness.errors import StoreError, UsageError
from harness.records import Run

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
_UPGRADES: dict[int, Any] = {}  # from version n: a function from the JSON tree of version n to that of version n + 1
_FREE_BYTES = 200 * 2**20


# --- where ---------------------------------------------------------------------------------------------------------


def require_writable(root: Path) -> None:
    """Check that a run could be written under `root`, before any long work. Raises StoreError; leaves nothing behind."""
    existing = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
        free = shutil.disk_usage(existing).free
    except OSError as error:
        raise StoreError(
            f"{root}: results cannot be written there: {error.strerror}", "Give another folder with --results."
        ) from None
    if free < _FREE_BYTES:
        raise StoreError(
            f"{root}: {free / 2**20:.0f} MiB free, a run needs {_FREE_BYTES / 2**20:.0f} MiB",
            "Free some space, or give another folder with --results.",
        )


def create(root: Path, run: Run) -> Path:
    """Make the folder of a new run under `root` and write its first run.json. Raises StoreError."""
    folder = root / run.device / run.run
    with _reported(folder):
        folder.mkdir(parents=True)
    save(folder, run)
    return folder


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run's folder: one harness at a time writes into it. Raises StoreError when another holds it."""
    with _reported(folder):
        handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    with _reported(folder):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = f"{folder}: another harness is at work on this run"
            raise StoreError(busy, "Let it finish, or end it first.") from None


def find(root: Path, word: str | None) -> Path:
    """Return the folder of the run that `word` names: a path, a run's id, the start of one; None: the newest, else an example.

    Raises UsageError when none or several begin like that, StoreError when there are no runs at all.
    """
    if word is not None and (Path(word) / "run.json").is_file():
        return Path(word)
    runs = tuple(folders(root))
    if word is None:
        examples = tuple(folders(content.ROOT / "results" / "examples"))
        if not runs and not examples:
            raise StoreError(f"{root}: no runs there", "Make one: harness run --device local")
        return (runs or examples)[-1]
    matches = [folder for folder in runs if folder.name.startswith(word)]
    if len(matches) == 1:
        return matches[0]
    newest = f"The newest under {root}: {', '.join(folder.name for folder in (matches or runs)[-5:]) or 'none'}."
    if matches:
        raise UsageError(f'{len(matches)} runs begin with "{word}"', newest)
    near = difflib.get_close_matches(word, [folder.name for folder in runs], n=1, cutoff=0.5)
    raise UsageError(f'no run "{word}"' + (f'; did you mean "{near[0]}"?' if near else ""), newest)


def folders(root: Path) -> Iterator[Path]:
    """Yield the folders of all runs under `root`, oldest first."""
    yield from sorted((file.parent for file in root.glob("*/*/run.json")), key=lambda folder: folder.name)


# --- run.json ------------------------------------------------------------------------------------------------------


def save(folder: Path, run: Run) -> None:
    """Write run.json, whole or not at all. Raises StoreError."""
    from pydantic import TypeAdapter

    tree = TypeAdapter(Run).dump_python(run, mode="json")
    write(folder / "run.json", json.dumps(tree, indent=1, allow_nan=False).encode() + b"\n")


def load(folder: Path) -> Run:
    """Read run.json, upgrading older versions. Raises StoreError: damaged, or from a newer program."""
    from pydantic import TypeAdapter, ValidationError

    file = folder / "run.json"
    try:
        tree = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        version = tree["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(file, str(error)) from None
    if type(version) is not int or not 1 <= version <= SCHEMA:
        raise StoreError(f"{file}: schema {version!r}, this program reads up to {SCHEMA}", "Upgrade edge-harness.")
    for old in range(version, SCHEMA):
        tree = _UPGRADES[old](tree)
    try:
        run = TypeAdapter(Run).validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(file, f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}") from None
    _require_whole(file, run)
    return run


def _require_whole(file: Path, run: Run) -> None:
    """Check what one part of a record says of another: names are plain, entries point at rungs that are there."""
    heights = {ladder.name: len(ladder.rungs) for ladder in run.ladders}
    for entry in run.entries:
        if entry.ladder not in heights or not 0 <= entry.rung < heights[entry.ladder]:
            raise _damaged(file, f"entries: no rung {entry.rung} in a ladder {entry.ladder!r}")
    for name in (run.run, run.device, *run.plan.runtimes):
        try:
            wire.require_name(name, "a name")
        except ValueError as error:
            raise _damaged(file, str(error)) from None


def _damaged(file: Path, how: str) -> StoreError:
    return StoreError(f"{file}: damaged: {how}", "Its samples and journal, beside it, may still be whole.")


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number that JSON has")


_GO_ON = "nothing measured is lost: go on with harness run --resume."


def write(file: Path, data: bytes, go_on: str = _GO_ON) -> None:
    """Write `data` atomically: temporary file, fsync, rename. Raises StoreError, whose hint ends with `go_on`."""
    with _reported(file, go_on):
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write(file, data)


@contextlib.contextmanager
def _reported(path: Path, go_on: str = _GO_ON) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        move = "Free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Make it writable"
        raise StoreError(f"{path}: cannot be written: {error.strerror}", f"{move}; {go_on}") from None


# --- the journal's copy --------------------------------------------------------------------------------------------


def job_folder(folder: Path, runtime: str) -> Path:
    """Return where a run keeps job, journal and reply of one runtime."""
    return folder / "jobs" / wire.require_name(runtime, "runtime")


def save_job(folder: Path, job: wire.Job) -> None:
    """Write job.json. Raises StoreError."""
    write(job_folder(folder, job.runtime) / "job.json", wire.encode(job).encode())


def load_job(folder: Path, runtime: str) -> wire.Job | None:
    """Read job.json; None when the run never came so far. Raises WireError."""
    file = job_folder(folder, runtime) / "job.json"
    return wire.decode(wire.Job, file.read_text(encoding="utf-8"), str(file)) if file.is_file() else None


def append_journal(folder: Path, runtime: str, data: bytes) -> None:
    """Append whole journal lines to the run's copy and sync it. Raises StoreError.

    What a killed or failed append left half-written is cut off, so that the copy is a prefix of the device's journal.
    """
    file = job_folder(folder, runtime) / "events.jsonl"
    with _reported(file):
        with file.open("ab+") as stream:
            stream.seek(-1 if stream.tell() else 0, os.SEEK_END)
            torn = stream.read() not in (b"", b"\n")
        if torn:
            os.truncate(file, len(journal_bytes(folder, runtime)))
        with file.open("ab") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())


def journal_bytes(folder: Path, runtime: str) -> bytes:
    """Return the run's copy of a journal up to its last whole line; empty when there is none."""
    file = job_folder(folder, runtime) / "events.jsonl"
    data = file.read_bytes() if file.is_file() else b""
    return data[: data.rfind(b"\n") + 1]


def save_reply(folder: Path, job: wire.Job, reply: wire.Reply) -> None:
    """Write reply.json. Raises StoreError."""
    write(job_folder(folder, job.runtime) / "reply.json", wire.encode(reply).encode())


def load_reply(folder: Path, runtime: str) -> wire.Reply | None:
    """Read reply.json; None when the job never ended. Raises WireError."""
    file = job_folder(folder, runtime) / "reply.json"
    return wire.decode(wire.Reply, file.read_text(encoding="utf-8"), str(file)) if file.is_file() else None


def events(folder: Path, runtime: str) -> list[wire.Event]:
    """Read the run's copy of a journal. Raises WireError for a damaged line."""
    file = job_folder(folder, runtime) / "events.jsonl"
    return wire.read_journal(journal_bytes(folder, runtime).decode("utf-8", "replace"), str(file))


def set_journal_aside(folder: Path, runtime: str) -> None:
    """Rename a copy that disagrees with the device's journal; following makes a new one. Raises StoreError."""
    file = job_folder(folder, runtime) / "events.jsonl"
    with _reported(file):
        file.rename(file.with_suffix(".damaged"))


def measured(folder: Path, runtimes: Iterable[str]) -> tuple[Jobs, Journals, Replies]:
    """Read a run's jobs, journals and replies by runtime. Raises WireError."""
    names = tuple(runtimes)
    jobs: Jobs = {runtime: load_job(folder, runtime) for runtime in names}
    journals: Journals = {runtime: _journal(folder, runtime, job) for runtime, job in jobs.items()}
    return jobs, journals, {runtime: load_reply(folder, runtime) for runtime in names}


def _journal(folder: Path, runtime: str, job: wire.Job | None) -> Sequence[wire.Event]:
    """Read a journal as that of its job; nothing where the run never came so far as to make one."""
    if job is None:
        return ()
    file = job_folder(folder, runtime) / "events.jsonl"
    return wire.JournalReader(job, str(file)).read(journal_bytes(folder, runtime).decode("utf-8", "replace"))


# --- frames --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frames:
    """A run as pandas frames: one row per ladder row, per inference, per system-state reading."""

    run: Run
    cases: pd.DataFrame
    samples: pd.DataFrame
    state: pd.DataFrame


def frames(folder: Path) -> Frames:
    """Read a run's record and its Parquet files. Raises StoreError."""
    import pandas as pd

    run = load(folder)
    try:
        samples, state = (pd.read_parquet(folder / f"{name}.parquet") for name in ("samples", "state"))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{folder}: its samples cannot be read: {error}", "Finish the run: harness run --resume."
        ) from None
    return Frames(run, pd.json_normalize([asdict(case) for case in run.cases]), samples, state)


def save_frames(folder: Path, journals: Iterable[Sequence[wire.Event]]) -> None:
    """Write samples.parquet and state.parquet from the journals. Raises StoreError."""
    journals = tuple(journals)
    for name, frame in (("samples", tables.samples(journals)), ("state", tables.state(journals))):
        write(folder / f"{name}.parquet", frame.to_parquet(index=False))

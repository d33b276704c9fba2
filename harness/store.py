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
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import content, wire
from harness.errors import StoreError
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


def find(root: Path, word: str | None) -> Path:
    """Return the folder of the run that `word` names: a path, a run's id, the start of one; None: the newest, else an example.

    Raises StoreError when there is none, or several begin like that.
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
    some = ", ".join(folder.name for folder in (matches or runs)[-5:]) or "none"
    rule = "several runs begin like that" if matches else "no such run"
    raise StoreError(f'{rule}: "{word}" under {root}', f"The newest: {some}.")


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
        tree = json.loads(file.read_text(encoding="utf-8"))
        version = tree["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{file}: damaged: {error}", "Its samples and journal may still be whole.") from None
    if not isinstance(version, int) or version > SCHEMA:
        raise StoreError(f"{file}: schema {version!r}, this program reads up to {SCHEMA}", "Upgrade edge-harness.")
    while version < SCHEMA:
        tree = _UPGRADES[version](tree)
        version += 1
    try:
        return TypeAdapter(Run).validate_python(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise StoreError(f"{file}: damaged: {where}: {first['msg']}") from None


def write(file: Path, data: bytes) -> None:
    """Write `data` atomically: temporary file, fsync, rename. Raises StoreError."""
    with _reported(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".tmp-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        move = "Free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Make it writable"
        raise StoreError(
            f"{path}: cannot be written: {error.strerror}",
            f"{move}; nothing measured is lost: go on with harness run --resume.",
        ) from None


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
    for name, frame in (("samples", samples_frame(journals)), ("state", state_frame(journals))):
        write(folder / f"{name}.parquet", frame.to_parquet(index=False))


def samples_frame(journals: Iterable[Sequence[wire.Event]]) -> pd.DataFrame:
    """Return every inference as a row; `valid` when its process is the last attempt of its (case, block, replicate)."""
    import pandas as pd

    columns = ["case_id", "block", "replicate", "attempt", "phase", "index", "start_ns", "latency_ns", "valid"]
    parts = [pd.DataFrame([], columns=columns)]
    for journal in journals:
        processes = [event for event in journal if isinstance(event, wire.ProcessEvent)]
        last = {(p.case_id, p.block, p.replicate): p.attempt for p in processes}
        for process in processes:
            valid = last[process.case_id, process.block, process.replicate] == process.attempt
            parts += [_samples(process, phase, valid)[columns] for phase in ("warmup", "timed")]
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def _samples(process: wire.ProcessEvent, phase: str, valid: bool) -> pd.DataFrame:
    import pandas as pd

    timed = phase == "timed"
    latency = process.latency_ns if timed else process.warmup_ns
    return pd.DataFrame(
        {
            "case_id": process.case_id,
            "block": process.block,
            "replicate": process.replicate,
            "attempt": process.attempt,
            "phase": phase,
            "index": range(len(latency)),
            "start_ns": pd.array(process.start_ns if timed else [None] * len(latency), dtype="Int64"),
            "latency_ns": pd.array(latency, dtype="Int64"),
            "valid": valid,
        }
    )


def state_frame(journals: Iterable[Sequence[wire.Event]]) -> pd.DataFrame:
    """Return every system-state reading as a row, in long form; value is null unless status is `ok`."""
    import pandas as pd

    columns = ["block", "when", "sensor", "scope", "kind", "status", "start_ns", "value", "unit"]
    rows = [
        (event.block, event.when, sensor, scope, kind, status, event.t_ns, value, unit)
        for journal in journals
        for event in journal
        if isinstance(event, wire.StateEvent)
        for sensor, scope, kind, status, value, unit in event.readings
    ]
    return pd.DataFrame(rows, columns=columns)

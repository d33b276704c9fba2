"""The run's copy of each job: what was sent, the journal as it grew on the device, the reply."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness import files, wire
from harness.errors import WireError
from harness.store.thinning import require_raw
from harness.store.writing import reported, write

if TYPE_CHECKING:
    from harness.analysis import Jobs, Journals, Replies


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


def artifact_sizes(folder: Path, runtime: str) -> dict[str, int]:
    """Return the bytes of each case's artifact, by case; empty where there is no job. Raises WireError.

    Nothing else of job.json is looked at: a page of nights reads thousands of them.
    """
    file = job_folder(folder, runtime) / "job.json"
    try:
        cases = json.loads(file.read_text(encoding="utf-8"))["cases"] if file.is_file() else ()
        found = {str(case["case_id"]): case["artifact"]["size_bytes"] for case in cases}
        if any(type(size) is not int or size < 0 for size in found.values()):
            raise ValueError("an artifact's size is none")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WireError(f"{file}: damaged: {error}") from None
    return found


def append_journal(folder: Path, runtime: str, data: bytes) -> None:
    """Append whole journal lines to the run's copy and sync it. Raises StoreError.

    What a killed or failed append left half-written is cut off, so that the copy is a prefix of the device's journal.
    """
    file = job_folder(folder, runtime) / "events.jsonl"
    with reported(file):
        fresh = not file.exists()
        with file.open("ab+") as stream:
            stream.seek(-1 if stream.tell() else 0, os.SEEK_END)
            torn = stream.read() not in (b"", b"\n")
        if torn:
            os.truncate(file, len(journal_bytes(folder, runtime)))
        with file.open("ab") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if fresh:
            files.sync(file.parent)


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
    with reported(file):
        file.rename(file.with_suffix(".damaged"))


def measured(folder: Path, runtimes: Iterable[str]) -> tuple[Jobs, Journals, Replies]:
    """Read a run's jobs, journals and replies by runtime. Raises WireError; StoreError where its raw samples were given up."""
    require_raw(folder)
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

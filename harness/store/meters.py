"""What the controller's meters said during a job: `jobs/<runtime>/meters.jsonl`, as `harness/meters/record.py` writes it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import StoreError
from harness.meters import Found, Line, encode, found, read, whole_bytes
from harness.records import Remote, RemoteTrace, Unread
from harness.store.journals import job_folder
from harness.store.writing import reported


def meters(folder: Path, runtime: str) -> tuple[RemoteTrace, ...]:
    """Return the traces of a job's meters that the controller read, on the device's clock. Raises StoreError."""
    return meters_found(folder, runtime).traces


def all_meters(folder: Path, runtimes: Iterable[str]) -> dict[str, tuple[Remote, ...]]:
    """Return the same of several jobs by runtime, and beside them the meters that gave none. Raises StoreError."""
    read = {runtime: meters_found(folder, runtime) for runtime in runtimes}
    return {
        runtime: (*found.traces, *(Unread(*each) for each in found.unread.items())) for runtime, found in read.items()
    }


def meters_found(folder: Path, runtime: str) -> Found:
    """Return these traces, and which meters gave none and why. Raises StoreError with file and line for damage."""
    file = _file(folder, runtime)
    if not file.is_file():
        return Found()
    return found(read(file.read_bytes(), str(file)), str(file))


@contextmanager
def meter_record(folder: Path, runtime: str) -> Iterator[Callable[[Line], None]]:
    """Give what keeps a line of the record, from any thread, until the end; a torn last line is cut off first.

    A record that cannot be written ends there, for a gap is better than half a line in the midst of others: the job goes on.
    """
    file = _file(folder, runtime)
    kept = _Kept(_appending(file))
    try:
        yield kept.write
    finally:
        kept.close()


def _file(folder: Path, runtime: str) -> Path:
    return job_folder(folder, runtime) / "meters.jsonl"


def _appending(file: Path) -> int | None:
    """Open it behind its last whole line; None where it cannot be."""
    try:
        with reported(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            os.ftruncate(fd, whole_bytes(file.read_bytes()))
            return fd
    except StoreError:
        return None


class _Kept:
    """A record that is being written: each line whole and at once, or none any more."""

    def __init__(self, fd: int | None) -> None:
        self._fd, self._lock = fd, threading.Lock()

    def write(self, line: Line) -> None:
        data = encode(line)
        with self._lock:
            if self._fd is None:
                return
            try:
                whole = os.write(self._fd, data) == len(data)
            except OSError:
                whole = False
            if not whole:
                self._end()

    def close(self) -> None:
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._fd is not None:
            with suppress(OSError):  # on the disk before the run is called done
                os.fsync(self._fd)
            os.close(self._fd)
            self._fd = None

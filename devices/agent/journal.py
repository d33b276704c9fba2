"""The journal of a job: `events.jsonl`, the truth. Append-only, one object a line, each line whole and synced.

A kill may tear the last line; it is cut off when the journal is opened again, and `seq` goes on from what is whole.
"""

import os
import time
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, List, Type, TypeVar

from harness import wire

E = TypeVar("E", bound=wire.Event)


_STEPS, _STEPS_WITHIN_NS = 1000, 50_000_000  # clock reads enough to see its step, also where it is coarse


def now_ns() -> int:
    """Read the device's monotonic clock: the one clock of journal, latencies and start times."""
    return time.monotonic_ns()


def clock_resolution_ns() -> int:
    """Return the smallest step, above 0, that the clock was seen to make between two reads: what it can tell apart.

    The two reads follow each other as closely as this language allows: whatever stood between them would be in the step.
    """
    read = time.monotonic_ns
    smallest, seen, end = 0, 0, read() + _STEPS_WITHIN_NS
    while not seen or (seen < _STEPS and read() < end):
        before = read()
        after = read()
        if after > before:
            smallest = min(smallest or after - before, after - before)
            seen += 1
    return smallest


def _plain(value: Any) -> Any:
    """Turn records within an event into objects; the long rows of numbers stay as they are, uncopied."""
    if is_dataclass(value):
        return {name: _plain(each) for name, each in vars(value).items()}
    records = isinstance(value, (tuple, list)) and value and is_dataclass(value[0])
    return [_plain(each) for each in value] if records else value


class Journal:
    """An open journal. `past` holds the events found in it. Raises WireError if a whole line is damaged."""

    def __init__(self, path: Path) -> None:
        text = path.read_bytes() if path.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        self.past: List[wire.Event] = wire.read_journal(whole.decode("utf-8", "replace"), str(path))
        self.seq = len(self.past)
        self._fd = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._fd, len(whole))

    def append(self, kind: Type[E], sync: bool = True, **fields: Any) -> E:
        """Write one event, durably, and return it; without `sync` it is durable with the next that is. Raises OSError.

        Where it could not be written (a full disk), nothing of the line is left. Where it could not be synced, it stays
        as it is, whole: what the disk holds is unknown then, and the agent must end. A torn line is cut when it goes on.
        """
        name = next(name for name, known in wire.EVENTS.items() if known is kind)
        event = kind(v=wire.VERSION, seq=self.seq, t_ns=now_ns(), kind=name, **fields)
        self._write((wire.encode({key: _plain(value) for key, value in vars(event).items()}) + "\n").encode(), sync)
        self.seq += 1
        return event

    def _write(self, line: bytes, sync: bool) -> None:
        end = os.fstat(self._fd).st_size
        rest = memoryview(line)
        try:
            while rest:  # a full disk takes what fits; the next write says why
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            os.ftruncate(self._fd, end)
            raise
        if sync:
            os.fsync(self._fd)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def replace_file(path: Path, text: str) -> None:
    """Write `path` whole or not at all, and for good: temporary file beside it, fsync, rename, fsync. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(str(path.parent), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

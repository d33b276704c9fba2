"""The journal of a job: `events.jsonl`, the truth. Append-only, one object a line, each line whole and synced.

A kill may tear the last line; it is cut off when the journal is opened again, and `seq` goes on from what is whole.
"""

import os
import time
from pathlib import Path
from typing import Any, List, Type, TypeVar

from harness import wire

E = TypeVar("E", bound=wire.Event)


def now_ns() -> int:
    """Read the device's monotonic clock: the one clock of journal, latencies and start times."""
    return time.monotonic_ns()


class Journal:
    """An open journal. `past` holds the events found in it. Raises WireError if a whole line is damaged."""

    def __init__(self, path: Path) -> None:
        text = path.read_bytes() if path.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        self.past: List[wire.Event] = wire.read_journal(whole.decode("utf-8", "replace"), str(path))
        self.seq = len(self.past)
        self._fd = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._fd, len(whole))

    def append(self, kind: Type[E], **fields: Any) -> E:
        """Write one event, durably, and return it. Raises OSError (a full disk); then nothing of the line is left."""
        name = next(name for name, known in wire.EVENTS.items() if known is kind)
        event = kind(v=wire.VERSION, seq=self.seq, t_ns=now_ns(), kind=name, **fields)
        self._write((wire.encode(vars(event)) + "\n").encode())
        self.seq += 1
        return event

    def _write(self, line: bytes) -> None:
        end = os.fstat(self._fd).st_size
        try:
            written = os.write(self._fd, line)
            if written < len(line):  # a full disk takes what fits; the next write says why
                os.write(self._fd, line[written:])
            os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, end)
            raise

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def replace_file(path: Path, text: str) -> None:
    """Write `path` whole or not at all: temporary file beside it, fsync, rename. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)

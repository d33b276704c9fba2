"""How a sensor is read: a number with a status, never a 0 that stands for "could not be read".

Everything comes from files below a root (`sysroot`), with the standard library alone: what a third-party library such as
psutil would add is a second code path that some boards lack, and answers that hide what could not be read.
"""

import os
from pathlib import Path
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

Reading = Tuple[str, str, str, str, Optional[float], str]  # sensor, scope, kind, status, value, unit


class AbsentError(Exception):
    """A device does not have what was asked for: `unsupported`."""


class UnavailableError(Exception):
    """A device has it, but gives no number now: `error`."""


class Files:
    """Text of files, each read once until `forget`: several readings of one moment come from one file."""

    def __init__(self) -> None:
        self._seen: Dict[Path, str] = {}

    def text(self, path: Path) -> str:
        """Return the file's text. Raises OSError."""
        if path not in self._seen:
            self._seen[path] = slurp(path).decode("utf-8", "replace")
        return self._seen[path]

    def words(self, path: Path) -> List[str]:
        """Return the file's words. Raises OSError."""
        return self.text(path).split()

    def field(self, path: Path, key: str) -> int:
        """Return the number behind a line's first word. Raises OSError, AbsentError."""
        for line in self.text(path).splitlines():
            words = line.split()
            if words[:1] == [key]:
                return int(words[1])
        raise AbsentError("%s has no line %s" % (path, key))

    def forget(self) -> None:
        """Begin another moment."""
        self._seen.clear()


class Source(NamedTuple):
    """One thing that can be read. `brief`: also beside each process, not only at a block's ends."""

    sensor: str
    scope: str
    kind: str  # gauge | counter
    unit: str
    read: Callable[[], float]
    brief: bool = True


class Taken(NamedTuple):
    """What a channel of a sensor of power gave: a number, or a status and why there is none.

    `channel` is its place among the session's; `t_ns` when it was taken (monotonic), 0: in the middle of the read.
    """

    channel: int
    value: Optional[float]
    status: str = "ok"
    reason: str = ""
    t_ns: int = 0


class Snapshot(NamedTuple):
    """Readings of one moment, and why one is not ok by "sensor scope"."""

    readings: Tuple[Reading, ...]
    reasons: Dict[str, str]

    def values(self, sensor: str) -> Dict[str, float]:
        """Return what a sensor gave, by scope, where it gave something."""
        found = (reading for reading in self.readings if reading[0] == sensor)
        return {scope: value for _, scope, _, _, value, _ in found if value is not None}


def sysroot() -> Path:
    """Return where this device's /proc, /sys, /dev and /etc are: EDGE_HARNESS_SYSROOT, else the root folder."""
    return Path(os.environ.get("EDGE_HARNESS_SYSROOT") or "/")


def slurp(path: Path) -> bytes:
    """Return a file's bytes by plain reads: Python's own file objects lose the EAGAIN of a powered-down sensor."""
    fd = os.open(str(path), os.O_RDONLY | os.O_NONBLOCK)
    try:
        pieces: List[bytes] = []
        while True:
            piece = os.read(fd, 65536)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(fd)


def absent(sensor: str, scope: str, kind: str, unit: str, reason: str) -> Source:
    """A source for what the device does not have."""

    def read() -> float:
        raise AbsentError(reason)

    return Source(sensor, scope, kind, unit, read)


def number(files: Files, path: Path, scale: float = 1.0) -> Callable[[], float]:
    """A read function: the first word of a file as a number, times `scale`."""

    def read() -> float:
        words = files.words(path)
        if not words:
            raise UnavailableError("%s is empty" % path)
        return int(words[0]) * scale

    return read


def take(source: Source) -> Tuple[Reading, str]:
    """Read a source; returns the reading, and why it is not ok ("" where it is)."""
    try:
        value = float(source.read())
    except (AbsentError, FileNotFoundError, NotADirectoryError) as error:
        return _without(source, "unsupported", error)
    except PermissionError as error:
        return _without(source, "permission", error)
    except (OSError, UnavailableError, ValueError, IndexError) as error:
        return _without(source, "error", error)
    return (source.sensor, source.scope, source.kind, "ok", value, source.unit), ""


def _without(source: Source, status: str, error: Exception) -> Tuple[Reading, str]:
    reason = str(error)
    if isinstance(error, OSError):  # EAGAIN: a zone that is powered down, for one
        reason = "%s: %s" % (error.filename or source.sensor, error.strerror or error)
    return (source.sensor, source.scope, source.kind, status, None, source.unit), reason


def text(path: Path) -> Optional[str]:
    """Return a file's text without what pads it, or None where it cannot be read."""
    try:
        return slurp(path).decode("utf-8", "replace").strip("\0\n ")
    except OSError:
        return None


def distinct(paths: Iterable[Path]) -> List[str]:
    """Return the different texts of files, sorted, without those that cannot be read."""
    return sorted({found for found in map(text, paths) if found is not None})

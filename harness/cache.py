"""Rungs and artifacts by key under $XDG_CACHE_HOME/edge-harness: folders, written whole or not at all, capped.

<root>/<kind>/<key>/...        a complete entry; its folder's mtime is when it was last used
<root>/<kind>/.tmp-*           being written; left over only by a killed process, removed after a day
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from harness import files
from harness.errors import StoreError, UsageError

T = TypeVar("T")
DEFAULT_CAP_BYTES = 10 * 2**30
_STALE_S = 24 * 3600.0


@dataclass(frozen=True)
class Entry:
    """One cached thing. `used` is seconds since the epoch."""

    kind: str
    key: str
    path: Path
    size_bytes: int
    used: float


OnGone = Callable[[tuple[Entry, ...]], None]


def root() -> Path:
    """Return the cache's folder (not created)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "edge-harness"


def cap_bytes() -> int:
    """Return the size above which the oldest entries go: HARNESS_CACHE_GB, by default 10 GiB. Raises UsageError."""
    said = os.environ.get("HARNESS_CACHE_GB")
    if not said:
        return DEFAULT_CAP_BYTES
    try:
        gigabytes = float(said)
    except ValueError:
        gigabytes = math.nan
    if not 0 <= gigabytes < math.inf:
        raise UsageError(f'HARNESS_CACHE_GB="{said}": must be a size in GiB, such as 10 or 0.5')
    return int(gigabytes * 2**30)


def get(kind: str, key: str) -> Path | None:
    """Return the folder of an entry and mark it used, or None."""
    path = root() / kind / key
    try:
        os.utime(path)
    except FileNotFoundError:
        return None
    return path


def read(kind: str, key: str, parse: Callable[[Path], T]) -> T | None:
    """Return what `parse` makes of an entry's folder, or None. An entry that cannot be read counts as absent and goes."""
    folder = get(kind, key)
    if folder is None:
        return None
    try:
        return parse(folder)
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        shutil.rmtree(folder, ignore_errors=True)
        return None


@contextlib.contextmanager
def storing() -> Iterator[None]:
    """Turn the file system's errors into a StoreError that names the cache and the next move."""
    try:
        yield
    except OSError as error:
        hint = "Free some space, or set XDG_CACHE_HOME to a roomier folder; run again."
        raise StoreError(f"{root()}: the cache cannot be written: {error.strerror or error}", hint) from error


@contextlib.contextmanager
def put(kind: str, key: str, spare: Collection[Path] = (), on_gone: OnGone | None = None) -> Iterator[Path]:
    """Give a folder to fill; it becomes the entry when the block ends without an error, or vanishes.

    Then older entries go until all fit under the cap, those at `spare` never; `on_gone` hears which, if any. Two
    processes making the same entry both succeed: the first rename wins, the second's copy is dropped. Raises StoreError
    when the cache cannot be written; what the block itself raises passes.
    """
    home = root() / kind
    with storing():
        home.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=files.PREFIX, dir=home))
    try:
        yield folder
        with storing():
            _publish(folder, home / key)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    gone = trim(keep=(home / key, *spare))
    if gone and on_gone is not None:
        on_gone(gone)


def size_bytes() -> int:
    """Return how much all complete entries take."""
    return sum(entry.size_bytes for entry in entries())


def entries() -> tuple[Entry, ...]:
    """Return every complete entry, least recently used first."""
    found = (path for path in root().glob("*/*") if path.is_dir() and not path.name.startswith(files.PREFIX))
    described = (entry for path in found if (entry := _describe(path)))
    return tuple(sorted(described, key=lambda entry: entry.used))


def said_of(gone: Collection[Entry]) -> str:
    """Say what a trim removed: `the cache dropped 2 rungs and 1 artifact (1074 MB) to stay under 10000 MB`."""
    kinds = Counter(entry.kind for entry in gone)
    named = " and ".join(f"{number} {kind}{'s' * (number > 1)}" for kind, number in kinds.items())
    freed = sum(entry.size_bytes for entry in gone)
    return f"the cache dropped {named} ({megabytes(freed)}) to stay under {megabytes(cap_bytes())}"


def megabytes(size_bytes: int) -> str:
    """Write a size in MB, with decimals where it is small."""
    size = size_bytes / 1e6
    return f"{size:.0f} MB" if size >= 10 else f"{size:.2g} MB"


def trim(keep: Collection[Path] = (), cap: int | None = None) -> tuple[Entry, ...]:
    """Remove the least recently used entries until the rest fit under the cap (those at `keep` stay); return what went."""
    _remove_stale()
    limit = cap_bytes() if cap is None else cap
    everything = entries()
    excess = sum(entry.size_bytes for entry in everything) - limit
    gone = []
    for entry in everything:
        if excess <= 0:
            break
        if entry.path not in keep:
            shutil.rmtree(entry.path, ignore_errors=True)
            excess -= entry.size_bytes
            gone.append(entry)
    return tuple(gone)


def _publish(folder: Path, entry: Path) -> None:
    """Give a filled folder its name, once all of it is on the disk: a power cut leaves no entry with empty files."""
    for path in (*folder.rglob("*"), folder):
        files.sync(path)
    try:
        folder.rename(entry)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # else somebody has made it meanwhile: equal by key
            raise
    files.sync(entry.parent)


def _describe(path: Path) -> Entry | None:
    """Describe an entry; None for one that another process has removed meanwhile."""
    try:
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return Entry(path.parent.name, path.name, path, size, path.stat().st_mtime)
    except FileNotFoundError:
        return None


def _remove_stale() -> None:
    for path in root().glob(f"*/{files.PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _STALE_S:
                shutil.rmtree(path, ignore_errors=True)

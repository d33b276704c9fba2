"""What a workdir keeps: artifacts, engines, wheels, environments, agents and ended jobs go, least recently used first.

A job's own files stay, and whatever somebody may be about to use or to fetch: see `_SPARED_S`. A job without a reply may
go on; when nobody has touched it for 30 days it goes too, for its run keeps a copy of the journal, and gives that back.
Whoever removes something holds the lock, so that no agent begins meanwhile.
"""

import os
import shutil
import time
from pathlib import Path
from typing import AbstractSet, Any, Dict, Iterator, List, NamedTuple, Optional

_DAY_S = 24 * 3600.0
_SPARED_S = {
    "agents": 7 * _DAY_S,
    "artifacts": _DAY_S,
    "engines": _DAY_S,  # what runtimes built here of artifacts
    "wheels": _DAY_S,
    "envs": 7 * _DAY_S,
    "jobs": 7 * _DAY_S,
}
_CUT_OFF_S = 30 * _DAY_S


class Kept(NamedTuple):
    """Something in a workdir that may be removed once it has not been used for `spared_s`."""

    path: Path
    size_bytes: int
    used: float
    spared_s: float


def trim(workdir: Path, own: AbstractSet[str], keep_bytes: int, spared_s: Optional[float] = None) -> int:
    """Remove until what is left fits under `keep_bytes`; returns the bytes that went. `own`: names that stay.

    `spared_s` in place of the usual time that what is unused is kept.
    """
    entries = sorted(_entries(workdir, spared_s), key=lambda entry: entry.used)
    excess = sum(entry.size_bytes for entry in entries) - keep_bytes
    freed = sum(_remove(entry) for entry in _leftovers(workdir, spared_s))
    for entry in entries:
        if excess > 0 and _name(entry.path) not in own and _is_stale(entry):
            excess -= entry.size_bytes
            freed += _remove(entry)
    return freed


def clean(workdir: str) -> Dict[str, Any]:
    """Remove all that nobody has used for a day, jobs without a reply for 30. Raises DeviceError while an agent is at work."""
    from devices.agent import lock

    root = Path(workdir)
    fd = lock.acquire(root / "lock")
    try:
        return {"freed_bytes": trim(root, set(), 0, _DAY_S)}
    finally:
        os.close(fd)


def _entries(workdir: Path, spared_s: Optional[float]) -> List[Kept]:
    """Everything that was made whole, half-made things begin with a dot; jobs without a reply by their newest file."""
    paths = [
        path for kind in ("agents", "artifacts", "engines", "wheels", "envs") for path in workdir.glob(kind + "/[!.]*")
    ]
    paths += [reply.parent for reply in workdir.glob("jobs/*/reply.json")]
    kept = [_kept(path, _SPARED_S[path.parent.name] if spared_s is None else spared_s) for path in paths]
    cut_off = (path for path in workdir.glob("jobs/[!.]*") if not (path / "reply.json").exists())
    return kept + [_kept(path, _CUT_OFF_S)._replace(used=_last_touched(path)) for path in cut_off]


def _last_touched(folder: Path) -> float:
    """Appending to a journal leaves the time of its folder as it was; one of the future says that the clock is not set yet."""
    try:
        return min(time.time(), max(os.lstat(str(path)).st_mtime for path in (folder, *folder.iterdir())))
    except (FileNotFoundError, NotADirectoryError):  # gone meanwhile, or no job
        return time.time()


def _leftovers(workdir: Path, spared_s: Optional[float]) -> Iterator[Kept]:
    """What a killed transfer or installation left half-written, once nobody will go on with it."""
    for kind in _SPARED_S:
        for path in workdir.glob(kind + "/.*"):
            leftover = _kept(path, _DAY_S if spared_s is None else spared_s)
            if _is_stale(leftover):
                yield leftover


def _kept(path: Path, spared_s: float) -> Kept:
    try:
        inside = path.rglob("*") if path.is_dir() else [path]
        sizes = (os.lstat(str(file)) for file in inside)
        return Kept(path, sum(found.st_size for found in sizes), path.stat().st_mtime, spared_s)
    except FileNotFoundError:  # gone meanwhile
        return Kept(path, 0, time.time(), spared_s)


def _name(path: Path) -> str:
    """An environment is named by its key, its description by the key and a suffix: both or neither stay."""
    return path.stem if path.suffix == ".json" else path.name


def _is_stale(entry: Kept) -> bool:
    """A device without a clock of its own may have been in 1970: what lies in the future was used long ago, or never was."""
    return abs(time.time() - entry.used) > entry.spared_s


def _hidden(path: Path) -> Path:
    """Let a folder lose its name before its content: what is half gone must not look whole after a power cut."""
    gone = path.with_name(".gone-" + path.name)
    try:
        path.rename(gone)
    except OSError:  # one that was left by such a cut
        return path
    return gone


def _remove(entry: Kept) -> int:
    if entry.path.is_dir() and not entry.path.is_symlink():
        shutil.rmtree(str(_hidden(entry.path)), ignore_errors=True)
    elif entry.path.exists():
        entry.path.unlink()
    return entry.size_bytes

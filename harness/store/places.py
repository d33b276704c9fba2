"""Where runs lie: making a folder, holding it, finding one."""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness import content
from harness.errors import StoreError, UsageError
from harness.store.writing import remedy, reported

_FREE_BYTES = 200 * 2**20


def require_writable(root: Path, go_on: str = "") -> None:
    """Check that a run could be written under `root`, before any long work; `go_on` ends the hint where something is under way.

    Raises StoreError; leaves nothing behind.
    """
    way = f"; {go_on}" if go_on else ", or give another folder with --results."
    existing = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
        free = shutil.disk_usage(existing).free
    except OSError as error:
        raise StoreError(
            f"{root}: results cannot be written there: {error.strerror}", f"{remedy(error)}{way}"
        ) from None
    if free < _FREE_BYTES:
        raise StoreError(
            f"{root}: {free / 2**20:.0f} MiB free, a run needs {_FREE_BYTES / 2**20:.0f} MiB",
            f"Free some space{way}",
        )


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run's folder: one harness at a time writes into it. Raises StoreError when another holds it."""
    with reported(folder):
        handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    with reported(folder):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = f"{folder}: another harness is at work on this run"
            raise StoreError(busy, "Let it finish, or end it first.") from None


def find(root: Path, word: str | None) -> Path:
    """Return the folder of the run that `word` names: a path, a run's id, the start of one; None: the newest, else an example.

    A URL names the run there, or the newest below it: its folder is a copy in the cache. Raises UsageError when none or
    several begin like that, StoreError when there are no runs at all.
    """
    if word is not None and "://" in word:
        from harness.store import remote  # it holds folders by what is here

        return remote.fetch(word)
    if word is not None and _recorded(Path(word)):
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
    """Yield the folders of all runs under `root`, oldest first; what goes or cannot be read meanwhile is not among them."""
    found = (run for device in _inside(root) for run in _inside(device))
    yield from sorted(filter(_recorded, found), key=lambda folder: (folder.name, folder))


def _inside(folder: Path) -> list[Path]:
    """What is in a folder; nothing where it is no folder, is gone, or may not be read."""
    with contextlib.suppress(OSError):
        return list(folder.iterdir())
    return []


def _recorded(folder: Path) -> bool:
    """Whether it has a run.json; False for what cannot be looked at, or is no path at all."""
    with contextlib.suppress(OSError, ValueError):
        return (folder / "run.json").exists()
    return False

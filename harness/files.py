"""Files written whole or not at all: a temporary file beside the target, fsync, rename, fsync of the folder."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = ".tmp-"  # of what is being written; left over only by a killed process


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a path beside `target`, to be written, that becomes it durably when the block ends without an error.

    Whoever reads `target` meanwhile, or after a crash or a power cut, sees the old file or the new one, never a part.
    Raises OSError; then `target` is as it was and nothing is left behind.
    """
    temporary = target.parent / f"{PREFIX}{secrets.token_hex(8)}"
    try:
        yield temporary
        sync(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync(target.parent)


def write(target: Path, data: bytes) -> None:
    """Make `data` the content of `target`, as `replacing` does. Raises OSError."""
    with replacing(target) as temporary:
        temporary.write_bytes(data)


def make(folder: Path, exist_ok: bool = True) -> None:
    """Make a folder and those that it lies in, durably: else what is synced inside may be gone. Raises OSError."""
    lacking = [each for each in (folder, *folder.parents) if not each.is_dir()]
    folder.mkdir(parents=True, exist_ok=exist_ok)
    for each in reversed(lacking):
        sync(each.parent)


def sync(path: Path) -> None:
    """Bring a file or folder to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

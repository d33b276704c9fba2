"""How anything of a run is written: whole or not at all, and with a message that says how to go on."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from harness import files
from harness.errors import StoreError

_GO_ON = "nothing measured is lost: go on with harness run --resume."


def write(file: Path, data: bytes, go_on: str = _GO_ON) -> None:
    """Write `data` atomically: temporary file, fsync, rename. Raises StoreError, whose hint ends with `go_on`."""
    with reported(file, go_on):
        files.make(file.parent)
        files.write(file, data)


@contextlib.contextmanager
def reported(path: Path, go_on: str = _GO_ON) -> Iterator[None]:
    """Turn an OSError of what is done to `path` into a StoreError that says how to go on."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}", f"{remedy(error)}; {go_on}") from None


def remedy(error: OSError) -> str:
    """Return the next move where something cannot be written."""
    return "Free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Make it writable"

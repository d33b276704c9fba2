"""What was sent to the device becomes what its name says, or goes: files by the SHA-256 of their bytes.

artifacts/.part-<sha256>     being sent; a transfer that was cut goes on where it stopped
artifacts/<sha256>           its bytes were hashed here and are right
"""

import hashlib
import os
from pathlib import Path
from typing import Mapping

from harness.errors import DamagedError

PART = ".part-"


def require_whole(folder: Path, sizes: Mapping[str, int]) -> None:
    """Check every file that is named, by size and hash, and give what was sent its name.

    Raises DamagedError, naming one, when files are missing or damaged; damaged ones have been removed then.
    """
    bad = [name for name, size in sizes.items() if not _whole(folder, name, size)]
    if bad:
        raise DamagedError(
            "%d of %d files in %s are damaged or missing, %s among them" % (len(bad), len(sizes), folder, bad[0]),
            "What was damaged is removed; it is sent again. If that does not help: is the disk full, or at its end?",
        )


def _whole(folder: Path, name: str, size: int) -> bool:
    target, part = folder / name, folder / (PART + name)
    for file in (target, part):
        if not file.is_file():
            continue
        if file.stat().st_size == size and _sha256(file) == name:
            if file is part:
                file.replace(target)
            os.utime(str(target))  # used just now: the last to go
            return True
        file.unlink()
    return False


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as reader:
        for chunk in iter(lambda: reader.read(2**20), b""):
            digest.update(chunk)
    return digest.hexdigest()

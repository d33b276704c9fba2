"""What was found, in the cache: the lock, and each wheel as the archive that is sent.

lock/<key>/lock.json                 package, version, wheel and its SHA-256, for one question
wheel/<sha256>/<sha256'>.tar.gz      what is in the wheel of that hash; the archive is named by its own
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import cache
from harness.provision import packing, pip
from harness.provision.target import Target
from harness.records import Wheel

_VERSION = 1


@dataclass(frozen=True)
class Locked:
    """A wheel as the index has it: file name and hash are the wheel's own, not the archive's."""

    name: str
    version: str
    file: str
    sha256: str


def lock(key: str) -> tuple[Locked, ...] | None:
    """Return what was found for this question, or None. A damaged lock counts as none and goes."""
    return cache.read("lock", key, _parse)


def _parse(folder: Path) -> tuple[Locked, ...]:
    value: Any = json.loads((folder / "lock.json").read_text(encoding="utf-8"))
    if value["v"] != _VERSION:
        raise ValueError("another version's lock")
    return tuple(Locked(**{key: str(text) for key, text in one.items()}) for one in value["wheels"])


def keep(key: str, found: Sequence[Locked]) -> None:
    """Write the lock. Raises StoreError."""
    text = json.dumps({"v": _VERSION, "wheels": [asdict(one) for one in found]}, indent=1)
    with cache.put("lock", key) as folder:
        (folder / "lock.json").write_text(text + "\n", encoding="utf-8")


def forget(key: str) -> None:
    """Remove a lock that can no longer be kept."""
    shutil.rmtree(cache.root() / "lock" / key, ignore_errors=True)


def packed(locked: Locked) -> Wheel | None:
    """Return the archive of a wheel, its bytes checked; None where it is gone, or damaged and therefore removed."""

    def parse(folder: Path) -> Wheel:
        (archive,) = folder.iterdir()
        if sha256_of(archive) + packing.SUFFIX != archive.name:
            raise ValueError("damaged")
        return _wheel(locked, archive)

    return cache.read("wheel", locked.sha256, parse)


def pack(locked: Locked, file: Path) -> Wheel:
    """Make the archive of a wheel. Raises DeviceError for a wheel that is damaged or would leave its folder."""
    with cache.put("wheel", locked.sha256) as folder:
        name = packing.pack(file, folder).name
    return _wheel(locked, cache.root() / "wheel" / locked.sha256 / name)


def fetch(locked: Locked, target: Target) -> Wheel:
    """Fetch the very wheel that is locked, and pack it. Raises pip.Failed."""
    with tempfile.TemporaryDirectory(prefix="edge-harness-") as folder:
        file = pip.download_locked(locked.name, locked.version, locked.sha256, target, Path(folder))
        return pack(locked, file)


def _wheel(locked: Locked, archive: Path) -> Wheel:
    sha256 = archive.name.removesuffix(packing.SUFFIX)
    return Wheel(locked.name, locked.version, sha256, archive.stat().st_size, str(archive))


def sha256_of(file: Path) -> str:
    """Return a file's SHA-256; hashed again only when the file has changed, as fifty boards ask for the same."""
    found = file.stat()
    return _sha256(str(file), found.st_ino, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=1000)
def _sha256(file: str, *_: int) -> str:
    with Path(file).open("rb") as reader:
        return hashlib.file_digest(reader, "sha256").hexdigest()

"""A wheel becomes what belongs into site-packages, as one .tar.gz: equal wheels give equal bytes.

What a board unpacks needs no installer then. Scripts, headers and data for other folders are left out.
"""

from __future__ import annotations

import gzip
import hashlib
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from harness.errors import DeviceError

SUFFIX = ".tar.gz"
_MOST_BYTES = 8 * 2**30
_MOST_FILES = 200_000
_LEVEL = 6
_IMPORTED = {"purelib", "platlib"}


def pack(wheel: Path, folder: Path) -> Path:
    """Write the archive into `folder`, named by its SHA-256.

    Raises DeviceError for a wheel that is damaged, would leave its folder or holds links, or is absurdly large.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            places = _places(archive)
            made = folder / "made"
            with made.open("wb") as raw, gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed:
                _write(archive, places, packed)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        raise DeviceError(f"{wheel.name}: a wheel that must not be sent: {error}", "It is not kept.") from None
    with made.open("rb") as reader:
        name = hashlib.file_digest(reader, "sha256").hexdigest() + SUFFIX
    return made.rename(folder / name)


def _places(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Say where each file goes. Raises ValueError at what no honest wheel holds."""
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    size = sum(entry.file_size for entry in entries)
    if len(entries) > _MOST_FILES or size > _MOST_BYTES:
        raise ValueError(f"{len(entries)} files of {size} bytes; at most {_MOST_FILES} and {_MOST_BYTES}")
    places: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        place = _place(entry)
        if place in places:
            raise ValueError(f"two files are called {place}")
        if place is not None:
            places[place] = entry
    return places


def _place(entry: zipfile.ZipInfo) -> str | None:
    """Return where a file goes within site-packages; None: it is left out."""
    path = PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts or str(path) != entry.filename:
        raise ValueError(f"{entry.filename!r:.200} is not a path within it")
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise ValueError(f"{entry.filename!r:.200} is a link or a device")
    if not path.parts[0].endswith(".data") or len(path.parts) < 3:
        return entry.filename
    return str(PurePosixPath(*path.parts[2:])) if path.parts[1] in _IMPORTED else None


def _write(archive: zipfile.ZipFile, places: dict[str, zipfile.ZipInfo], packed: gzip.GzipFile) -> None:
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as made:
        for place, entry in sorted(places.items()):
            member = tarfile.TarInfo(place)
            member.size = entry.file_size
            member.mode = 0o755 if entry.external_attr >> 16 & stat.S_IXUSR else 0o644
            with archive.open(entry) as content:
                made.addfile(member, content)

"""A run as one zip that can be cited: the same run gives the same bytes, and every file has its SHA-256 in MANIFEST.

<run id>/MANIFEST           `# edge-harness archive 1`, then lines that `sha256sum -c MANIFEST` reads
<run id>/README.txt ...     what it is, for people; made from the run
<run id>/run.json ...       the run's files as they are, raw samples and journals among them
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness import files
from harness.errors import StoreError
from harness.store import parts
from harness.store.places import held
from harness.store.writing import reported

VERSION = 1
MANIFEST = "MANIFEST"
ABOUT = ("README.txt", "environment.txt")  # made from the run, for people; not parts of it
_HEAD = "# edge-harness archive "
_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can tell
_GO_ON = "the run is as it was: archive it again."
CHUNK = 2**20


def pack(folder: Path, out: Path, about: Mapping[str, str]) -> Path:
    """Write the run in `folder`, with texts `about` it by name, as one zip; whole or not at all.

    Raises StoreError and WireError: not finished, a part missing or damaged, at work, cannot be written.
    """
    with held(folder):
        run = parts.require_whole(folder)
        texts = {name: text.encode() for name, text in about.items()}
        sums = {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
        sums |= {name: digest(folder / name) for name in parts.names(folder)}
        texts[MANIFEST] = manifest(sums)
        with reported(out, _GO_ON):
            out.parent.mkdir(parents=True, exist_ok=True)
            with files.replacing(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
                for name in sorted({*sums, MANIFEST}):
                    with archive.open(_entry(f"{run.run}/{name}"), "w", force_zip64=True) as stream:
                        written = hashlib.sha256()
                        for chunk in _chunks(folder / name, texts.get(name)):
                            written.update(chunk)
                            stream.write(chunk)
                    _require_unchanged(folder / name, written.hexdigest(), sums.get(name))
    return out


def manifest(sums: Mapping[str, str]) -> bytes:
    """Return a MANIFEST of SHA-256 sums by name."""
    lines = (f"{sums[name]}  {name}\n" for name in sorted(sums))
    return f"{_HEAD}{VERSION}\n{''.join(lines)}".encode()


def read_manifest(data: bytes, where: str) -> dict[str, str]:
    """Return the sums of a MANIFEST by name. Raises StoreError: from a newer program, no such list, a name that is not plain."""
    head, *lines = data.decode("utf-8", "replace").splitlines() or [""]
    version = head.removeprefix(_HEAD)
    if head == version or not version.isascii() or not version.isdigit():
        raise StoreError(f"{where}: damaged: it does not begin with `{_HEAD}{VERSION}`", "Get the archive again.")
    if int(version[:9]) > VERSION:
        raise StoreError(f"{where}: version {version}, this program reads up to {VERSION}", "Upgrade edge-harness.")
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, 2):
        found = _LINE.fullmatch(line)
        if found is None or found[2] in sums or not (parts.is_part(found[2]) or found[2] in ABOUT):
            raise StoreError(
                f"{where} line {number}: damaged: not the sum of a file of a run", "Get the archive again."
            )
        sums[found[2]] = found[1]
    return sums


def digest(file: Path) -> str:
    """Return the SHA-256 of a file. Raises StoreError."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"{file}: cannot be read: {error.strerror}") from None


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry that says nothing of when, where and by whom it was packed."""
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = 3  # Unix, wherever this runs
    entry.external_attr = 0o100644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _chunks(file: Path, text: bytes | None) -> Iterator[bytes]:
    if text is not None:
        yield text
        return
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _require_unchanged(file: Path, written: str, summed: str | None) -> None:
    if summed not in (None, written):
        raise StoreError(f"{file}: changed while it was archived", "Archive the run again.")

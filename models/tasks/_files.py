"""Shared by the tasks that read files of yours: where a data set lies under --data DIR, and what to do where it does not.

DIR/...              its files as they are published, in DIR or up to two folders below it; else
DIR/...tar.gz, .zip  the archive as it is published, known by its MD5. It is read in place: nothing is unpacked, so
                     nothing in it can be written anywhere. The folder stays as it is.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

BROKEN = (OSError, EOFError, ValueError, KeyError, zlib.error, tarfile.TarError, zipfile.BadZipFile, RuntimeError)
MAX_BYTES = 2**28  # of one file in an archive: a larger one is none of a data set's, and would fill the memory
AGAIN = "The file is damaged, or was changed: put a whole one there, or take it away."


class DataError(ValueError):
    """Data that are missing or damaged; `hint` is the next move. The harness tells both as they stand."""

    def __init__(self, message: str, hint: str = AGAIN) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Source:
    """A data set: its name, what to look for, where it comes from.

    `forms` maps a file that tells it, as it is called among the unpacked files, to the archive that holds it ("": none).
    `md5` is that of each file that is known by it. `torchvision` makes the call that downloads it, if there is one.
    """

    name: str
    urls: tuple[str, ...]
    forms: Mapping[str, str]
    md5: Mapping[str, str]
    torchvision: str = ""

    @property
    def hint(self) -> str:
        """How to get it."""
        call = f"import torchvision; torchvision.datasets.{self.torchvision}('DIR', download=True)"
        other = f' Or, with torchvision: python -c "{call}"' if self.torchvision else ""
        return f"Get it, in DIR: {self._fetch}; then say --data DIR.{other}"

    def again(self, place: Path, unpacked: bool = False) -> str:
        """How to get it once more, where what lies in a folder is damaged; what is unpacked comes before an archive."""
        over = "; then unpack it over what is there." if unpacked else ""
        return f"It is damaged, or was changed. Get it again, in {place}: {self._fetch}{over}"

    @property
    def _fetch(self) -> str:
        return "; ".join(f"curl -LO {url}" for url in self.urls)


class Files(Protocol):
    """The files of a data set, wherever they lie.

    `marker` is the one by which they were found; `again` is the next move where one of them is missing or damaged.
    """

    marker: str
    place: str
    again: str

    def names(self) -> Sequence[str]:
        """Return all names, with slashes, in the order in which they are read fastest."""

    def read(self, name: str) -> bytes:
        """Return what a file holds. Raises DataError."""

    def identity(self) -> list[Any]:
        """Return what changes when the files change, without reading them."""

    def require(self, listed: Listed) -> None:
        """Check, without reading all, that they are whole. Raises DataError."""


Listed = Callable[["Files"], Sequence[str]]  # reads what names the files of a data set, and returns their names


class Folder:
    """Files that lie unpacked."""

    def __init__(self, root: Path, marker: str, again: str = AGAIN) -> None:
        self.root, self.marker, self.place, self.again = root, marker, str(root), again

    def names(self) -> list[str]:
        """Return all names below the folder, sorted."""
        return [name for name, _ in self._listing]

    def read(self, name: str) -> bytes:
        """Return what a file holds. Raises DataError."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            raise DataError(f"{self.place}: {name} is missing", self.again) from None
        except OSError as error:
            raise DataError(f"{self.place}: {name} cannot be read: {error.strerror}", self.again) from None

    def identity(self) -> list[Any]:
        """Return every name with size and time of change."""
        return [self.place, [[name, facts.st_size, facts.st_mtime_ns] for name, facts in self._listing]]

    def require(self, listed: Listed) -> None:
        """Check that what `listed` reads can be read, and that the files it names are there. Raises DataError."""
        require_names(self, listed(self))

    @cached_property
    def _listing(self) -> list[tuple[str, os.stat_result]]:
        found = []
        for folder, _, names in os.walk(self.root):
            below = Path(folder).relative_to(self.root).as_posix()
            prefix = "" if below == "." else f"{below}/"
            found += [(prefix + name, (Path(folder) / name).stat()) for name in names]
        return sorted(found)


class Archive:
    """Files within a .zip or a tar that is compressed in any way; its MD5 is checked before anything in it is read."""

    def __init__(self, file: Path, source: Source, marker: str) -> None:
        self.file, self.source, self.marker, self.place = file, source, marker, str(file)
        self.again = source.again(file.parent)

    def names(self) -> list[str]:
        """Return the names of its plain files, in its own order, below the folder that holds the marker."""
        return list(self._members)

    def read(self, name: str) -> bytes:
        """Return what a file holds. Raises DataError."""
        member = self._members.get(name)
        if member is None:
            raise DataError(f"{self.place}: {name} is missing in it", self.again)
        size = member.size if isinstance(member, tarfile.TarInfo) else member.file_size
        if size > MAX_BYTES:
            what = f"{name} in it has {size} bytes, more than any file of this data set"
            raise DataError(f"{self.place}: {what}", self.again)
        try:
            if isinstance(self._opened, zipfile.ZipFile):
                return bytes(self._opened.read(member))
            return bytes(self._opened.extractfile(member).read())
        except BROKEN as error:
            raise DataError(f"{self.place}: {name} in it cannot be read: {error}", self.again) from None

    def identity(self) -> list[Any]:
        """Return its place, size and time of change."""
        facts = self.file.stat()
        return [self.place, facts.st_size, facts.st_mtime_ns]

    def require(self, listed: Listed) -> None:
        """Check its MD5, which tells that all is in it. Raises DataError."""
        require_md5(self.file, self.source)

    @cached_property
    def _opened(self) -> Any:
        require_md5(self.file, self.source)
        try:
            return zipfile.ZipFile(self.file) if self.file.suffix == ".zip" else tarfile.open(self.file)
        except BROKEN as error:
            raise self._unreadable(error) from None

    @cached_property
    def _members(self) -> dict[str, Any]:
        opened = self._opened  # what is wrong with it has been said there
        try:
            if isinstance(opened, zipfile.ZipFile):
                found = {each.filename: each for each in opened.infolist() if not each.is_dir()}
            else:
                found = {each.name: each for each in opened if each.isreg()}
        except BROKEN as error:
            raise self._unreadable(error) from None
        found = {name.removeprefix("./"): member for name, member in found.items()}
        inner = [name for name in found if f"/{name}".endswith(f"/{self.marker}")]
        if not inner:
            raise DataError(f"{self.place}: there is no {self.marker} in it", self.again)
        prefix = min(inner, key=len).removesuffix(self.marker)
        return {name.removeprefix(prefix): member for name, member in found.items() if name.startswith(prefix)}

    def _unreadable(self, error: Exception) -> DataError:
        return DataError(f"{self.place}: no archive that can be read: {' '.join(str(error).split())}", self.again)


def find(source: Source, data_dir: str | None) -> Files:
    """Return the files of a data set in a folder. Raises DataError: what is missing, where it was looked for, how to get it."""
    if data_dir is None:
        raise DataError(f"{source.name} is read from a folder of yours: --data DIR", source.hint)
    root = Path(data_dir)
    for marker in source.forms:
        for below in ("", "*/", "*/*/"):
            for found in sorted(root.glob(below + marker)):
                return Folder(found.parents[marker.count("/")], marker, source.again(root, unpacked=True))
    for marker, archive in source.forms.items():
        for found in sorted(root.glob(archive)) + sorted(root.glob(f"*/{archive}")) if archive else ():
            return Archive(found, source, marker)
    unpacked, packed = " or ".join(source.forms), " or ".join(filter(None, source.forms.values()))
    sought = f"{unpacked} there or up to two folders below" + (f", or {packed}" if packed else "")
    raise DataError(f"{data_dir}: no {source.name} here: looked for {sought}", source.hint)


def require_md5(file: Path, source: Source) -> None:
    """Raise DataError unless the file is the one that its makers publish."""
    again, wanted = source.again(file.parent), source.md5[file.name]
    try:
        facts = file.stat()
        found = _md5(file, facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}", again) from None
    if found != wanted:
        raise DataError(f"{file}: its MD5 is {found}, it must be {wanted}", again)


@cache
def _md5(file: Path, *unchanged: int) -> str:
    """The MD5 of a file, read once while size and time of change stay the same: gigabytes take seconds."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def require_names(files: Files, names: Sequence[str]) -> None:
    """Raise DataError for the first of these names that is not among the files."""
    there = set(files.names())
    missing = next((name for name in names if name not in there), None)
    if missing is not None:
        raise DataError(f"{files.place}: {missing} is missing", files.again)


def lines(files: Files, name: str) -> list[str]:
    """Return the lines of a text file that say something. Raises DataError."""
    try:
        text = files.read(name).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{files.place}: {name} is no text: {error.reason}", files.again) from None
    return [line.strip() for line in text.splitlines() if line.strip()]

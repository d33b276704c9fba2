"""A board's workdir seen through SFTP: listings, pieces of files, files written whole, transfers that can be cut."""

from __future__ import annotations

import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from harness.errors import DamagedError, DeviceError
from harness.transport.device import FOLDERS
from harness.transport.link import Link, Session

_CHUNK_BYTES = 2**18
_MOST_NAMES = 100_000  # of one folder

T = TypeVar("T")


class Workdir:
    """The folder that holds all the agent keeps; names are relative to it. All raise DeviceError."""

    def __init__(self, link: Link, place: str) -> None:
        self.link, self.place, self.device = link, place, link.name
        self._home: str | None = None

    def path(self, *names: str) -> str:
        """Return the absolute path of something in it; `~` is the home that the board itself names."""
        if not self.place.startswith("~"):
            return "/".join((self.place, *names))
        if self._home is None:
            self._home = self.link.ask("looking for the home folder", lambda session: session.home)
        return "/".join((self._home + self.place[1:], *names))

    def sizes(self, folder: str) -> dict[str, int]:
        """Return what a folder holds: names and sizes in bytes; nothing where it is not there."""

        def work(session: Session) -> dict[str, int]:
            found: dict[str, int] = {}
            for count, entry in enumerate(session.files.listdir_iter(path)):  # the same name may come again and again
                found[entry.filename] = entry.st_size or 0
                session.beat()
                if count >= _MOST_NAMES:
                    raise DeviceError(f"device {self.device}: {path} holds more than {_MOST_NAMES} names")
            return found

        path = self.path(folder)
        with suppress(FileNotFoundError):
            return self._ask(f"listing {path}", path, work)
        return {}

    def size(self, name: str) -> int:
        """Return the size of a file in bytes, -1 where it is not there."""
        path = self.path(name)
        with suppress(FileNotFoundError):
            return int(self._ask(f"looking at {path}", path, lambda session: session.files.stat(path)).st_size or 0)
        return -1

    def read(self, name: str, most: int, offset: int = 0) -> bytes | None:
        """Return at most `most` bytes of a file from `offset` on, None where it is not there."""

        def work(session: Session) -> bytes:
            if (session.files.stat(path).st_size or 0) <= offset:
                return b""
            data = bytearray()
            with session.files.open(path, "rb") as file:
                file.seek(offset)
                while len(data) < most and (chunk := file.read(min(_CHUNK_BYTES, most - len(data)))):
                    data += chunk
                    session.beat()
            return bytes(data[:most])

        path = self.path(name)
        with suppress(FileNotFoundError):
            return self._ask(f"reading {path}", path, work)
        return None

    def write(self, name: str, data: bytes, check: bool = False) -> None:
        """Write a file whole or not at all; with `check`, what was written is read back first."""

        def work(session: Session) -> None:
            with session.files.open(temporary, "wb") as file:
                file.set_pipelined(True)
                _pour(session, file, data)
            if session.files.stat(temporary).st_size != len(data):  # what went wrong on the way is not always told
                session.files.remove(temporary)
                raise OSError("not all of it was written")
            if check and self._read_back(session, temporary, len(data)) != data:
                raise DamagedError(f"device {self.device}: {path} reads back otherwise than it was written")
            session.files.posix_rename(temporary, path)

        path = self.path(name)
        folder, _, last = path.rpartition("/")
        temporary = f"{folder}/.tmp-{secrets.token_hex(4)}-{last}"  # two controllers write the same agent at once
        self._ask_in(folder, f"writing {path}", path, work)

    def send(self, source: Path, name: str) -> int:
        """Send a file, from where an earlier transfer was cut; return the bytes that really went."""
        sent = 0

        def work(session: Session) -> None:
            nonlocal sent
            there = _there(session, path, source.stat().st_size)
            with source.open("rb") as reader, session.files.open(path, "r+b" if there else "wb") as file:
                reader.seek(there)
                file.seek(there)
                file.set_pipelined(True)
                while chunk := reader.read(_CHUNK_BYTES):
                    _pour(session, file, chunk)
                    sent += len(chunk)

        path = self.path(name)
        self._ask_in(path.rpartition("/")[0], f"sending {path}", path, work)
        return sent

    # --- how ---------------------------------------------------------------------------------------------------------

    def _read_back(self, session: Session, path: str, size: int) -> bytes:
        with session.files.open(path, "rb") as file:
            return bytes(file.read(size + 1))

    def _ask_in(self, folder: str, what: str, path: str, work: Callable[[Session], None]) -> None:
        """Do what needs a folder; it, and the workdir's own, are made where they are not there."""
        try:
            self._ask(what, path, work)
        except FileNotFoundError:
            self._ask(f"making {folder}", folder, lambda session: self._make(session, folder))
            self._ask(what, path, work)

    def _make(self, session: Session, folder: str) -> None:
        above = self.path().rstrip("/").split("/")
        parents = ["/".join(above[: n + 1]) for n in range(1, len(above))]
        for path in (*parents, *(self.path(name) for name in FOLDERS), folder):
            if _is_folder(session, path):
                continue
            try:
                session.files.mkdir(path)
            except OSError:
                if not _is_folder(session, path):  # another controller was not faster
                    raise

    def _ask(self, what: str, path: str, work: Callable[[Session], T]) -> T:
        """Do something with files. Raises FileNotFoundError, and DeviceError for all else that the board refuses."""

        def explained(session: Session) -> T:
            with self._explained(session, path):
                return work(session)

        return self.link.ask(what, explained)

    @contextmanager
    def _explained(self, session: Session, path: str) -> Iterator[None]:
        """Turn what the board's file server refuses into a DeviceError; a lost link and a missing file pass as they are."""
        try:
            yield
        except (FileNotFoundError, TimeoutError, ConnectionError):
            raise
        except OSError as error:
            if not session.connection.is_connected:
                raise
            raise DeviceError(
                f"device {self.device}: {path}: {error.strerror or error}",
                "Is its disk full, or read-only? Make room, or give the device another `workdir` in the inventory.",
            ) from None


def _there(session: Session, path: str, size: int) -> int:
    """How many bytes of a file of `size` were sent before; a longer one is none of it."""
    with suppress(FileNotFoundError):
        there = int(session.files.stat(path).st_size or 0)
        return there if there <= size else 0
    return 0


def _pour(session: Session, file: Any, data: bytes) -> None:
    """Write piece by piece, so that whoever watches sees that something moves."""
    for start in range(0, len(data), _CHUNK_BYTES):
        file.write(data[start : start + _CHUNK_BYTES])
        session.beat()


def _is_folder(session: Session, path: str) -> bool:
    with suppress(FileNotFoundError):
        return stat.S_ISDIR(session.files.stat(path).st_mode or 0)
    return False

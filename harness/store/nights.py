"""Nights on disk: `results/nights/<night>.json`, one file a night, written whole after every row; and who is at work on them.

A night's name begins with the day (UTC) on which it began, as the clock told it then; their order is that of their numbers, for
clocks are wrong and set right. Nothing of them is ever thinned: they are the history.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import platform
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness import files
from harness.errors import StoreError
from harness.records.nights import Night
from harness.store.sound import require_sound
from harness.store.writing import reported, write

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = 1
FOLDER = "nights"
GO_ON = "nothing measured is lost: harness nightly goes on."


def save(results: Path, night: Night) -> None:
    """Write a night's file, whole or not at all. Raises StoreError."""
    tree = _adapter().dump_python(night, mode="json")
    data = json.dumps(tree, indent=1, allow_nan=False).encode() + b"\n"
    write(_file(results, night.night), data, GO_ON)


def load(file: Path) -> Night:
    """Read a night's file. Raises StoreError: damaged, or from a newer program."""
    from pydantic import ValidationError

    try:
        text = file.read_text(encoding="utf-8")
        schema = json.loads(text)["schema"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(file, str(error)) from None
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise StoreError(f"{file}: schema {schema!r}, this program reads up to {SCHEMA}", "Upgrade edge-harness.")
    try:
        night = _adapter().validate_json(text)
        require_sound(night, file.stem)
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(file, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ValueError as error:
        raise _damaged(file, str(error)) from None
    return night


@functools.cache
def _adapter() -> TypeAdapter[Night]:
    """Return what reads and writes a night; making it takes longer than using it."""
    from pydantic import TypeAdapter

    return TypeAdapter(Night)


def nights(results: Path) -> tuple[Night, ...]:
    """Return all nights, oldest first. Raises StoreError for one that cannot be read: a history has no silent gaps."""
    found = (load(file) for file in (results / FOLDER).glob("*.json"))
    return tuple(sorted(found, key=lambda night: (night.number, night.began, night.night)))


def new(results: Path, earlier: Sequence[Night], session: str, now: datetime) -> Night:
    """Begin a night behind all `earlier` ones, under a name that none has, and write its file. Raises StoreError."""
    began = now.astimezone(UTC)
    names = {night.night for night in earlier}
    name = f"{began:%Y-%m-%d}-{secrets.token_hex(2)}"
    while name in names:
        name = f"{began:%Y-%m-%d}-{secrets.token_hex(2)}"
    number = 1 + max((night.number for night in earlier), default=0)
    made = Night(SCHEMA, name, began.isoformat(timespec="seconds"), None, session=session, number=number)
    save(results, made)
    return made


@contextlib.contextmanager
def held(results: Path) -> Iterator[None]:
    """Hold all nights under `results`: one `harness nightly` at a time. Raises StoreError when another is at work."""
    folder = results / FOLDER
    with reported(folder, GO_ON):
        files.make(folder)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(handle, results)
        yield
    finally:
        os.close(handle)  # and whoever is killed lets go, too


def _lock(handle: int, results: Path) -> None:
    with reported(results, GO_ON):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.pread(handle, 200, 0).decode("ascii", "replace").strip() or "which did not say who it is"
            busy = f"{results}: another harness nightly is at work there ({who})"
            raise StoreError(busy, "Let it finish, or end it first: the next one goes on with its night.") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} of {platform.node()}\n".encode("ascii", "replace"), 0)


def _file(results: Path, name: str) -> Path:
    return results / FOLDER / f"{name}.json"


def _damaged(file: Path, how: str) -> StoreError:
    return StoreError(
        f"{file}: damaged: {how}", "Restore it, or move it away: the nights after it stand by themselves."
    )

"""A run that was made elsewhere, brought into `results/`: from an archive or a folder, which may hold anything.

    <results>/.tmp-<random>/run/<run id>/     where it is put and checked; nobody looks for runs there
    <results>/<device>/<run id>/              where one rename puts it then: all of it, or nothing

A run travels whole: what its MANIFEST does not name, or names and is not there, or is not as it says, is refused by name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness import files
from harness.errors import StoreError, UsageError
from harness.records import Run
from harness.store import archives, parts
from harness.store.writing import reported

MOST_BYTES = 8 * 2**30  # of one run: days of samples at 1 kHz are a tenth of it
MOST_FILES = 10_000
_MOST_RATIO = 200  # journals, the most repetitive of all, pack 20 to 1
_SMALL_BYTES = 16 * 2**20
_SPARE_BYTES = 64 * 2**20
_AGAIN = "Get it again from whoever made it."
_GO_ON = "nothing was imported: import it again."


@dataclass(frozen=True)
class Brought:
    """Where a run lies now; `new` where it was not there before."""

    folder: Path
    run: Run
    new: bool


def bring(source: Path, results: Path) -> Brought:
    """Bring the run of an archive or a folder into `results`, whole or not at all.

    A run that is there already, the same in all that was measured, stays as it is. Raises UsageError: nothing there.
    StoreError, WireError: not a run, damaged, not finished, from a newer program, another run of its name is there.
    """
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder", "Give what `harness archive` wrote, or a run's folder.")
    with reported(results, _GO_ON):
        results.mkdir(parents=True, exist_ok=True)
        _sweep(results)
        with _stage(results) as stage:
            place = stage / "run" / "it"
            place.mkdir(parents=True)
            (_from_folder if source.is_dir() else _from_zip)(source, place)
            run = parts.require_whole(place)
            return _settle(place, results / run.device / run.run, run)


def _settle(place: Path, target: Path, run: Run) -> Brought:
    """Rename a checked run to where it belongs, unless it is there already. Raises StoreError: another one is."""
    target.parent.mkdir(exist_ok=True)
    try:
        place.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        _require_same(place, target)
        return Brought(target, run, new=False)
    files.sync(target.parent)
    return Brought(target, run, new=True)


def _require_same(place: Path, target: Path) -> None:
    """Figures are left out: they can be drawn again, and then look otherwise."""
    ours, theirs = ({name for name in parts.names(each) if not name.startswith("plots/")} for each in (target, place))
    for name in sorted(ours | theirs):
        if name not in ours & theirs or archives.digest(target / name) != archives.digest(place / name):
            raise StoreError(
                f"{target}: a run of this name is there, and its {name} is another",
                "One of the two was edited or is damaged: import into another folder with --results, and compare them.",
            )


# --- a place to check in ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _stage(results: Path) -> Iterator[Path]:
    """Give a folder that is held while it is used, and gone after it."""
    stage, handle = _claimed(results)
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        os.close(handle)


def _claimed(results: Path) -> tuple[Path, int]:
    """A new folder and what holds it; another import may sweep it away before it is held, then it is made again."""
    while True:
        stage = results / f"{files.PREFIX}{secrets.token_hex(8)}"
        stage.mkdir()
        try:
            handle = os.open(stage, os.O_RDONLY)
        except FileNotFoundError:
            continue
        fcntl.flock(handle, fcntl.LOCK_EX)
        if stage.exists():
            return stage, handle
        os.close(handle)


def _sweep(results: Path) -> None:
    """Remove what killed imports left: stages that nobody holds."""
    for stage in results.glob(f"{files.PREFIX}*"):
        with contextlib.suppress(OSError):
            handle = os.open(stage, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(stage, ignore_errors=True)
            finally:
                os.close(handle)


def _require_room(source: Path, count: int, total: int, place: Path) -> None:
    if count > MOST_FILES or total > MOST_BYTES:
        raise StoreError(
            f"{source}: {count} files of {total / 2**30:.1f} GiB; a run has at most {MOST_FILES} and {MOST_BYTES >> 30} GiB",
            _AGAIN,
        )
    free = shutil.disk_usage(place).free
    if free < total + _SPARE_BYTES:
        raise StoreError(
            f"{source}: {total / 2**20:.0f} MiB, and {free / 2**20:.0f} MiB are free where results are kept",
            "Free some space, or give another folder with --results.",
        )


def take(stream: IO[bytes], target: Path, size: int) -> None:
    """Write what `stream` gives to a new file, durably; more than `size` bytes are refused with a ValueError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    left = size
    with target.open("xb") as file:
        while chunk := stream.read(archives.CHUNK):
            left -= len(chunk)
            if left < 0:
                raise ValueError(f"more than the {size} bytes that it says")
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    if left:
        raise ValueError(f"{left} bytes short of the {size} that it says")


# --- from a folder ------------------------------------------------------------------------------------------------


def _from_folder(source: Path, place: Path) -> None:
    """Copy a run's folder; an unpacked archive is checked by its MANIFEST."""
    names = parts.names(source)
    if "run.json" not in names:
        raise StoreError(f"{source}: not a run's folder: it has no run.json", "Give one of results/<device>/.")
    _require_room(source, len(names), sum((source / name).stat().st_size for name in names), place)
    for name in names:
        with (source / name).open("rb") as stream, blaming(str(source / name)):
            take(stream, place / name, (source / name).stat().st_size)
    listed = source / archives.MANIFEST
    if listed.is_file():
        require_listed(archives.read_manifest(listed.read_bytes(), str(listed)), place, str(source))


def require_listed(sums: dict[str, str], place: Path, source: str) -> None:
    """Check the files of a run at `place` against a MANIFEST. Raises StoreError naming the first that differs."""
    wanted, there = {name for name in sums if parts.is_part(name)}, set(parts.names(place))
    for name in sorted(wanted | there):
        if name not in there:
            raise StoreError(f"{source}: {name} is missing, and its MANIFEST names it", _AGAIN)
        if name not in wanted:
            raise StoreError(f"{source}: {name} is not in its MANIFEST", _AGAIN)
        if archives.digest(place / name) != sums[name]:
            raise StoreError(f"{source}: {name} was edited or is damaged: its SHA-256 is not that of MANIFEST", _AGAIN)


# --- from an archive ----------------------------------------------------------------------------------------------


def _from_zip(source: Path, place: Path) -> None:
    """Unpack an archive; what is neither a run's file nor about it is refused before anything is written."""
    with contextlib.ExitStack() as stack:
        with blaming(str(source)):
            archive = stack.enter_context(zipfile.ZipFile(source))
        entries = _entries(archive, source)
        _require_room(source, len(entries), sum(entry.file_size for entry in entries.values()), place)
        for name, entry in entries.items():
            where = place / name if parts.is_part(name) else place.parent / name
            with blaming(f"{source}: {name}"), archive.open(entry) as stream:
                take(stream, where, entry.file_size)
    about = {name: place.parent / name for name in (archives.MANIFEST, *archives.ABOUT)}
    if archives.MANIFEST not in entries:
        raise StoreError(f"{source}: not an archive of a run: it has no MANIFEST", "Give what `harness archive` wrote.")
    sums = archives.read_manifest(about[archives.MANIFEST].read_bytes(), f"{source}: MANIFEST")
    for name in archives.ABOUT:
        if (name in sums) != (name in entries) or (name in sums and archives.digest(about[name]) != sums[name]):
            raise StoreError(f"{source}: {name} was edited or is damaged: it is not as MANIFEST says", _AGAIN)
    require_listed(sums, place, str(source))


def _entries(archive: zipfile.ZipFile, source: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by their names in the run's folder. Raises StoreError for any that is not a plain part of a run."""
    found: dict[str, zipfile.ZipInfo] = {}
    tops = set()
    for entry in archive.infolist():
        top, _, name = entry.orig_filename.partition("/")
        if entry.is_dir() and entry.file_size == 0:  # what is needed is made anyway
            continue
        tops.add(top)
        regular = stat.S_IFMT(entry.external_attr >> 16) in (0, stat.S_IFREG)
        if not regular or not (parts.is_part(name) or name in (archives.MANIFEST, *archives.ABOUT)):
            raise StoreError(f"{source}: {entry.orig_filename!r} is not a file of a run", "Nothing was unpacked.")
        if name in found or len(tops) > 1:
            raise StoreError(f"{source}: {entry.orig_filename!r}: is there twice, or of a second run", _AGAIN)
        if entry.file_size > (
            max(_SMALL_BYTES, _MOST_RATIO * entry.compress_size) if parts.is_part(name) else _SMALL_BYTES
        ):
            sizes = f"{entry.file_size / 2**20:.0f} MiB packed into {entry.compress_size / 2**20:.2f}"
            raise StoreError(f"{source}: {name} is {sizes}: no measurement is", "Nothing was unpacked.")
        found[name] = entry
    return found


@contextlib.contextmanager
def blaming(what: str) -> Iterator[None]:
    """Turn what foreign bytes make of their reader into a StoreError about `what`."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        struct.error,
    ) as error:
        raise StoreError(f"{what}: damaged or no archive: {error}", _AGAIN) from None

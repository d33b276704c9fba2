"""Finished runs on another machine or in an object store, by URL: `s3://bucket/runs`, `file:///mnt/lab/runs`, `memory://`.

    <url>/<device>/<run id>/     the run's files, MANIFEST, and run.json last: who sees it sees a whole run

S3 is spoken by pyarrow (credentials, region and AWS_ENDPOINT_URL from the environment, as AWS's own tools read them), all else
by fsspec. Nothing is ever changed or removed there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import cache
from harness.errors import StoreError, UsageError
from harness.records import Run
from harness.store import archives, incoming, parts
from harness.store.places import held

_LAST = "run.json"
_WHOLE_AT_ONCE = ("s3", "gs", "gcs", "abfs", "az", "memory")  # an object is there when all of it is
_RETRY = "What was copied is kept: say it again to go on."


def is_url(word: str) -> bool:
    """Whether a word is a URL and no path."""
    return "://" in word


def require_spoken(url: str) -> None:
    """Raise UsageError for what is no URL, or one that nothing here speaks. Nobody is asked whether it is there."""
    if not is_url(url):
        raise UsageError(f"{url}: is no URL", "Give s3://BUCKET/runs, file:///FOLDER, or another that fsspec speaks.")
    with _reached(url):
        pass


def copy(folder: Path, url: str) -> str:
    """Copy a finished run below `url` and return its URL there; what is there already is not sent again.

    Raises UsageError: nobody speaks this URL. StoreError, WireError: not finished, damaged, cannot be written, another run of
    its name is there.
    """
    with held(folder):
        run = parts.require_whole(folder)
        target = f"{url.rstrip('/')}/{run.device}/{run.run}"
        with _reached(target) as (system, place):
            _copy(folder, run, system, place, target)
    return target


def fetch(url: str) -> Path:
    """Return a local copy, in the cache, of the run at `url`, or of the newest below it. Raises UsageError, StoreError."""
    with _reached(url) as (system, place):
        if not system.isfile(f"{place}/{_LAST}"):
            found = sorted(system.glob(f"{place}/*/*/{_LAST}"), key=lambda name: name.split("/")[-2])
            if not found:
                raise StoreError(f"{url}: no runs there", "Copy one there: harness archive RUN --to URL")
            place = posixpath.dirname(found[-1])
        record = _bytes(system, f"{place}/{_LAST}")
        key = hashlib.sha256(url.encode() + b"\0" + place.encode() + b"\0" + record).hexdigest()
        known = cache.get("fetched", key)
        if known is None:
            with cache.put("fetched", key) as stage:
                _fetch(system, place, stage, url)
            known = cache.get("fetched", key)
    if known is None:
        raise StoreError(f"the cache dropped what was just fetched from {url}", "Give it more room: HARNESS_CACHE_GB.")
    return known


def _copy(folder: Path, run: Run, system: Any, place: str, target: str) -> None:
    names = parts.names(folder)
    data = (folder / _LAST).read_bytes()
    if system.isfile(f"{place}/{_LAST}") and _bytes(system, f"{place}/{_LAST}") != data:
        raise StoreError(f"{target}: another run of this name is there", "Give another URL.")
    system.makedirs(place, exist_ok=True)
    for name in (each for each in names if each != _LAST):
        _put(system, folder / name, f"{place}/{name}")
    sums = archives.manifest({name: archives.digest(folder / name) for name in names})
    _write(system, f"{place}/{archives.MANIFEST}", sums)
    for name in (each for each in names if each != _LAST):
        _require_size(system, f"{place}/{name}", (folder / name).stat().st_size)
    _write(system, f"{place}/{_LAST}", data)
    _require_size(system, f"{place}/{_LAST}", len(data))


def _put(system: Any, file: Path, path: str) -> None:
    """Send a file, unless it is there: as many bytes, for what is written at once or renamed is never torn."""
    if system.isfile(path) and system.size(path) == file.stat().st_size:
        return
    system.makedirs(posixpath.dirname(path), exist_ok=True)
    with _renamed(system, path) as temporary, file.open("rb") as source, system.open(temporary, "wb") as sink:
        shutil.copyfileobj(source, sink, archives.CHUNK)


def _write(system: Any, path: str, data: bytes) -> None:
    with _renamed(system, path) as temporary, system.open(temporary, "wb") as sink:
        sink.write(data)


@contextlib.contextmanager
def _renamed(system: Any, path: str) -> Iterator[str]:
    """Give a path to write, which becomes `path` when it is whole."""
    protocols = system.protocol if isinstance(system.protocol, tuple) else (system.protocol,)
    if any(each in _WHOLE_AT_ONCE for each in protocols):
        yield path
        return
    temporary = f"{posixpath.dirname(path)}/.tmp-{posixpath.basename(path)}"
    yield temporary
    system.mv(temporary, path)


def _require_size(system: Any, path: str, size: int) -> None:
    there = system.size(path)
    if there != size:
        raise StoreError(f"{path}: has {there} bytes there, {size} here", "Remove it there, and copy the run again.")


def _fetch(system: Any, place: str, stage: Path, url: str) -> None:
    """Bring a run's files and check them by their MANIFEST; names and sizes are what a foreign machine says."""
    listed = archives.read_manifest(_bytes(system, f"{place}/{archives.MANIFEST}"), f"{url}: MANIFEST")
    if len(listed) > incoming.MOST_FILES:
        raise StoreError(f"{url}: has {len(listed)} files; a run has at most {incoming.MOST_FILES}", "It is no run.")
    sizes = {name: int(system.size(f"{place}/{name}")) for name in listed if parts.is_part(name)}
    if sum(sizes.values()) > incoming.MOST_BYTES:
        raise StoreError(f"{url}: is larger than {incoming.MOST_BYTES >> 30} GiB", "It is no run.")
    for name, size in sizes.items():
        with incoming.blaming(f"{url}: {name}"), system.open(f"{place}/{name}", "rb") as stream:
            incoming.take(stream, stage / name, size)
    incoming.require_listed(listed, stage, url)


def _bytes(system: Any, path: str) -> bytes:
    with system.open(path, "rb") as stream:
        return bytes(stream.read(256 * 2**20))


@contextlib.contextmanager
def _reached(url: str) -> Iterator[tuple[Any, str]]:
    """Give what speaks a URL, and the path there. Whatever it raises is a StoreError about the URL."""
    import fsspec

    try:
        system, place = _s3(url) if url.startswith("s3://") else fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise UsageError(
            f"{url}: cannot be reached: {error}", "Give s3://, file:// or what fsspec can speak here."
        ) from None
    try:
        yield system, str(place).rstrip("/")
    except (OSError, NotImplementedError) as error:
        raise StoreError(f"{url}: {error or type(error).__name__}", _RETRY) from None


def _s3(url: str) -> tuple[Any, str]:
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import S3FileSystem

    scheme, found, host = os.environ.get("AWS_ENDPOINT_URL", "").rpartition("://")
    where = {"endpoint_override": host, "scheme": scheme} if found else {}  # pyarrow does not read it by itself
    return ArrowFSWrapper(S3FileSystem(**where)), url.removeprefix("s3://")

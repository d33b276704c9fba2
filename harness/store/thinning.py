"""Raw samples of a run given up for good: what stays is its record, its medians per process, and where all of it came from.

    thinned.json        when, by which program and analysis, and what was removed: sizes and SHA-256 by name
    medians.parquet     a row per process: case_id, block, replicate, attempt, inferences, mean, median, tails, extremes, valid

The mark is what decides. It is written, whole or not at all, when everything else that stays is on the disk, and only then
is anything removed: whatever is killed, a run has all of its raw samples, or says that it was thinned. What a killed process
left over behind the mark goes the next time. Of a thinned run nothing is computed anew: `require_raw` refuses it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import __version__, files, tables
from harness.errors import StoreError
from harness.store.writing import reported, write

SCHEMA = 1
MARK, MEDIANS = "thinned.json", "medians.parquet"
_RAW = ("samples.parquet", "power.parquet", "jobs/*/events.jsonl", "jobs/*/meters.jsonl")
_GO_ON = "the run is as it was."


@dataclass(frozen=True)
class Mark:
    """When a run was thinned (UTC, ISO 8601), by which program and analysis, and what went: size and SHA-256 by name."""

    schema: int
    at: str
    program: str
    analysis_version: int
    removed: Mapping[str, Mapping[str, Any]]


def thinned(folder: Path) -> Mark | None:
    """Return the mark of a thinned run; None: it has all that it was stored with. Raises StoreError: damaged, newer."""
    file = folder / MARK
    if not file.exists():
        return None
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        if tree["schema"] > SCHEMA:
            raise StoreError(
                f"{file}: schema {tree['schema']!r}, this program reads up to {SCHEMA}", "Upgrade edge-harness."
            )
        return Mark(**tree)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{file}: damaged: {error}", "The run's record, beside it, may still be whole.") from None


def require_raw(folder: Path) -> None:
    """Raise StoreError where a run's raw samples were given up."""
    if (mark := thinned(folder)) is not None:
        raise StoreError(
            f"{folder}: its raw samples were thinned on {mark.at[:10]}: nothing can be computed from them any more",
            "`harness show` shows what was computed before. An archive of the run, made before, still has them.",
        )


def raw(folder: Path) -> tuple[str, ...]:
    """Return the files of a run that thinning removes and that are there, relative to its folder, sorted."""
    found = (path for pattern in _RAW for path in folder.glob(pattern) if path.is_file() and not path.is_symlink())
    return tuple(sorted(path.relative_to(folder).as_posix() for path in found))


def thin(folder: Path, at: str, analysis_version: int) -> int:
    """Give up the raw samples of a run that the caller holds and found whole; return how many bytes went.

    Raises StoreError: cannot be written, and then the run is as it was. A run that was thinned before loses what was left over.
    """
    if thinned(folder) is None:
        _keep_medians(folder)
        mark = Mark(SCHEMA, at, __version__, analysis_version, {name: _told(folder / name) for name in raw(folder)})
        write(folder / MARK, json.dumps(asdict(mark), indent=1).encode() + b"\n", _GO_ON)
    return _remove(folder)


def _keep_medians(folder: Path) -> None:
    import pandas as pd

    with reported(folder / MEDIANS, _GO_ON):
        samples = pd.read_parquet(folder / "samples.parquet", page_checksum_verification=True)
    data = tables.medians(samples).to_parquet(index=False, write_page_checksum=True)
    write(folder / MEDIANS, data, _GO_ON)


def _told(file: Path) -> dict[str, Any]:
    with reported(file, _GO_ON), file.open("rb") as stream:
        return {
            "size_bytes": os.fstat(stream.fileno()).st_size,
            "sha256": hashlib.file_digest(stream, "sha256").hexdigest(),
        }


def _remove(folder: Path) -> int:
    gone = 0
    for left in folder.glob(
        f"{files.PREFIX}*"
    ):  # by a process that was killed while it wrote: the caller holds the run
        with reported(left, "say it again."):
            left.unlink(missing_ok=True)
    for name in raw(folder):
        with reported(folder / name, "say it again."):
            size = (folder / name).stat().st_size
            (folder / name).unlink()
            files.sync((folder / name).parent)
        gone += size
    return gone

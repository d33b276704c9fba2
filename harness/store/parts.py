"""What a run's folder is made of, and whether all of it is there and can be read: asked before a run travels, and after."""

from __future__ import annotations

import os
import re
from pathlib import Path

from harness import tables
from harness.errors import StoreError
from harness.records import Run
from harness.store.journals import job_folder, measured
from harness.store.meters import all_meters
from harness.store.runs import load

_PLAIN = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}"
_PART = re.compile(rf"run\.json|{_PLAIN}\.parquet|jobs/{_PLAIN}/{_PLAIN}|plots/{_PLAIN}")
_MOST_ROWS = 500_000_000
_ALWAYS = ("samples", "state")  # tables that a run of any version has


def is_part(name: str) -> bool:
    """Whether a run may have a file of this name, relative to its folder: plain names, no way out of it."""
    return _PART.fullmatch(name) is not None


def names(folder: Path) -> tuple[str, ...]:
    """Return the files of a run, relative to its folder, sorted; what else lies there is not the run's.

    Raises StoreError for a link: what it points at is not the run's, and may be anything.
    """
    found = []
    for where, inside, files in os.walk(folder):
        for name in (*inside, *files):
            path = Path(where) / name
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink() and (is_part(relative) or relative.partition("/")[0] in ("jobs", "plots")):
                raise StoreError(f"{path}: is a link; a run has its own files", "Put there what it points at.")
            if is_part(relative) and path.is_file():
                found.append(relative)
    return tuple(sorted(found))


def require_whole(folder: Path) -> Run:
    """Return the record of a run that is done and whose every part can be read, else raise what names the part.

    Raises StoreError (a record, a table) and WireError (a job, a journal, a reply), each with the file.
    """
    run = load(folder)
    if run.status != "done":
        raise StoreError(
            f"run {run.run} is not finished: its status is {run.status}",
            f"Finish it where it was made: harness run --resume {run.run}. `harness show` shows it as it is.",
        )
    jobs, journals, replies = measured(folder, run.plan.runtimes)
    for record in run.jobs:
        job, reply = jobs.get(record.runtime), replies.get(record.runtime)
        if job is None or reply is None:
            missing = job_folder(folder, record.runtime) / ("job.json" if job is None else "reply.json")
            raise StoreError(f"{missing}: is not there, and run.json tells of this job", "Get the whole run.")
        said, there = reply.events, len(journals[record.runtime])
        if said != there:
            journal = job_folder(folder, record.runtime) / "events.jsonl"
            raise StoreError(f"{journal}: has {there} events, the reply counts {said}", "Get the whole run.")
    all_meters(folder, run.plan.runtimes)
    _require_tables(folder, len(tables.samples(tuple(journals.values()))))
    return run


def _require_tables(folder: Path, samples: int) -> None:
    """Read every Parquet file to its end; the samples must be as many as the journals have."""
    import pyarrow as pa

    rows = {}
    for file in (*(folder / f"{name}.parquet" for name in _ALWAYS), *sorted(folder.glob("*.parquet"))):
        try:
            rows[file.stem] = _rows(file)
        except (OSError, ValueError, pa.ArrowException) as error:
            first = str(error).partition("\n")[0]
            raise StoreError(f"{file}: cannot be read: {first}", "Get the whole run.") from None
    if rows["samples"] != samples:
        raise StoreError(
            f"{folder / 'samples.parquet'}: has {rows['samples']} rows, the journals have {samples} samples",
            "Get the whole run.",
        )


def _rows(file: Path) -> int:
    """Read a Parquet file a piece at a time and count its rows. Raises OSError, ValueError and Arrow's own."""
    from pyarrow import parquet

    with parquet.ParquetFile(file, page_checksum_verification=True) as opened:
        said = int(opened.metadata.num_rows)
        if said > _MOST_ROWS:  # a few bytes can say a trillion times the same
            raise ValueError(f"{said} rows; a run's table has at most {_MOST_ROWS}")
        return sum(len(batch) for batch in opened.iter_batches())

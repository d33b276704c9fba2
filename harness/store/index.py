"""The index over runs: one Parquet file with a row per case of all runs under a folder of results. Never needed, only faster.

    $XDG_CACHE_HOME/edge-harness/index/<key of the results' folder>/cases-<version>.<schema of run.json>.parquet

It lies in the cache and not beside the runs: `show` never writes into results, which may be read-only, shared or far away,
and what can be made again is what a cache is for. Each row carries the mark of the run.json that it was read from
(times and size); runs without a mark or with another one are read again, and those that are gone leave. A run without
cases, and one that cannot be read (then with the reason), has a single row without a position.

It is written whole or not at all: of several writers the last wins, and what it did not know is read again next time. A
missing, damaged or foreign file, and one of another version, which has another name, counts as an empty one. Where the
cache cannot be written the index is made for this once. Runs are indexed as they are stored: one whose analysis is older than
the program is not analysed anew for a list (`harness show RUN` does).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import cache, files
from harness.errors import StoreError
from harness.records import digest
from harness.store import runs
from harness.store.columns import COLUMNS, Type, rows
from harness.store.places import folders

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

VERSION = 1  # counted up whenever rows or columns change
TABLE = "indexed"
_OWN: Mapping[str, Type] = {"position": "integer", "mark": "text", "damaged": "text"}
_ALL = {**COLUMNS, **_OWN}
_SQL = {"text": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "flag": "BOOLEAN", "time": "TIMESTAMP"}
_STALE_S = 24 * 3600.0

Marks = Mapping[str, str]
Told = Callable[[int], None]


def load_into(connection: duckdb.DuckDBPyConnection, results: Path, told: Told | None = None) -> None:
    """Make the table `indexed` of all runs under `results`, as they are now; `told` hears how many have to be read.

    Rows lie in the order of runs, oldest first, and of their cases.
    """
    found = marks(results)
    file = place(results)
    if _read(connection, file) and _known(connection) == found:
        return
    table = _renewed(connection, results, found, told)
    with contextlib.suppress(OSError):  # then it is made again next time
        _write(file, table)
    connection.register("fresh", table)
    connection.execute(f"CREATE OR REPLACE TABLE {TABLE} AS SELECT * FROM fresh")
    connection.unregister("fresh")


def place(results: Path) -> Path:
    """Return where the index of a folder of results lies, or would."""
    key = digest(os.fsencode(results.resolve()).hex())[:16]
    return cache.root() / "index" / key / f"cases-{VERSION}.{runs.SCHEMA}.parquet"


def marks(results: Path) -> dict[str, str]:
    """Return the folders of all runs (`device/run`), oldest first, each with what changes whenever its run.json does."""
    found = {}
    for folder in folders(results):
        with contextlib.suppress(OSError):  # removed meanwhile
            status = (folder / "run.json").stat()
            # A changed file whose time of change was put back still has another time of its own.
            found[_named(folder, results)] = f"{status.st_mtime_ns} {status.st_ctime_ns} {status.st_size}"
    return found


def _named(folder: Path, results: Path) -> str:
    """A run's folder as text; a name may hold bytes that are none."""
    return os.fsencode(folder.relative_to(results).as_posix()).decode("utf-8", "backslashreplace")


def _read(connection: duckdb.DuckDBPyConnection, file: Path) -> bool:
    """Fill the table from the index's file; False where there is none that can be used."""
    import duckdb

    if not file.is_file():
        return False
    try:
        connection.execute(f"CREATE OR REPLACE TABLE {TABLE} AS SELECT * FROM read_parquet($1)", [str(file)])
    except duckdb.Error:
        return False
    described = connection.execute(f"DESCRIBE {TABLE}").fetchall()
    return {name: kind for name, kind, *_ in described} == {name: _SQL[kind] for name, kind in _ALL.items()}


def _known(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    return dict(connection.execute(f"SELECT DISTINCT folder, mark FROM {TABLE}").fetchall())


def _renewed(connection: duckdb.DuckDBPyConnection, results: Path, found: Marks, told: Told | None) -> pa.Table:
    """The index as it should be: rows of runs that are as they were, and of all others read now."""
    import pyarrow as pa

    old = _kept(place(results), found)
    have = set(old.column("folder").unique().to_pylist())
    missing = [folder for folder in folders(results) if _named(folder, results) in found.keys() - have]
    if told is not None:
        told(len(missing))
    fresh = (_table(folder, _named(folder, results), found) for folder in missing)
    whole = pa.concat_tables([old, *(table for table in fresh if table is not None)])
    return whole.sort_by([("run", "ascending"), ("folder", "ascending"), ("position", "ascending")])


def _kept(file: Path, found: Marks) -> pa.Table:
    """The rows of the index's file whose run is as it was."""
    import pyarrow as pa
    from pyarrow import parquet

    empty = pa.Table.from_pylist([], schema=_schema())
    try:
        with parquet.ParquetFile(file) as opened:
            old = opened.read()
        if old.schema != _schema():
            return empty
        known = zip(old.column("folder").to_pylist(), old.column("mark").to_pylist(), strict=True)
        return old.filter(pa.array([found.get(folder) == mark for folder, mark in known], pa.bool_()))
    except (OSError, ValueError):  # it is not there, or not ours
        return empty


def _table(folder: Path, name: str, found: Marks) -> pa.Table | None:
    """A run's rows; of one that cannot be read a single one with the reason; None: it is gone."""
    import pyarrow as pa

    single = {"run": folder.name, "folder": name, "device": folder.parent.name, "mark": found[name]}
    try:
        told = [{**row, "mark": found[name], "position": at} for at, row in enumerate(rows(runs.load(folder), name))]
        return pa.Table.from_pylist(told or [single], schema=_schema())
    except StoreError as error:
        reason = error.message
    # What no number of ours is: 10 to the 30th as a depth, `created` without a date, brackets without an end.
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        reason = f"{folder / 'run.json'}: damaged: {error}"
    if not (folder / "run.json").exists():
        return None
    return pa.Table.from_pylist([{**single, "damaged": _utf8(reason)}], schema=_schema())


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _schema() -> pa.Schema:
    import pyarrow as pa

    types: dict[Type, Any] = {
        "text": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "flag": pa.bool_(),
        "time": pa.timestamp("us"),
    }
    return pa.schema([(name, types[kind]) for name, kind in _ALL.items()])


def _write(file: Path, table: pa.Table) -> None:
    """Write the index, whole or not at all. Raises OSError."""
    from pyarrow import parquet

    file.parent.mkdir(parents=True, exist_ok=True)
    for left in file.parent.glob(f"{files.PREFIX}*"):  # by a process that was killed while it wrote
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_S:
                left.unlink()
    with files.replacing(file) as temporary:
        parquet.write_table(table, temporary, compression="zstd")

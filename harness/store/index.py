"""The index over runs: one Parquet file with a row per case of all runs under a folder of results. Never needed, only faster.

    $XDG_CACHE_HOME/edge-harness/index/<key of the results' folder>/cases-<version>.<schema of run.json>.parquet

It lies in the cache and not beside the runs: `show` never writes into results, which may be read-only, shared or far away,
and what can be made again is what a cache is for. Each row carries the mark of the run.json that it was read from
(times and size); runs without a mark or with another one are read again, and those that are gone leave. A run without
cases, and one that cannot be read (then with the reason), has a single row without a position.

It is written whole or not at all, with its own SHA-256 inside: of several writers the last wins, and what it did not know is
read again next time. A missing, damaged or foreign file, and one of another version, which has another name, counts as an
empty one. Where the cache cannot be written the index is made for this once. A look decodes only the columns that it asks
for, of the bytes that it checked, whatever becomes of the file meanwhile. Runs are indexed as they are stored: one whose
analysis is older than the program is not analysed anew for a list (`harness show RUN` does).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import cache, files
from harness.errors import StoreError
from harness.records import digest
from harness.store import runs
from harness.store.columns import COLUMNS, Row, Type, rows
from harness.store.places import folders

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

VERSION = 2  # counted up whenever rows or columns change
TABLE = "indexed"
_OWN: Mapping[str, Type] = {"position": "integer", "mark": "text", "damaged": "text"}
_ALL = {**COLUMNS, **_OWN}
_SQL = {"text": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "flag": "BOOLEAN", "time": "TIMESTAMP"}
_STALE_S = 24 * 3600.0
_SEAL = b"sha256:"
_BLANK = _SEAL + b"0" * 64  # where the SHA-256 stands, and what is there while it is computed

Marks = Mapping[str, str]
Told = Callable[[int], None]


@contextlib.contextmanager
def looked_at(connection: duckdb.DuckDBPyConnection, results: Path, told: Told | None = None) -> Iterator[None]:
    """Meanwhile `connection` has `indexed`: all runs under `results`, as they are now; `told` hears how many have to be read.

    Rows lie in the order of runs, oldest first, and of their cases.
    """
    found = marks(results)
    file = place(results)
    data = _read(file)
    with contextlib.ExitStack() as stack:
        if not _shown(connection, data, found, stack):
            table = _renewed(data, results, found, told)
            data = _encoded(table)
            with contextlib.suppress(OSError):  # then it is made again next time
                _write(file, data)
            if not _shown(connection, data, found, stack):  # nowhere to put it: no space for temporary files
                _copied(connection, table)
        yield


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


def _read(file: Path) -> bytes:
    """The bytes of the index; none where it is not there, or not as it was written."""
    with contextlib.suppress(OSError):
        data = file.read_bytes()
        return data if _is_whole(data) else b""
    return b""


def _shown(connection: duckdb.DuckDBPyConnection, data: bytes, found: Marks, stack: contextlib.ExitStack) -> bool:
    """Show the bytes of an index as `indexed`, until `stack` ends; False where they cannot be, or are of other runs."""
    import duckdb

    if not data:
        return False
    try:
        # A file without a name, which DuckDB may read and nothing else: one with a name may be replaced between two queries.
        stream = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        stream.write(data)
        stream.flush()
        path = f"/dev/fd/{stream.fileno()}"
        connection.execute(f"SET allowed_paths = ['{path}']")
        connection.execute(f"CREATE OR REPLACE VIEW {TABLE} AS SELECT * FROM read_parquet('{path}')")
        described = connection.execute(f"DESCRIBE {TABLE}").fetchall()
        ours = {name: kind for name, kind, *_ in described} == {name: _SQL[kind] for name, kind in _ALL.items()}
        return ours and _known(connection) == found
    except (OSError, duckdb.Error):
        return False


def _copied(connection: duckdb.DuckDBPyConnection, table: pa.Table) -> None:
    """Show a table as `indexed`."""
    connection.execute(f"DROP VIEW IF EXISTS {TABLE}")
    connection.register("fresh", table)
    connection.execute(f"CREATE TABLE {TABLE} AS SELECT * FROM fresh")
    connection.unregister("fresh")


def _known(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    return dict(connection.execute(f"SELECT DISTINCT folder, mark FROM {TABLE}").fetchall())


def _renewed(data: bytes, results: Path, found: Marks, told: Told | None) -> pa.Table:
    """The index as it should be: rows of runs that are as they were, and of all others read now."""
    import pyarrow as pa

    old = _kept(data, found)
    have = set(old.column("folder").unique().to_pylist())
    missing = [folder for folder in folders(results) if _named(folder, results) in found.keys() - have]
    if told is not None:
        told(len(missing))
    fresh = (_table(folder, _named(folder, results), found) for folder in missing)
    whole = pa.concat_tables([old, *(table for table in fresh if table is not None)])
    return _in_order(whole) if len(old) else whole  # folders come in order, and ordering takes memory


def _in_order(table: pa.Table) -> pa.Table:
    """The rows by run, folder and position."""
    import pyarrow as pa
    from pyarrow import compute

    keys = {name: table.column(name).cast(pa.string()) for name in ("run", "folder")}
    keys["position"] = table.column("position")
    order = compute.sort_indices(pa.table(keys), sort_keys=[(name, "ascending") for name in keys])
    return table.unify_dictionaries().take(order)


def _kept(data: bytes, found: Marks) -> pa.Table:
    """The rows of an index whose run is as it was."""
    import pyarrow as pa
    from pyarrow import compute, parquet

    empty = _schema().empty_table()
    try:
        old = parquet.ParquetFile(pa.BufferReader(data)).read()
    except (OSError, ValueError):  # it is not there
        return empty
    if old.schema != _schema() or not found:
        return empty
    folder, mark = (old.column(name).cast(pa.string()) for name in ("folder", "mark"))
    known = compute.binary_join_element_wise(folder, mark, "\0")
    wanted = [{"known": f"{folder}\0{mark}"} for folder, mark in found.items()]
    same = _arrow(wanted, pa.schema([("known", pa.string())])).column("known")
    return old.filter(compute.is_in(known, value_set=same.combine_chunks()))


def _table(folder: Path, name: str, found: Marks) -> pa.Table | None:
    """A run's rows; of one that cannot be read a single one with the reason; None: it is gone."""
    single = {"run": folder.name, "folder": name, "device": folder.parent.name, "mark": found[name]}
    try:
        told = [{**row, "mark": found[name], "position": at} for at, row in enumerate(rows(runs.load(folder), name))]
        return _arrow(told or [single], _schema())
    except StoreError as error:
        reason = error.message
    # What no number of ours is: 10 to the 30th as a depth, `created` without a date, brackets without an end.
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        reason = f"{folder / 'run.json'}: damaged: {error}"
    if not (folder / "run.json").exists():
        return None
    return _arrow([{key: _utf8(text) for key, text in {**single, "damaged": reason}.items()}], _schema())


def _arrow(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Rows as a table. Through JSON: Arrow asks for pandas where it is given lists, which takes longer than all else here."""
    import pyarrow as pa
    from pyarrow import json as reader

    lines = "".join(f"{json.dumps(row, default=datetime.isoformat, allow_nan=False)}\n" for row in rows).encode()
    plain = [each.with_type(pa.string()) if pa.types.is_dictionary(each.type) else each for each in schema]
    read = reader.read_json(
        pa.BufferReader(lines),
        read_options=reader.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=reader.ParseOptions(explicit_schema=pa.schema(plain), unexpected_field_behavior="error"),
    )
    return read.cast(schema)


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _schema() -> pa.Schema:
    import pyarrow as pa

    types: dict[Type, Any] = {
        "text": pa.dictionary(pa.int32(), pa.string()),  # a few words many times
        "integer": pa.int64(),
        "number": pa.float64(),
        "flag": pa.bool_(),
        "time": pa.timestamp("us"),
    }
    return pa.schema([(name, types[kind]) for name, kind in _ALL.items()])


def _encoded(table: pa.Table) -> bytes:
    """The bytes of an index."""
    import pyarrow as pa
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    table = table.replace_schema_metadata({"seal": _BLANK})
    with parquet.ParquetWriter(sink, table.schema, compression="zstd") as writer:
        writer.write_table(table)
    return _sealed(sink.getvalue().to_pybytes())


def _write(file: Path, data: bytes) -> None:
    """Write the index, whole or not at all. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    for left in file.parent.glob(f"{files.PREFIX}*"):  # by a process that was killed while it wrote
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_S:
                left.unlink()
    files.write(file, data)


def _sealed(data: bytes) -> bytes:
    """The bytes of an index with their SHA-256 in the place that is kept for it."""
    before, _, after = data.rpartition(_BLANK)
    return before + _SEAL + hashlib.sha256(data).hexdigest().encode() + after


def _is_whole(data: bytes) -> bool:
    """Whether the bytes of an index are those that were written: DuckDB finds not every byte that was changed."""
    before, _, after = data.rpartition(_SEAL)
    return hashlib.sha256(before + _BLANK + after[64:]).hexdigest().encode() == after[:64]

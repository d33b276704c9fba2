"""Cases of all runs that an expression picks: `harness show --where "device = 'pi5' and rung > 3"`.

The expression is one of DuckDB's SQL, over the columns of `columns.COLUMNS`. It is only ever parsed as an expression, never as
a statement, and is evaluated in a connection that reaches no file but the index, no network and no variable of this program.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import content
from harness.errors import StoreError, UsageError
from harness.store.columns import COLUMNS, Row
from harness.store.index import TABLE, looked_at

if TYPE_CHECKING:
    import duckdb

_CHUNK = 1000
_LONGEST = 2000  # characters; DuckDB takes minutes to find fault with thousands of brackets
_QUOTES = "Text stands in single quotes: device = 'pi5'."
_SETTINGS: dict[str, Any] = {
    "python_enable_replacements": False,  # else a name that is no column may be a variable of this program
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "temp_directory": "",
}


@dataclass(frozen=True)
class Found:
    """The cases that an expression picked, oldest run first, and the runs that could not be read, by folder, with the reason."""

    count: int
    damaged: dict[str, str]
    _cases: duckdb.DuckDBPyRelation

    def newest(self, most: int) -> list[Row]:
        """Return the last of the cases, `most` at most."""
        with _as_usage():
            rows = self._cases.limit(most, max(self.count - most, 0)).fetchall()
        return [dict(zip(COLUMNS, row, strict=True)) for row in rows]

    def all(self) -> Iterator[Row]:
        """Yield every case, a thousand in memory at a time."""
        with _as_usage():
            for batch in self._cases.to_arrow_reader(_CHUNK):
                yield from batch.to_pylist()


@contextmanager
def search(results: Path, where: str, told: Callable[[int], None] | None = None) -> Iterator[Found]:
    """Give the cases of all runs under `results` for which `where` holds; `told` hears how many runs have to be read first.

    Raises UsageError where it is no expression over the columns, StoreError where there are no runs at all.
    """
    import duckdb

    if len(where) > _LONGEST:
        raise UsageError(f"--where: {len(where)} characters, at most {_LONGEST}")
    with duckdb.connect(":memory:", config=_SETTINGS) as connection, looked_at(connection, results, told):
        if not connection.execute(f"SELECT count(*) FROM {TABLE}").fetchall()[0][0]:
            raise StoreError(f"{results}: no runs there", "Make one: harness run --device local")
        damaged = connection.execute(
            f"SELECT folder, damaged FROM {TABLE} WHERE damaged IS NOT NULL ORDER BY folder"
        ).fetchall()
        names = ", ".join(f'"{name}"' for name in COLUMNS)
        connection.execute(f"CREATE VIEW cases AS SELECT {names} FROM {TABLE} WHERE position IS NOT NULL")
        _close_to_the_world(connection)
        with _as_usage():
            cases = connection.view("cases").filter(where)
            count = cases.aggregate("count(*)").fetchall()[0][0]
        yield Found(count, dict(damaged), cases)


def _close_to_the_world(connection: duckdb.DuckDBPyConnection) -> None:
    """From now on the connection reaches no file but what was allowed and no network, and cannot be opened again."""
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


@contextmanager
def _as_usage() -> Iterator[None]:
    """Turn what DuckDB says of an expression into a UsageError that names the columns."""
    import duckdb

    try:
        yield
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except duckdb.Error as error:
        unknown = re.search(r'Referenced (?:column|table) "(.*?)" not found', str(error))
        if unknown:
            content.require_known("column", unknown[1], COLUMNS, _QUOTES)
        first = str(error).partition("\n")[0]
        raise UsageError(f"--where: {first}", f"{_QUOTES} Columns: {', '.join(COLUMNS)}") from None

"""`harness show --where`: cases of all runs, as a table of the newest or as JSON of all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.guard import console, first_line

if TYPE_CHECKING:
    from harness.store import Found

SCHEMA = 1
_MOST = 100  # rows of the table; who wants more wants JSON
_MANY = 20  # runs to read that take long enough to say so


def show_cases(results: Path, where: str, as_json: bool) -> None:
    """Print the cases of all runs for which an expression holds, the newest last."""
    from harness import store

    with store.search(results, where, tell_reading) as found:
        if as_json:
            _print_json(found)
        else:
            from harness import report

            report.show_cases(found.newest(_MOST), found.count, found.damaged, console())


def tell_reading(runs: int) -> None:
    """Say at once that many runs have to be read first."""
    if runs >= _MANY:
        first_line(f"reading {runs} runs that are new or have changed")


def _print_json(found: Found) -> None:
    """Print all cases, one a line: there may be more than fit into memory."""
    damaged = [{"folder": folder, "reason": reason} for folder, reason in found.damaged.items()]
    head = json.dumps({"schema": SCHEMA, "count": found.count, "damaged": damaged})
    print(f'{head[:-1]}, "cases": [', end="")
    between = "\n"
    for case in found.all():
        print(between, json.dumps(_plain(case), allow_nan=False), sep="", end="")
        between = ",\n"
    print("\n]}")


def _plain(case: Mapping[str, Any]) -> dict[str, Any]:
    """A case as JSON has it: a time in ISO 8601, in UTC."""
    return {
        name: f"{value.isoformat()}+00:00" if isinstance(value, datetime) else value for name, value in case.items()
    }

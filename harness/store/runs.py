"""run.json: a run's record, with its version."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import files, wire
from harness.errors import StoreError
from harness.records import Run
from harness.store.writing import reported, write

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = 2


def _choices_of_many(tree: dict[str, Any]) -> dict[str, Any]:
    """Version 1 to 2: what a rung's choice took became a list."""
    for ladder in tree["ladders"]:
        for rung in ladder["rungs"]:
            if rung["choice"] is not None:
                rung["choice"]["chosen"] = [rung["choice"]["chosen"]]
    return {**tree, "schema": 2}


# From version n: a function from the JSON tree of version n to that of version n + 1.
_UPGRADES = {1: _choices_of_many}


def create(root: Path, run: Run) -> Path:
    """Make the folder of a new run under `root` and write its first run.json. Raises StoreError."""
    folder = root / run.device / run.run
    with reported(folder):
        files.make(folder, exist_ok=False)
    save(folder, run)
    return folder


def save(folder: Path, run: Run) -> None:
    """Write run.json, whole or not at all. Raises StoreError."""
    tree = _adapter().dump_python(run, mode="json")
    write(folder / "run.json", json.dumps(tree, indent=1, allow_nan=False).encode() + b"\n")


def load(folder: Path) -> Run:
    """Read run.json, upgrading older versions. Raises StoreError: damaged, or from a newer program."""
    from pydantic import ValidationError

    file = folder / "run.json"
    try:
        text = file.read_text(encoding="utf-8")
        tree = json.loads(text, parse_constant=_refuse_constant)
        version = tree["schema"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(file, str(error)) from None
    if type(version) is not int or not 1 <= version <= SCHEMA:
        raise StoreError(f"{file}: schema {version!r}, this program reads up to {SCHEMA}", "Upgrade edge-harness.")
    try:
        for old in range(version, SCHEMA):
            tree = _UPGRADES[old](tree)
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(file, f"version {version} has no {error}") from None
    try:
        run = _adapter().validate_json(text if version == SCHEMA else json.dumps(tree), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(file, f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}") from None
    _require_whole(file, run)
    return run


@functools.cache
def _adapter() -> TypeAdapter[Run]:
    """Return what reads and writes a run; making it takes longer than using it."""
    from pydantic import TypeAdapter

    return TypeAdapter(Run)


def _require_whole(file: Path, run: Run) -> None:
    """Check what one part of a record says of another: names are plain, entries and cases are of ladders that are there."""
    heights = {ladder.name: len(ladder.rungs) for ladder in run.ladders}
    for entry in run.entries:
        if entry.ladder not in heights or not 0 <= entry.rung < heights[entry.ladder]:
            raise _damaged(file, f"entries: no rung {entry.rung} in a ladder {entry.ladder!r}")
    for case in run.cases:
        if case.ladder not in heights:
            raise _damaged(file, f"cases: no ladder {case.ladder!r}")
    for name in (run.run, run.device, *run.plan.runtimes):
        try:
            wire.require_name(name, "a name")
        except ValueError as error:
            raise _damaged(file, str(error)) from None


def _damaged(file: Path, how: str) -> StoreError:
    return StoreError(f"{file}: damaged: {how}", "Its samples and journal, beside it, may still be whole.")


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number that JSON has")

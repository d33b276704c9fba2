"""Rungs and ladders in the cache. Without torch: whoever finds a whole ladder here need not start a child.

rung/<key>/rung.json      the Rung; its program's path is relative to this folder
rung/<key>/program.pt2    the folded network as torch.export wrote it
rung/<key>/state.pt       the trainable network's state_dict, to go on from (not for controls)
ladder/<key>/ladder.json  name, recipe, size of the test split, and the keys of the rungs
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import cache
from harness.errors import StoreError
from harness.records import Rung

PROGRAM = "program.pt2"
STATE = "state.pt"
_RUNG = "rung.json"
_LADDER = "ladder.json"


@dataclass(frozen=True)
class Outline:
    """What a ladder is besides its rungs."""

    name: str
    recipe: Mapping[str, Any]
    test_examples: int | None


def read(key: str) -> Rung | None:
    """Return the rung of `key` with its program's absolute path, or None when it is not cached."""
    from pydantic import TypeAdapter

    folder = cache.get("rung", key)
    if folder is None:
        return None
    rung = TypeAdapter(Rung).validate_json((folder / _RUNG).read_bytes())
    return replace(rung, variant=replace(rung.variant, program=str(folder / rung.variant.program)))


def require(key: str) -> Rung:
    """Return the rung of `key`, which must be cached. Raises StoreError when the cache has dropped it meanwhile."""
    rung = read(key)
    if rung is None:
        raise StoreError(
            f"rung {key[:12]} has left the cache", "Give the cache more room (HARNESS_CACHE_GB); run again."
        )
    return rung


def state_file(key: str) -> Path:
    """Return the state_dict file of a cached rung. Raises StoreError when the cache has dropped it meanwhile."""
    return Path(require(key).variant.program).with_name(STATE)


@contextlib.contextmanager
def writing(key: str) -> Iterator[Path]:
    """Give a folder for a rung's files; it is cached when the block ends, which must have called `write_record`."""
    try:
        with cache.put("rung", key) as folder:
            yield folder
    except OSError as error:
        raise StoreError(f"{cache.root()}: a rung cannot be cached: {error}", "Free some space; run again.") from error


def write_record(folder: Path, rung: Rung) -> None:
    """Write the rung's record, its program's path relative to `folder`."""
    from pydantic import TypeAdapter

    (folder / _RUNG).write_bytes(TypeAdapter(Rung).dump_json(rung, indent=1))


def read_ladder(key: str) -> tuple[Outline, tuple[Rung, ...]] | None:
    """Return a finished ladder's outline and rungs, or None unless every one of them is cached."""
    folder = cache.get("ladder", key)
    if folder is None:
        return None
    stored = json.loads((folder / _LADDER).read_text())
    rungs = [read(rung) for rung in stored["rungs"]]
    outline = Outline(stored["name"], stored["recipe"], stored["test_examples"])
    return (outline, tuple(rung for rung in rungs if rung)) if all(rungs) else None


def write_ladder(key: str, outline: Outline, rung_keys: Sequence[str]) -> None:
    """Record that a ladder is finished, and which rungs it has."""
    stored = {**outline.__dict__, "rungs": list(rung_keys)}
    with cache.put("ladder", key) as folder:
        (folder / _LADDER).write_text(json.dumps(stored, indent=1))

"""Rungs and ladders in the cache. Without torch: whoever finds a whole ladder here need not start a child.

rung/<key>/rung.json      the Rung; its program's path is relative to this folder
rung/<key>/program.pt2    the folded network as torch.export wrote it
rung/<key>/state.pt       the trainable network's state_dict, to go on from (not where nothing does; see `drop_weights`)
rung/<key>/edits.json     what was done to the full network to get there
begun/<key>/...           state.pt and edits.json of a full network as a method trained it before its first choice
ladder/<key>/ladder.json  name, recipe, size of the test split, eligible units, why it ended, and the keys of the rungs

Ladders share rung 0, whose record says how many activations were eligible in the ladder that made it; `read_ladder`
says for each ladder its own.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import cache
from harness.errors import StoreError
from harness.records import Rung

if TYPE_CHECKING:  # whoever looks for a finished ladder needs no torch
    from torch import nn

    from harness.compress.edits import Edit

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
    eligible: int
    ended: str = ""
    delta: float | None = None
    validation_examples: int | None = None


def read(key: str) -> Rung | None:
    """Return the rung of `key` with its program's absolute path, or None when it is not cached whole."""
    return cache.read("rung", key, _parse_rung)


def require(key: str) -> Rung:
    """Return the rung of `key`, which must be cached. Raises StoreError when the cache has dropped it meanwhile."""
    rung = read(key)
    if rung is None:
        raise StoreError(
            f"rung {key[:12]} has left the cache", "Give the cache more room (HARNESS_CACHE_GB); run again."
        )
    return rung


def can_go_on(key: str) -> bool:
    """Whether a climb can go on from the rung of `key`: it is cached with its weights."""
    rung = read(key)
    return rung is not None and Path(rung.variant.program).with_name(STATE).exists()


def forget(key: str) -> None:
    """Drop the rung of `key`: one without its weights, to be made again."""
    shutil.rmtree(place(key), ignore_errors=True)


def place(key: str) -> Path:
    """Return where the rung of `key` lies, or would."""
    return cache.root() / "rung" / key


def edits_of(key: str) -> tuple[Edit, ...]:
    """Return what was done to the full network to get to this rung. Raises StoreError when the cache has dropped it."""
    from harness.compress import edits

    return edits.read(state_file(key).parent)


def state_file(key: str) -> Path:
    """Return the state_dict file of a cached rung. Raises StoreError when the cache has dropped it meanwhile."""
    return Path(require(key).variant.program).with_name(STATE)


@contextlib.contextmanager
def writing(key: str, spare: Collection[Path] = (), on_gone: cache.OnGone | None = None) -> Iterator[Path]:
    """Give a folder for a rung's files; it is cached when the block ends, which must have called `write_record`.

    What is at `spare` stays whatever the cap; `on_gone` hears what went. Raises StoreError when the cache cannot be
    written.
    """
    with cache.storing(), cache.put("rung", key, spare, on_gone) as folder:
        yield folder


def write_record(folder: Path, rung: Rung) -> None:
    """Write the rung's record, its program's path relative to `folder`."""
    from pydantic import TypeAdapter

    (folder / _RUNG).write_bytes(TypeAdapter(Rung).dump_json(rung, indent=1))


def read_ladder(key: str) -> tuple[Outline, tuple[Rung, ...]] | None:
    """Return a finished ladder's outline and rungs, or None unless every one of them is cached."""
    stored = cache.read("ladder", key, _parse_ladder)
    if stored is None:
        return None
    outline, rung_keys = stored
    rungs = [replace(rung, eligible=outline.eligible) for rung in map(read, rung_keys) if rung]
    return (outline, tuple(rungs)) if len(rungs) == len(rung_keys) else None


def write_ladder(key: str, outline: Outline, rung_keys: Sequence[str]) -> None:
    """Record that a ladder is finished, and which rungs it has, none of which goes to make room for the record."""
    stored = {**outline.__dict__, "rungs": list(rung_keys)}
    with cache.storing(), cache.put("ladder", key, [place(rung) for rung in rung_keys]) as folder:
        (folder / _LADDER).write_text(json.dumps(stored, indent=1))


def drop_weights(keys: Sequence[str], begun_key: str | None = None) -> int:
    """Delete the weights of rungs that no climb goes on from, if the cache is more than half full; how many bytes.

    So goes a network that a method has begun with. Rungs can still be built and measured; one that a climb must go on
    from after all is made again.
    """
    if 2 * cache.size_bytes() <= cache.cap_bytes():
        return 0
    states = [file for key in keys if (file := place(key) / STATE).exists()]
    folders = [folder] if begun_key and (folder := begun_place(begun_key)).exists() else []
    files = (*states, *(file for folder in folders for file in folder.iterdir()))
    freed = sum(file.stat().st_size for file in files)
    for state in states:
        state.unlink()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return freed


def begun(key: str) -> tuple[Edit, ...] | None:
    """Return the edits of a network that a method has begun with, or None when it is not cached whole."""
    from harness.compress import edits

    return cache.read("begun", key, edits.read)


def begun_file(key: str) -> Path:
    """Return the state_dict file of such a network."""
    return begun_place(key) / STATE


def begun_place(key: str) -> Path:
    """Return where such a network lies, or would."""
    return cache.root() / "begun" / key


def write_begun(
    key: str,
    network: nn.Module,
    made: Sequence[Edit],
    spare: Collection[Path] = (),
    on_gone: cache.OnGone | None = None,
) -> None:
    """Keep a network that a method has begun with; `spare` and `on_gone` as in `writing`. Raises StoreError."""
    import torch

    from harness.compress import edits

    with cache.storing(), cache.put("begun", key, spare, on_gone) as folder:
        torch.save(network.state_dict(), folder / STATE)
        edits.write(folder, made)


def _parse_rung(folder: Path) -> Rung:
    from pydantic import TypeAdapter

    rung = TypeAdapter(Rung).validate_json((folder / _RUNG).read_bytes())
    program, state = folder / rung.variant.program, folder / STATE
    for file in (program, state) if state.exists() else (program,):
        if not zipfile.is_zipfile(file):  # both are archives, whose table of contents comes last
            raise ValueError(f"{file} is incomplete")
    return replace(rung, variant=replace(rung.variant, program=str(program)))


def _parse_ladder(folder: Path) -> tuple[Outline, Sequence[str]]:
    stored = json.loads((folder / _LADDER).read_text())
    rung_keys = stored.pop("rungs")
    return Outline(**stored), rung_keys

"""Given networks for the controller, which has neither onnx nor its runtime loaded: from a child process, or the cache."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path

from harness import cache, child, content
from harness.child import OnProgress
from harness.errors import StoreError, UsageError
from harness.records import GivenNetwork, Ladder, Rung, digest

MODULE = "harness.given"
LADDER = "ladder.json"
_HERE = Path(__file__).resolve().parent
_PACKAGES = ("numpy", "onnx", "onnxruntime")  # they read, count and run the files


def look(paths: Sequence[Path], batch: int) -> tuple[GivenNetwork, ...]:
    """Read every file and run it once; return what was given, each under a name of its own. Writes nothing.

    Raises UsageError with the thing, the rule and the next move: not there, not ONNX, data beside it missing, too new for
    this ONNX Runtime, an input or a precision that cannot be fed, inputs unlike those of the first file.
    """
    from pydantic import TypeAdapter

    for path in paths:
        if not path.is_file():
            raise UsageError(f"--onnx {path}: no such file", "Give the path of an .onnx file.")
        if [each.resolve() for each in paths].count(path.resolve()) > 1:
            twice = "Drop one: what a network differs by from itself is measured in every run, as its floor."
            raise UsageError(f"--onnx {path}: given twice", twice)
    files = [
        {"name": name, "path": str(path.resolve())} for name, path in zip(names(paths), paths, strict=True)
    ]  # as with --data: a run is resumed from another folder too
    found = child.call(MODULE, {"look": files, "batch": batch}, lambda progress: None)
    return TypeAdapter(tuple[GivenNetwork, ...]).validate_python(found)


def climb(networks: Sequence[GivenNetwork], batch: int, on_progress: OnProgress) -> Ladder:
    """Return the given networks as a ladder whose programs lie in the cache; what lies there is not read again.

    Raises UsageError as `look` does, also when a file has changed since it was looked at; StoreError.
    """
    began = time.monotonic()
    key = _key(networks, batch)
    stored = cache.read("onnx", key, _parse)
    cached = stored is not None
    if stored is None:
        asked = {"climb": [asdict(each) for each in networks], "batch": batch, "key": key}
        child.call(MODULE, asked, on_progress)
        stored = cache.read("onnx", key, _parse)
    if stored is None:
        raise StoreError("the cache dropped the networks just copied into it", "Give it more room: HARNESS_CACHE_GB.")
    return replace(stored, seconds=round(time.monotonic() - began, 3), cached=cached)


def names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return a name per file: its stem; where stems are equal with its folder's name before it, else with a number."""
    stems = [path.stem for path in paths]
    longer = [
        f"{path.resolve().parent.name}/{stem}" if stems.count(stem) > 1 else stem
        for path, stem in zip(paths, stems, strict=True)
    ]
    return tuple(
        f"{name} ({longer[: n + 1].count(name)})" if longer.count(name) > 1 else name for n, name in enumerate(longer)
    )


def _key(networks: Sequence[GivenNetwork], batch: int) -> str:
    """What the ladder depends on: names and content of the files, not where they lie."""
    return digest(
        {
            "networks": [[each.name, each.sha256] for each in networks],
            "batch": batch,
            "sources": content.source_hash(*sorted(_HERE.glob("*.py")), content.find("runtime", "onnxruntime")),
            "packages": {name: metadata.version(name) for name in _PACKAGES},
        }
    )


def _parse(folder: Path) -> Ladder:
    from pydantic import TypeAdapter

    stored = json.loads((folder / LADDER).read_text())
    for name, size_bytes in stored["sizes"].items():
        if (folder / name).stat().st_size != size_bytes:
            raise ValueError(f"{folder / name} is incomplete")
    ladder = TypeAdapter(Ladder).validate_python(stored["ladder"])
    return replace(ladder, rungs=tuple(_placed(rung, folder) for rung in ladder.rungs))


def _placed(rung: Rung, folder: Path) -> Rung:
    return replace(rung, variant=replace(rung.variant, program=str(folder / rung.variant.program)))

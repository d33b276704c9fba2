"""Given networks as the rungs of a ladder: looked at, counted, compared with the first, copied into the cache. In the child."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import cache, wire
from harness.child import OnProgress, Progress
from harness.errors import UsageError
from harness.given import count, inputs, reference
from harness.given.client import LADDER
from harness.given.inputs import Input
from harness.given.read import Network, read
from harness.records import ONNX, GivenNetwork, Ladder, Rung, Variant

GIVEN = "given as an ONNX file: what was done to it elsewhere is not known"
UNTRAINED = "given as an ONNX file: nothing was trained or tested here"
_HISTORY = ("removed", "eligible", "activations", "setting", "padding", "fold_error", "fold_error_f64", "task")
_ACCURACIES = ("accuracy", "accuracy_removed", "accuracy_moved")


@dataclass(frozen=True)
class Look:
    """A given network with its inputs at a batch size and what it computes of them."""

    network: Network
    inputs: tuple[Input, ...]
    outputs: tuple[wire.Tensor, ...]

    @classmethod
    def at(cls, name: str, path: Path, batch: int) -> Look:
        """Read a file and run it once. Raises UsageError."""
        network = read(name, path)
        given = inputs.of(path, network.model, batch)
        return cls(network, given, reference.run(path, given))


def look(files: Sequence[Mapping[str, str]], batch: int) -> list[GivenNetwork]:
    """Return what was given. Raises UsageError, also for inputs unlike those of the first file."""
    looks = [Look.at(file["name"], Path(file["path"]), batch) for file in files]
    for each in looks[1:]:
        _require_alike(looks[0], each)
    return [_given(each) for each in looks]


def climb(networks: Sequence[GivenNetwork], batch: int, key: str, on_progress: OnProgress) -> None:
    """Put the ladder of the given networks into the cache under `key`. Raises UsageError, StoreError."""
    with cache.storing(), cache.put("onnx", key) as folder:
        rungs: list[Rung] = []
        first: Look | None = None
        for place, each in enumerate(networks):
            on_progress(Progress(f"{ONNX}: {each.name}", place, len(networks)))
            found = Look.at(each.name, Path(each.path), batch)
            _require_unchanged(each, found)
            first = first or found
            (folder / _file(place)).write_bytes(found.network.data)
            rungs.append(_rung(place, found, first, batch))
        ladder = Ladder(ONNX, ONNX, networks[0].name, None, {}, 0, tuple(rungs))
        sizes = {_file(place): (folder / _file(place)).stat().st_size for place in range(len(rungs))}
        (folder / LADDER).write_text(json.dumps({"ladder": asdict(ladder), "sizes": sizes}, indent=1))


def _file(place: int) -> str:
    return f"{place}.onnx"


def _given(found: Look) -> GivenNetwork:
    network = found.network
    return GivenNetwork(
        network.name, str(network.path), network.sha256, {each.name: each.shape for each in found.inputs}
    )


def _require_alike(first: Look, other: Look) -> None:
    ours, theirs = ([(each.shape, each.dtype) for each in look.inputs] for look in (first, other))
    if ours != theirs:
        raise UsageError(
            f"{other.network.path}: reads {_told(theirs)}, {first.network.path} reads {_told(ours)}; "
            "a speed-up compares networks that read the same",
            "Export both at the same input size, or measure them in runs of their own.",
        )


def _told(read: Sequence[tuple[tuple[int, ...], str]]) -> str:
    return ", ".join(f"{'x'.join(map(str, shape))} {dtype}" for shape, dtype in read)


def _require_unchanged(given: GivenNetwork, found: Look) -> None:
    if found.network.sha256 != given.sha256:
        raise UsageError(
            f"{given.path}: it has changed since the run was planned", "Put it back, or start a new run with it."
        )


def _rung(place: int, found: Look, first: Look, batch: int) -> Rung:
    model = found.network.model
    counted = count.count(inputs.at_batch(model, batch) or model, batch)
    difference = reference.difference(found.outputs, first.outputs)
    reasons = {**dict.fromkeys(_HISTORY, GIVEN), **dict.fromkeys(_ACCURACIES, UNTRAINED), **counted.reasons}
    if difference is None:
        reasons["difference"] = f"its outputs have other shapes than those of {first.network.name}"
    return Rung(
        rung=place,
        network=found.network.name,
        removed=None,
        activations=None,
        eligible=None,
        removed_names=(),
        setting=None,
        padding=None,
        cost=counted.cost,
        fold_error=None,
        fold_error_f64=None,
        accuracy=None,
        accuracy_removed=None,
        accuracy_moved=None,
        variant=_variant(place, found),
        groups=(),
        choice=None,
        reasons=reasons,
        difference=difference,
        layers=counted.layers,
    )


def _variant(place: int, found: Look) -> Variant:
    first = found.inputs[0]
    classes = sum(math.prod(tensor.shape[1:]) for tensor in found.outputs)
    return Variant(found.network.sha256, _file(place), first.shape[1:], classes, first.below, "onnx")


def handle(request: dict[str, Any], on_progress: OnProgress) -> Any:
    """Look at files, or make the ladder of those that were looked at."""
    from pydantic import TypeAdapter

    if "look" in request:
        return [asdict(each) for each in look(request["look"], request["batch"])]
    networks = TypeAdapter(list[GivenNetwork]).validate_python(request["climb"])
    climb(networks, request["batch"], request["key"], on_progress)
    return None

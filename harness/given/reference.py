"""What a given file computes: ONNX Runtime with its optimisations off, on the same seeded inputs everywhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx

from harness import content, wire
from harness.errors import UsageError
from harness.given import inputs
from harness.given.inputs import Input

RUNTIME = "onnxruntime"
_AS_IT_STANDS = {"threads": 1, "optimization": "disabled"}
_OPSET = re.compile(r"Opset (\d+) is under development.*domain (\S+) is till opset (\d+)", re.DOTALL)
_VERSION = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")
_PLACE = re.compile(r"\S+\.(?:h|cc):\d+ .*?\) ", re.DOTALL)  # where in its sources ONNX Runtime complains


def run(path: Path, given: Sequence[Input]) -> tuple[wire.Tensor, ...]:
    """Return the outputs of a file for its seeded inputs, in float32.

    Raises UsageError where this ONNX Runtime cannot load or run it, and for outputs that cannot prove an artifact: one
    that does not begin with the batch, numbers that are not finite, more than a sample may hold.
    """
    runtime = content.load("runtime", RUNTIME)
    fed = inputs.make(given)
    try:
        session = runtime.load(str(path), _AS_IT_STANDS)
        session.feed(fed)
        outputs: tuple[wire.Tensor, ...] = session.fetch(session())
    except Exception as error:  # ONNX Runtime has no common base for what it raises
        raise _refusal(path, given, str(error)) from None
    _require_fit(path, wire.Sample(fed, outputs))
    return outputs


def sample(program: Path, batch: int) -> wire.Sample:
    """Return the inputs of a given network with its own outputs: what every artifact made of it is compared with."""
    model = onnx.load(str(program))
    given = inputs.of(program, model, batch)
    return wire.Sample(inputs.make(given), run(program, given))


def difference(ours: Sequence[wire.Tensor], theirs: Sequence[wire.Tensor]) -> float | None:
    """max |ours - theirs| / max |theirs| over all outputs; None where their shapes differ."""
    if [tensor.shape for tensor in ours] != [tensor.shape for tensor in theirs]:
        return None
    pairs = [(_array(a), _array(b)) for a, b in zip(ours, theirs, strict=True)]
    most = max(float(np.abs(a - b).max()) for a, b in pairs)
    largest = max(float(np.abs(b).max()) for _, b in pairs)
    return most / largest if largest else most


def _array(tensor: wire.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.frombuffer(tensor.raw(), "<f4").astype(np.float64)


def _refusal(path: Path, given: Sequence[Input], said: str) -> UsageError:
    """Turn what ONNX Runtime said into a message with the rule and the value, as far as it can be recognised."""
    installed = f"{RUNTIME} {metadata.version(RUNTIME)}"
    if found := _OPSET.search(said):
        asked, domain, most = found.groups()
        return UsageError(
            f"{path}: opset {asked} of {domain}, {installed} runs up to opset {most}",
            f"Export it with opset {most} or older, or upgrade {RUNTIME}.",
        )
    if found := _VERSION.search(said):
        asked, most = found.groups()
        return UsageError(
            f"{path}: ONNX file format (IR version) {asked}, {installed} reads up to {most}",
            f"Export it with an older onnx, or upgrade {RUNTIME}.",
        )
    fed = ", ".join(f"{each.name} {'x'.join(map(str, each.shape))}" for each in given)
    detail = " ".join(_PLACE.sub("", said).split())[:500]
    return UsageError(
        f"{path}: {installed} cannot run it with {fed}: {detail}",
        "Where the shapes are to blame, its batch may not be free: try another --batch, or export it anew.",
    )


def _require_fit(path: Path, made: wire.Sample) -> None:
    batch = made.inputs[0].shape[0]
    for tensor in made.outputs:
        if tensor.shape[:1] != (batch,):
            raise UsageError(
                f"{path}: an output has shape {tensor.shape}, whose first extent is not the batch, {batch}",
                "Give a network whose outputs begin with the batch.",
            )
        if not np.isfinite(_array(tensor)).all():
            raise UsageError(
                f"{path}: its outputs are not finite for standard normal inputs: nothing can be compared with them",
                "Give a network whose outputs are numbers for such inputs.",
            )
    size = len(wire.encode(made))
    if size > wire.MAX_LINE_BYTES:
        raise UsageError(
            f"{path}: its inputs and outputs take {size / 2**20:.0f} MiB as a sample, at most "
            f"{wire.MAX_LINE_BYTES / 2**20:.0f} MiB travel",
            "Say a smaller --batch.",
        )

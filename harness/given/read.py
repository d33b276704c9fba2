"""A given file -> its network in memory, whole: weights that lie beside it taken in. The door for what is in the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import external_data_helper as external

from harness.errors import UsageError

MAX_BYTES = 2**31 - 2**20  # what one ONNX file can hold; an artifact is one file

# What these operators compute, or what comes of them, is no float32 any more.
_QUANTISED = ("QuantizeLinear", "DynamicQuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul")
_INTEGER = ("ConvInteger", "MatMulInteger")
_REDUCED: dict[int, str] = {
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.BFLOAT16: "bfloat16",
    onnx.TensorProto.DOUBLE: "float64",
}


@dataclass(frozen=True)
class Network:
    """A given network: what people call it, its path, its model with all weights inside, and those as bytes.

    `data` is the file itself, byte by byte, unless weights lay beside it.
    """

    name: str
    path: Path
    model: onnx.ModelProto
    data: bytes

    @property
    def sha256(self) -> str:
        """What names the network: the hash of `data`."""
        return hashlib.sha256(self.data).hexdigest()


def read(name: str, path: Path) -> Network:
    """Return the network in a file. Raises UsageError."""
    model = _parse(path, _bytes(path))
    beside = _beside(path, model)
    size_bytes = sum(file.stat().st_size for file in (path, *beside))
    if size_bytes > MAX_BYTES:
        raise UsageError(
            f"{path}: {size_bytes / 2**30:.1f} GiB with its weights, one ONNX file holds at most 2 GiB",
            "Networks of that size cannot be measured by this version.",
        )
    _require_float32(path, model)
    if not beside:
        return Network(name, path, model, path.read_bytes())
    try:
        external.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # onnx has no common base for what it raises: a file cut short, a path that leads out
        raise UsageError(f"{path}: its weights cannot be read: {_line(error)}", "Export it again.") from None
    return Network(name, path, model, model.SerializeToString(deterministic=True))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}", "Give a file that you may read.") from None


def _parse(path: Path, data: bytes) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(data)
    except Exception:  # protobuf's DecodeError, whose module has no types
        model = onnx.ModelProto()
    if not model.ir_version or not model.graph.node:  # most bytes that parse by chance have neither
        raise UsageError(
            f"{path}: not an ONNX network", "Give what an exporter to ONNX wrote, such as harness fold --out NAME."
        )
    return model


def _beside(path: Path, model: onnx.ModelProto) -> tuple[Path, ...]:
    """The files beside it that hold its weights. Raises UsageError when one is missing."""
    wanted: dict[str, int] = {}
    for tensor in _tensors(model.graph):
        if external.uses_external_data(tensor):
            location = external.ExternalDataInfo(tensor).location
            wanted[location] = wanted.get(location, 0) + 1
    for location, count in wanted.items():
        if not (path.parent / location).is_file():
            raise UsageError(
                f"{path}: {count} of its tensors lie in {location}, which is not beside it",
                f"Put {location} into {path.parent}, or save the network as one file (external_data=False).",
            )
    return tuple(path.parent / location for location in wanted)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All constant tensors of a graph, those in its branches and loops included."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _tensors(inner)


def _require_float32(path: Path, model: onnx.ModelProto) -> None:
    """Raise UsageError for a network that computes in another precision: this version would tell it as fp32."""
    found = next((node.op_type for node in model.graph.node if node.op_type in (*_QUANTISED, *_INTEGER)), None)
    reduced = next(
        (tensor for tensor in _tensors(model.graph) if tensor.data_type in _REDUCED and _numbers(tensor) > 1), None
    )
    what = f"it is quantised ({found})" if found else ""
    if reduced is not None:
        what = f"its tensor {reduced.name or 'of a Constant'} is {_REDUCED[reduced.data_type]}"
    if what:
        raise UsageError(f"{path}: {what}; this version measures float32 alone", "Give the float32 network.")


def _numbers(tensor: onnx.TensorProto) -> int:
    count = 1
    for extent in tensor.dims:
        count *= extent
    return count


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

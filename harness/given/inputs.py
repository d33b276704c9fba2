"""What a given network is fed with: the inputs of its graph at a batch size, and seeded numbers for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from harness import wire
from harness.errors import UsageError

_DTYPES: dict[int, str] = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.INT64: "int64"}
_SEED = 0


@dataclass(frozen=True)
class Input:
    """An input at a batch size: its name, its shape (batch first), `float32` or `int64`.

    `below`: of an int64 input that indexes tables of the graph, the rows of the smallest; None: it indexes none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    below: int | None = None


def of(path: Path, model: onnx.ModelProto, batch: int) -> tuple[Input, ...]:
    """Return the inputs of a network; a free first dimension takes `batch`. Raises UsageError, naming the dimension."""
    known = {tensor.name for tensor in model.graph.initializer}  # old files list their weights among the inputs
    graph_inputs = [value for value in model.graph.input if value.name not in known]
    if not graph_inputs:
        raise UsageError(f"{path}: its graph has no inputs", "Give a network that reads something.")
    return tuple(_input(path, model, value, batch) for value in graph_inputs)


def make(inputs: Sequence[Input]) -> tuple[wire.Tensor, ...]:
    """Return the same numbers every time: standard normal; int64: indices, each as likely, or ones where none are indexed.

    Ones are a mask that hides nothing, and valid wherever a number below two is.
    """
    generator = np.random.default_rng(_SEED)
    return tuple(_tensor(each, generator) for each in inputs)


def at_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto | None:
    """Return the model with its free batch fixed, wherever the same name stands for it; None where none is free."""
    known = {tensor.name for tensor in model.graph.initializer}
    firsts = [value.type.tensor_type.shape.dim[0] for value in model.graph.input if value.name not in known]
    if all(_is_fixed(dim) for dim in firsts):
        return None
    free = {dim.dim_param for dim in firsts if dim.dim_param}
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in known and not _is_fixed(dims[0]):
            dims[0].dim_value = batch
    for value in (*fixed.graph.output, *fixed.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in free:
                dim.dim_value = batch
    return fixed


def _input(path: Path, model: onnx.ModelProto, value: onnx.ValueInfoProto, batch: int) -> Input:
    kind = value.type.tensor_type
    if kind.elem_type not in _DTYPES:
        told = onnx.TensorProto.DataType.Name(kind.elem_type).lower() if kind.elem_type else "no tensor"
        raise UsageError(
            f"{path}: its input {value.name} is {told}; float32 and int64 can be fed", "Export it with such inputs."
        )
    dims = kind.shape.dim
    if not kind.HasField("shape") or not len(dims):
        raise UsageError(
            f"{path}: its input {value.name} has no batch dimension",
            "Export it with inputs of known rank, batch first.",
        )
    for place, dim in enumerate(dims[1:], 1):
        if not _is_fixed(dim):
            raise UsageError(
                f"{path}: dimension {place}{_called(dim)} of its input {value.name} is free; only the batch, "
                "dimension 0, may be",
                "Export it at the size that is to be measured, or fix the dimension "
                f"(python -m onnxruntime.tools.make_dynamic_shape_fixed{_how(value.name, dim)} IN OUT).",
            )
    first = dims[0].dim_value if _is_fixed(dims[0]) else batch
    if first != batch:
        raise UsageError(
            f"{path}: the batch of its input {value.name} is fixed at {first}, --batch says {batch}",
            f"Say --batch {first}, or export it with a free batch.",
        )
    shape = (first, *(dim.dim_value for dim in dims[1:]))
    dtype = _DTYPES[kind.elem_type]
    return Input(value.name, shape, dtype, _rows(model, value.name) if dtype == "int64" else None)


def _is_fixed(dim: onnx.TensorShapeProto.Dimension) -> bool:
    return bool(dim.dim_value > 0)


def _called(dim: onnx.TensorShapeProto.Dimension) -> str:
    return f' ("{dim.dim_param}")' if dim.dim_param else ""


def _how(name: str, dim: onnx.TensorShapeProto.Dimension) -> str:
    return f" --dim_param {dim.dim_param} --dim_value N" if dim.dim_param else f" --input_name {name} --input_shape ..."


def _rows(model: onnx.ModelProto, name: str) -> int | None:
    """The rows of the smallest table that an input indexes, through operators that keep its numbers."""
    tables = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    same, rows = {name}, []
    for node in model.graph.node:
        if node.op_type in ("Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten") and node.input[0] in same:
            same.add(node.output[0])
        elif node.op_type == "Gather" and node.input[0] in tables and node.input[1] in same:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            rows.append(tables[node.input[0]][axis])
    return min(rows, default=None)


def _tensor(each: Input, generator: np.random.Generator) -> wire.Tensor:
    if each.dtype == "float32":
        return wire.Tensor.of(each.shape, generator.standard_normal(each.shape).astype("<f4").tobytes())
    numbers = np.ones(each.shape) if each.below is None else generator.integers(0, each.below, each.shape)
    return wire.Tensor.of(each.shape, numbers.astype("<i8").tobytes(), each.dtype)

"""What one inference of a given network costs, counted on its graph: MACs nominal and useful, depth, weights.

The rules are those of `harness.flops`, which counts what torch dispatches; here the graph is all there is.

    Conv, ConvTranspose           MACs, depth + 1
    Gemm, MatMul                  MACs; depth + 1 unless both factors depend on the input (attention)
    Einsum, recurrent, quantised operators, branches and loops, operators of other domains: no rule. Depth and MACs are null then
    all else                      nothing, as everywhere in this field

Shapes are those that onnx infers; where it infers none that a rule needs, MACs are null.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import inliner, numpy_helper, shape_inference

from harness.given import taps
from harness.records import Cost, Layer

BYTES = 4  # of a float32
_HOME = ("", "ai.onnx")
_UNRULED = frozenset(
    """
    Einsum LSTM GRU RNN DeformConv Attention LinearAttention FlexAttention CausalConvWithState DFT STFT
    If Loop Scan SequenceMap QLinearConv QLinearMatMul ConvInteger MatMulInteger
    """.split()  # noqa: SIM905 (quotes around each would only hide them)
)
_SHAPE_ALONE = ("Shape", "Size")  # what they give follows from shapes, not from the input's numbers
_VIEWS = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout")  # write nothing of their own


class UnknownShapeError(Exception):
    """A shape that a rule needs and onnx does not infer; the message names tensor and operator."""


@dataclass(frozen=True)
class Counted:
    """Costs, and why those that are None are."""

    cost: Cost
    reasons: dict[str, str]
    layers: tuple[Layer, ...] = ()


def count(model: onnx.ModelProto, batch: int) -> Counted:
    """Return the cost per example of a network whose batch is fixed at `batch`.

    `parameters` are the numbers in its floating-point constants, statistics of normalisations among them.
    """
    graph = _Graph(_prepared(model))
    for node in graph.model.graph.node:
        graph.note(node)
    weights = graph.weights
    reasons = {}
    if graph.unruled:
        told = f"no rule counts {', '.join(sorted(graph.unruled))}"
        reasons = dict.fromkeys(("depth", "macs", "macs_useful", "flops"), told)
    elif graph.unknown:
        reasons = dict.fromkeys(("macs", "macs_useful", "flops"), graph.unknown)
    if graph.written is None:
        reasons["activation_bytes"] = "onnx does not infer the shapes of all tensors"
    macs = None if "macs" in reasons else graph.macs // batch
    cost = Cost(
        depth=None if "depth" in reasons else graph.depth,
        macs=macs,
        macs_useful=None if macs is None else graph.useful // batch,
        flops=None if macs is None else 2 * macs,
        parameters=weights,
        weight_bytes=BYTES * weights,
        activation_bytes=None if graph.written is None else BYTES * graph.written // batch,
        uncounted=tuple(sorted(graph.unruled)),
    )
    layers = tuple(Layer(name, kind, macs // batch) for name, kind, macs in graph.layers)
    return Counted(cost, reasons, layers)


def _prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its own functions written out and the shapes of its tensors inferred, as far as onnx can."""
    if model.functions:
        model = inliner.inline_local_functions(model)
    try:
        return shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # no common base, and a graph that runs may still be beyond it
        return model


class _Graph:
    """A graph walked in its order: which tensors depend on the input, how many layers lie behind each, what was counted."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        graph = model.graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.shapes = {name: tuple(tensor.dims) for name, tensor in self.constants.items()}
        self.floats: set[str] = set()
        for value in (*graph.input, *graph.output, *graph.value_info):
            self._learn(value)
        self.behind = {value.name: 0 for value in graph.input if value.name not in self.constants}
        self.frames: dict[str, taps.Frame] = {}
        self.macs = self.useful = 0
        self.written: int | None = 0
        self.unruled: set[str] = set()
        self.unknown = ""
        self.layers: list[tuple[str, str, int]] = []

    @property
    def depth(self) -> int:
        """Layers on the longest path to an output."""
        return max((self.behind.get(value.name, 0) for value in self.model.graph.output), default=0)

    @property
    def weights(self) -> int:
        """Numbers in all floating-point constants that some operator reads."""
        read = {name for node in self.model.graph.node for name in node.input}
        kept = (tensor for name, tensor in self.constants.items() if name in read)
        return sum(math.prod(tensor.dims) for tensor in kept if tensor.data_type == onnx.TensorProto.FLOAT)

    def _learn(self, value: onnx.ValueInfoProto) -> None:
        kind = value.type.tensor_type
        if kind.elem_type == onnx.TensorProto.FLOAT:
            self.floats.add(value.name)
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            self.shapes.setdefault(value.name, tuple(dim.dim_value for dim in kind.shape.dim))

    def note(self, node: onnx.NodeProto) -> None:
        """Count one operator, after all whose results it reads."""
        if node.op_type == "Constant":
            self._keep(node)
        read = [name for name in node.input if name in self.behind]
        inner = node.domain not in _HOME or node.op_type in _UNRULED
        if not (read or inner) or (node.op_type in _SHAPE_ALONE and not inner):
            return  # made of constants alone
        depth = max((self.behind[name] for name in read), default=0)
        if inner:
            self.unruled.add(node.op_type if node.domain in _HOME else f"{node.domain}.{node.op_type}")
        elif node.op_type in _RULES:
            depth += self._layer(node)
        elif node.op_type == "Pad":
            self.frames[node.output[0]] = self._padded(node)
        for name in filter(None, node.output):
            self.behind[name] = depth
            self._write(node, name)

    def _keep(self, node: onnx.NodeProto) -> None:
        tensor = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
        if tensor is not None:
            self.constants[node.output[0]] = tensor
            self.shapes[node.output[0]] = tuple(tensor.dims)

    def _layer(self, node: onnx.NodeProto) -> bool:
        """Add what a layer or product multiplies; return whether it is a layer."""
        convolution = node.op_type.startswith("Conv")
        layer = convolution or not all(name in self.behind for name in node.input[:2])
        try:
            macs, useful = _RULES[node.op_type](self, node)
            self.macs, self.useful = self.macs + macs, self.useful + useful
            if layer:
                kind = "convolution" if convolution else "linear"
                self.layers.append((node.name or node.output[0], kind, macs))
        except UnknownShapeError as error:
            self.unknown = self.unknown or str(error)
        return layer

    def shape(self, node: onnx.NodeProto, name: str) -> tuple[int, ...]:
        """The shape of a tensor. Raises UnknownShapeError."""
        if name not in self.shapes:
            raise UnknownShapeError(f"onnx does not infer the shape of {name}, which {node.op_type} {node.name} needs")
        return self.shapes[name]

    def _padded(self, node: onnx.NodeProto) -> taps.Frame:
        """Zeros around what a Pad gives, per dimension; none where it pads with something else, crops, or cannot tell."""
        rank = len(self.shapes.get(node.output[0], ()))
        said = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        pads = said.get("pads", self._numbers(node, 1))
        value, axes = self._numbers(node, 2) or [said.get("value", 0.0)], self._numbers(node, 3)
        axes = [int(axis) % rank for axis in axes] if axes else list(range(rank))
        zeros = said.get("mode", b"constant") == b"constant" and not any(value)
        if not rank or not pads or len(pads) != 2 * len(axes) or not zeros or min(pads) < 0:
            return ()
        frame = list(self.frames.get(node.input[0]) or ((0, 0),) * rank)
        for place, axis in enumerate(axes):
            before, after = frame[axis]
            frame[axis] = (before + int(pads[place]), after + int(pads[len(axes) + place]))
        return tuple(frame)

    def _numbers(self, node: onnx.NodeProto, place: int) -> list[Any]:
        """The numbers of a constant operand; none where there is none, or it is computed."""
        name = node.input[place] if place < len(node.input) else ""
        return np.ravel(numpy_helper.to_array(self.constants[name])).tolist() if name in self.constants else []

    def _write(self, node: onnx.NodeProto, name: str) -> None:
        if node.op_type in _VIEWS or self.written is None:
            return
        if name in self.shapes:
            self.written += math.prod(self.shapes[name]) * (name in self.floats)
        else:
            self.written = None


def _convolution(graph: _Graph, node: onnx.NodeProto) -> tuple[int, int]:
    read, weight = graph.shape(node, node.input[0]), graph.shape(node, node.input[1])
    result, kernel = graph.shape(node, node.output[0]), weight[2:]
    said = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    transposed = node.op_type == "ConvTranspose"
    where, other = (read[2:], result[2:]) if transposed else (result[2:], read[2:])
    frame = () if transposed else graph.frames.get(node.input[0], ())
    pairs = taps.inside(taps.Window.of(said, kernel, where, other, transposed), frame[2:])
    per_position = read[0] * math.prod(weight[:2])
    return per_position * math.prod(kernel) * math.prod(where), per_position * pairs


def _gemm(graph: _Graph, node: onnx.NodeProto) -> tuple[int, int]:
    left, result = graph.shape(node, node.input[0]), graph.shape(node, node.output[0])
    turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    macs = math.prod(result) * left[0 if turned else 1]
    return macs, macs


def _product(graph: _Graph, node: onnx.NodeProto) -> tuple[int, int]:
    macs = math.prod(graph.shape(node, node.output[0])) * graph.shape(node, node.input[0])[-1]
    return macs, macs


_RULES: dict[str, Callable[[_Graph, onnx.NodeProto], tuple[int, int]]] = {
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "Gemm": _gemm,
    "MatMul": _product,
}

"""Shared by runtimes of ONNX: what a file's graph holds, read without the onnx package, which boards do not have.

Only what tells in which numbers a network computes: operators, their tensors' names, and the types of those. Field numbers
are those of onnx.proto; weights are passed over, not read.
"""

import mmap
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

FLOAT16 = 10  # onnx.TensorProto.DataType
_QUANTISING = ("QuantizeLinear", "DequantizeLinear")
_LAYERS = ("Conv", "Gemm", "MatMul", "Attention")


class Node(NamedTuple):
    """An operator: its type, and the names of the tensors that it reads."""

    op: str
    inputs: Tuple[str, ...]


class Graph(NamedTuple):
    """The operators of a graph in its order, and the types of its tensors by name, as far as the file says them."""

    nodes: Tuple[Node, ...]
    weights: Dict[str, int]
    types: Dict[str, int]
    inputs: Tuple[str, ...]

    def quantises(self) -> bool:
        """Whether anything in it is rounded to integers."""
        return any(node.op in _QUANTISING or _is_int8(node.op) for node in self.nodes)

    def holds_float16(self) -> bool:
        """Whether any of its weights is float16."""
        return FLOAT16 in self.weights.values()

    def layers(self) -> Dict[str, int]:
        """How many layers (convolutions, matrix products) compute in which numbers."""
        found = {"fp32": 0, "fp16": 0, "int8": 0}
        for node in self.nodes:
            if any(word in node.op for word in _LAYERS):
                types = [self.weights.get(name, self.types.get(name)) for name in node.inputs]
                found["int8" if _is_int8(node.op) else "fp16" if FLOAT16 in types else "fp32"] += 1
        return found


def read(path: str) -> Graph:
    """Return the graph of an ONNX file. Raises ValueError where it is none."""
    with Path(path).open("rb") as file:
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    for number, value in _fields(whole):
        if number == 7:  # ModelProto.graph
            return _graph(value)
    raise ValueError("%s holds no graph" % path)


def _is_int8(op: str) -> bool:
    """QLinearConv, QGemm, QAttention, MatMulInteger, ConvInteger, DynamicQuantizeMatMul, ..."""
    return (op.startswith("Q") and op not in _QUANTISING) or "Integer" in op or op == "DynamicQuantizeMatMul"


def _graph(view: memoryview) -> Graph:
    nodes: List[Node] = []
    weights: Dict[str, int] = {}
    types: Dict[str, int] = {}
    inputs: List[str] = []
    for number, value in _fields(view):
        if number == 1:
            nodes.append(_node(value))
        elif number == 5:  # TensorProto: data_type, name
            found = dict(_fields(value))
            weights[_text(found.get(8, b""))] = found.get(2, 0)
        elif number in (11, 12, 13):  # ValueInfoProto of inputs, outputs and what lies between
            found = dict(_fields(value))
            types[_text(found.get(1, b""))] = _element(found.get(2, b""))
            inputs += [_text(found.get(1, b""))] if number == 11 else []
    return Graph(tuple(nodes), weights, types, tuple(inputs))


def _node(view: memoryview) -> Node:
    found = [(number, _text(value)) for number, value in _fields(view) if number in (1, 4)]
    return Node(next((op for number, op in found if number == 4), ""), tuple(name for n, name in found if n == 1))


def _element(kind: Any) -> int:
    """The element type of a TypeProto; 0 where it is no tensor's."""
    tensor = dict(_fields(kind)).get(1, b"")
    return int(dict(_fields(tensor)).get(1, 0))


def _text(value: Any) -> str:
    return bytes(value).decode("utf-8")


def _fields(view: Any) -> Iterator[Tuple[int, Any]]:
    """The fields of a message in their order: numbers as they are, all else as a view of its bytes."""
    place = 0
    while place < len(view):
        tag, place = _varint(view, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(view, place)
            yield tag >> 3, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if size is None:
            if kind != 2:
                raise ValueError("no protobuf: wire type %d" % kind)
            size, place = _varint(view, place)
        yield tag >> 3, view[place : place + size]
        place += size


def _varint(view: Any, place: int) -> Tuple[int, int]:
    """A number of seven bits a byte, lowest first, and the place behind it."""
    value = shift = 0
    while True:
        byte = view[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7

"""Small ONNX files, written with onnx alone: right ones, and ones with one thing wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHAPE = ("N", 3, 8, 8)


def convolution(
    path: Path,
    *,
    shape: tuple[Any, ...] = SHAPE,
    kind: int = TensorProto.FLOAT,
    weights: Any = np.float32,
    scale: float = 1.0,
    opset: int = 18,
    ir_version: int = 10,
    beside: bool = False,
) -> Path:
    """One 3x3 convolution and a ReLU: 4 channels, the same numbers every time, times `scale`."""
    numbers = (scale * np.random.default_rng(0).standard_normal((4, 3, 3, 3))).astype(weights)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["y"], ["z"])]
    return write(path, nodes, [("x", kind, shape)], ["z"], {"w": numbers}, opset, ir_version, beside)


def reader(path: Path) -> Path:
    """Five tokens of a vocabulary of seven, and a mask that is multiplied in: two int64 inputs."""
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["read"]),
        helper.make_node("Cast", ["mask"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "last"], ["wide"]),
        helper.make_node("Mul", ["read", "wide"], ["seen"]),
        helper.make_node("MatMul", ["seen", "w"], ["z"]),
    ]
    random = np.random.default_rng(0)
    constants = {
        "table": random.standard_normal((7, 4)).astype(np.float32),
        "last": np.array([2]),
        "w": random.standard_normal((4, 2)).astype(np.float32),
    }
    given = [(name, TensorProto.INT64, ("N", 5)) for name in ("tokens", "mask")]
    return write(path, nodes, given, ["z"], constants)


def write(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[tuple[str, int, tuple[Any, ...]]],
    outputs: list[str],
    constants: dict[str, Any],
    opset: int = 18,
    ir_version: int = 10,
    beside: bool = False,
) -> Path:
    """Write a graph; `beside`: its weights lie in a file beside it."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir_version
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path, save_as_external_data=beside, location=f"{path.name}.data", size_threshold=0)
    return path

"""What runtimes tell of the operators that they really execute adds up: to the network's own count, to its latency."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from harness import content, flops, wire
from harness.records import Variant

SHAPE = (3, 32, 32)
HERE = {"onnxruntime": "onnxruntime", "litert": "ai_edge_litert", "openvino": "openvino", "iree": "iree.runtime"}
_onnx_operators = content.load("runtime", "onnxruntime")._onnx_operators
_litert_operators = content.load("runtime", "litert")._litert_operators
_iree_operators = content.load("runtime", "iree")._iree_operators
_operators = _onnx_operators._operators


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operators")


@lru_cache
def made(model: str, folder: Path) -> tuple[Variant, int]:
    """A model's variant at 32 x 32, and what it costs by the controller's count."""
    torch.manual_seed(0)
    network = content.load("model", model).build(classes=10, shape=SHAPE).eval()
    path = folder / f"{model}.pt2"
    free = {0: torch.export.Dim("batch", min=1, max=64)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(network, (torch.zeros(2, *SHAPE),), dynamic_shapes=(free,)), path)
    return Variant("0" * 64, str(path), SHAPE, 10), flops.count(network, torch.zeros(1, *SHAPE)).macs


@lru_cache
def artifact(name: str, model: str, folder: Path) -> tuple[ModuleType, Path, int]:
    pytest.importorskip(HERE.get(name, "torch"))
    variant, macs = made(model, folder)
    runtime, out = content.load("runtime", name), folder / f"{name}-{model}"
    runtime.export(variant, {}, "fp32", {"batch": "1"}, out)
    return runtime, out, macs


def tensors() -> list[wire.Tensor]:
    x = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(1))
    return [wire.Tensor.of(x.shape, x.numpy().tobytes())]


def told(
    name: str, model: str, folder: Path, seconds: float = 0.0, **options: str
) -> tuple[list[wire.Operator], int, int]:
    """The operators as they would stand in a journal, how many inferences were profiled, and the controller's count."""
    runtime, path, macs = artifact(name, model, folder)
    found, inferences = runtime.operators(
        str(path), {"threads": 1, "batch": 1, "precision": "fp32", **options}, tensors(), seconds
    )
    kept = [
        {key: it[:200] if isinstance(it, str) else it for key, it in each.items()} for each in found
    ]  # as the agent does
    return [wire.Operator(**each) for each in kept], inferences, macs


def total(operators: list[wire.Operator]) -> int:
    assert all(each.macs is not None for each in operators)
    return sum(each.macs or 0 for each in operators)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["resnet18", "mobilenet_v2"])
@pytest.mark.parametrize(
    "name",
    [
        "torch",
        pytest.param("openvino", marks=pytest.mark.slow),
        pytest.param("litert", marks=pytest.mark.slow),
    ],
)
def test_multiply_adds_as_executed_are_those_that_the_controller_counts(name: str, model: str, folder: Path) -> None:
    operators, inferences, macs = told(name, model, folder)
    assert total(operators) == macs
    assert inferences == 0
    assert {each.time_ns for each in operators} == {None}
    assert {each.dtype for each in operators if each.macs} == {"fp32"}
    assert all(each.bytes for each in operators if each.macs)


@pytest.mark.slow
def test_onnx_runtime_executes_what_the_controller_counts_and_fills_channels_up_to_whole_blocks(folder: Path) -> None:
    operators, _, macs = told("onnxruntime", "resnet18", folder)
    assert total(operators) == macs  # every width is a whole number of blocks
    plain, _, macs = told("onnxruntime", "mobilenet_v2", folder, optimization="extended")
    assert total(plain) == macs
    assert {each.layout for each in plain if each.kind in ("Conv", "FusedConv")} == {"channels-first"}
    blocked, _, _ = told("onnxruntime", "mobilenet_v2", folder)
    if any(each.layout == "blocked" for each in blocked):  # where the CPU has such kernels
        assert macs < total(blocked) < 1.15 * macs


@pytest.mark.parametrize("name", ["onnxruntime", "torch", pytest.param("openvino", marks=pytest.mark.slow)])
def test_operators_together_take_about_what_an_inference_does(name: str, folder: Path) -> None:
    profiled, inferences, _ = told(name, "resnet18", folder, seconds=0.3)
    walked, _, _ = told(name, "resnet18", folder)
    assert [(each.name, each.macs) for each in profiled] == [(each.name, each.macs) for each in walked]
    assert inferences >= 10
    together = sum(each.time_ns or 0 for each in profiled)
    fastest = latency(name, folder)
    assert 0.2 * fastest < together < 20 * fastest  # whoever else uses this machine


def latency(name: str, folder: Path) -> int:
    from time import perf_counter_ns as clock

    runtime, path, _ = artifact(name, "resnet18", folder)
    session = runtime.load(str(path), {"threads": 1, "batch": 1, "precision": "fp32"})
    session.feed(tensors())
    taken = []
    for _ in range(15):
        before = clock()
        session()
        taken.append(clock() - before)
    return min(taken)


@pytest.mark.slow
def test_iree_tells_its_kernels_and_their_times_but_no_multiply_adds(folder: Path) -> None:
    operators, inferences, _ = told("iree", "resnet18", folder, seconds=0.2)
    assert inferences >= 10
    assert sum(each.kind == "conv" for each in operators) >= 8
    assert {each.macs for each in operators} == {None}
    assert all(each.time_ns for each in operators if each.kind == "conv")


# --- rules, by hand ------------------------------------------------------------------------------------------------


def event(kind: str, inputs: list[Any], outputs: list[Any], name: str = "x") -> dict[str, Any]:
    args = {"op_name": kind, "input_type_shape": inputs, "output_type_shape": outputs}
    return {"name": f"{name}_kernel_time", "args": args}


FLOAT, BYTE = "float", "int8"


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "macs"),
    [
        ("Conv", [[1, 8, 4, 4], [6, 2, 3, 3]], [1, 6, 4, 4], 96 * 18),  # four groups
        ("ConvTranspose", [[1, 8, 4, 4], [8, 3, 2, 2]], [1, 3, 8, 8], 128 * 12),
        ("Gemm", [[5, 7], [7, 3]], [5, 3], 105),
        ("Gemm", [[7, 5], [7, 3]], [5, 3], 105),  # its left factor is transposed
        ("FusedMatMul", [[2, 7, 5], [2, 7, 3]], [2, 5, 3], 210),
        ("QLinearConv", [[1, 4, 4, 8], [], [], [6, 8, 1, 1], [6], [6]], [1, 4, 4, 6], 96 * 8),
        ("QGemm", [[1, 9], [], [], [4, 9]], [1, 4], 36),
        ("Attention", [[1, 10, 16], [16, 48]], [1, 10, 16], 10 * 16 * 48 + 2 * 10 * 10 * 16),
        ("Relu", [[1, 8]], [1, 8], 0),
        ("LSTM", [[3, 1, 8], [1, 32, 8]], [3, 1, 1, 8], None),
        ("Conv", [[1, 8, 4, 4]], [1, 6, 4, 4], None),  # its weight is not told
    ],
)
def test_multiply_adds_of_onnx_runtime_s_operators_follow_from_their_shapes(
    kind: str, inputs: list[list[int]], output: list[int], macs: int | None
) -> None:
    told = _onnx_operators._described(event(kind, [{FLOAT: shape} for shape in inputs], [{FLOAT: output}]))
    assert told["macs"] == macs


def test_layouts_and_numbers_are_told_by_shapes_types_and_names() -> None:
    last = event(
        "QLinearConv", [{BYTE: [1, 4, 4, 8]}, {FLOAT: []}, {BYTE: []}, {BYTE: [6, 8, 1, 1]}], [{BYTE: [1, 4, 4, 6]}]
    )
    assert (_onnx_operators._described(last)["dtype"], _onnx_operators._described(last)["layout"]) == (
        "int8",
        "channels-last",
    )
    blocked = event("Conv", [{FLOAT: [1, 16, 4, 4]}, {FLOAT: [16, 16, 1, 1]}], [{FLOAT: [1, 16, 4, 4]}], "relu_nchwc")
    told = _onnx_operators._described(blocked)
    assert (told["name"], told["layout"], told["bytes"]) == ("relu_nchwc", "blocked", 4 * (256 + 256 + 256))
    assert _onnx_operators._described(event("Odd", [{"string": [2]}], []))["bytes"] is None


def test_litert_s_rules_take_its_shapes_with_channels_last() -> None:
    macs = _litert_operators._macs
    assert macs("CONV_2D", [[1, 4, 4, 8], [6, 3, 3, 8]], [[1, 4, 4, 6]]) == 96 * 72
    assert macs("DEPTHWISE_CONV_2D", [[1, 4, 4, 8], [1, 3, 3, 8]], [[1, 4, 4, 8]]) == 128 * 9
    assert macs("FULLY_CONNECTED", [[1, 9], [4, 9]], [[1, 4]]) == 36
    assert macs("BATCH_MATMUL", [[2, 5, 7], [2, 7, 3]], [[2, 5, 3]]) == 210
    assert macs("TRANSPOSE_CONV", [[4], [3, 2, 2, 8], [1, 4, 4, 8]], [[1, 8, 8, 3]]) == 128 * 12
    assert (macs("ADD", [[1]], [[1]]), macs("UNIDIRECTIONAL_SEQUENCE_LSTM", [[1]], [[1]])) == (0, None)


@pytest.mark.parametrize(
    ("key", "kind", "dtype"),
    [
        ("infer$async_dispatch_1_conv_32x32x64x3x3x3_f32", "conv", "fp32"),
        ("infer$async_dispatch_5_slow_memcpy", "slow_memcpy", ""),
        ("infer$async_dispatch_11_matmul_like_128x8x8x64_f16", "matmul_like", "fp16"),
        ("infer$async_dispatch_0", "dispatch", ""),
    ],
)
def test_a_kernel_of_iree_is_what_its_name_says(key: str, kind: str, dtype: str) -> None:
    told = _iree_operators._described(key)
    assert (told["kind"], told["dtype"], told["macs"], told["bytes"]) == (kind, dtype, None, None)


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    assert _operators.total([1, None]) is None
    assert _operators.size_bytes("float16", (2, 3)) == 12
    assert _operators.size_bytes("resource", ()) is None

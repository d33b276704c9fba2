"""TensorRT as far as it goes without a GPU: what is exported, decided by version, kept, read of engines, said where none is."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from torch import nn

from harness import content, wire
from harness.compress import program
from harness.records import Variant

RUNTIME = content.load("runtime", "tensorrt")
VERSIONS, WALK, ENGINES = RUNTIME._tensorrt_versions, RUNTIME._tensorrt_walk, RUNTIME._tensorrt_engines
CUDA = RUNTIME._cuda
DATA = Path(__file__).resolve().parents[1] / "data" / "tensorrt"
BINDINGS: Mapping[str, Any] = json.loads((DATA / "bindings.json").read_text())
# What devices/runtimes/_tensorrt_*.py and tensorrt.py call, beyond what they ask for with hasattr.
CALLED = {
    "Builder": {"max_threads", "create_network", "create_builder_config", "build_serialized_network"},
    "OnnxParser": {"parse", "num_errors", "get_error"},
    "ParserError": {"desc", "node"},
    "IBuilderConfig": {"set_flag", "clear_flag", "get_flag", "create_timing_cache", "set_timing_cache"}
    | {"profiling_verbosity", "builder_optimization_level"},
    "ITimingCache": {"serialize"},
    "Runtime": {"deserialize_cuda_engine"},
    "ICudaEngine": {"num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype"}
    | {"create_execution_context", "create_engine_inspector"},
    "IExecutionContext": {"get_tensor_shape", "set_tensor_address", "execute_async_v3", "profiler"},
    "EngineInspector": {"execution_context", "get_engine_information"},
    "IProfiler": {"report_layer_time"},
}
SHAPE = (3, 12, 12)
MACHINE = {
    "tensorrt": "10.3.0",
    "power_mode": "15W",
    "gpu": "Orin",
    "compute_capability": "8.7",
    "multiprocessors": 16,
}
OPTIONS = {"threads": 4, "batch": 1, "precision": "fp32"}


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    file = tmp_path_factory.mktemp("net") / "program.pt2"
    return Variant(program.save(network.eval(), program.make_example(SHAPE, 0), file), str(file), SHAPE, 4)


@pytest.fixture(scope="module")
def export(variant: Variant, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Export a precision for a target, into `workdir/artifacts` as on a device."""

    def export(precision: str, **target: str) -> Path:
        workdir = tmp_path_factory.mktemp("workdir")
        (workdir / "artifacts").mkdir()
        np.save(workdir / "seen.npy", program.make_example(SHAPE, 0, None, 6).numpy())
        options = {"batch": "2", "calibration": str(workdir / "seen.npy")}
        facts = RUNTIME.export(variant, target, precision, options, workdir / "artifacts" / "network")
        assert facts == {"ops_executed": None}
        return workdir / "artifacts" / "network"

    return export


# --- what is exported ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_onnx_has_the_opset_that_the_target_reads_and_the_batch(export: Callable[..., Path]) -> None:
    for target, opset in (({}, 18), ({"tensorrt_opset": "17"}, 17)):
        model = onnx.load(export("fp32", **target), format="protobuf")
        assert model.opset_import[0].version == opset
        assert [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [2, *SHAPE]


@pytest.mark.slow
def test_fp16_is_left_to_the_builder_where_it_chooses_and_written_into_the_network_elsewhere(
    export: Callable[..., Path],
) -> None:
    holds = {
        typing: RUNTIME._onnx_graph.read(str(export("fp16", tensorrt_typing=typing))).holds_float16()
        for typing in ("weak", "strong")
    }
    assert holds == {"weak": False, "strong": True}
    with pytest.raises(ValueError, match="strong or weak, not 'loose'"):
        export("fp16", tensorrt_typing="loose")
    with pytest.raises(ValueError, match="must be a number"):
        export("fp32", tensorrt_opset="x")


def test_int8_is_symmetric_and_signed_and_leaves_biases_alone(export: Callable[..., Path]) -> None:
    graph = onnx.load(export("int8"), format="protobuf").graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    rounding = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert rounding
    assert all((values[node.input[2]] == 0).all() and values[node.input[2]].dtype == np.int8 for node in rounding)
    assert not any(value.dtype == np.int32 for value in values.values())


def test_a_network_of_opset_17_computes_the_same(export: Callable[..., Path]) -> None:
    import onnxruntime

    inputs = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    outputs = []
    for target in ({}, {"tensorrt_opset": "17"}):
        session = onnxruntime.InferenceSession(str(export("fp32", **target)), providers=["CPUExecutionProvider"])
        outputs.append(session.run(None, {session.get_inputs()[0].name: inputs})[0])
    np.testing.assert_allclose(*outputs, rtol=1e-6, atol=1e-6)


def test_what_has_no_form_in_opset_17_is_named() -> None:
    tensor = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Mish", ["x"], ["y"], name="act")], "g", [tensor], [out])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    with pytest.raises(ValueError, match="Mish act has no form in opset 17"):
        RUNTIME._tensorrt_export.lowered(model)


# --- what differs between versions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", BINDINGS)
@pytest.mark.parametrize(("precision", "half"), [("fp32", False), ("fp16", False), ("fp16", True), ("int8", False)])
def test_flags_are_those_that_a_version_has_or_the_refusal_says_what_to_export(
    version: str, precision: str, half: bool
) -> None:
    enums = BINDINGS[version]["enums"]
    try:
        settings = VERSIONS.settings(version, precision, half)
    except ValueError as error:
        assert "tensorrt_typing" in str(error)
        assert (precision, half, version[0]) in {("fp16", True, "8"), ("fp16", False, "1")} and version[:2] in (
            "8.",
            "11",
        )
        return
    assert {*settings.flags, *settings.cleared} <= set(enums["BuilderFlag"])
    assert set(settings.network_flags) <= set(enums["NetworkDefinitionCreationFlag"])
    assert settings.strongly_typed or (settings.flags == (() if precision == "fp32" else (precision.upper(),)))
    assert settings.cleared == ("TF32",)


@pytest.mark.parametrize("version", BINDINGS)
def test_every_method_that_is_called_is_bound_in_every_version(version: str) -> None:
    classes = BINDINGS[version]["classes"]
    missing = {name: methods - set(classes[name]) for name, methods in CALLED.items()}
    assert not any(missing.values()), missing
    assert "DETAILED" in BINDINGS[version]["enums"]["ProfilingVerbosity"]
    assert "JSON" in BINDINGS[version]["enums"]["LayerInformationFormat"]


def test_versions_differ_in_these_and_no_other_settings() -> None:
    found = {
        version: VERSIONS.settings(version, "int8", False)
        for version in ("8.5.2", "8.6.1", "10.3.0", "10.16.1", "11.4.0")
    }
    assert [each.network_flags for each in found.values()] == [("EXPLICIT_BATCH",)] * 2 + [()] * 3
    assert [each.flags for each in found.values()] == [("INT8",)] * 4 + [()]
    assert [each.levels for each in found.values()] == [False] + [True] * 4
    assert VERSIONS.settings("10.16.1", "fp16", True).network_flags == ("STRONGLY_TYPED",)
    assert VERSIONS.settings_of_rtx("int8", False) == VERSIONS.settings("11.4.0", "int8", False)


@pytest.mark.parametrize("version", ["8.4.1", "7.1", "eleven", ""])
def test_a_version_that_is_too_old_or_none_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match=r"too old|is none"):
        VERSIONS.settings(version, "fp32", False)


# --- what an engine is kept under ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_key_changes_with_each_thing_that_an_engine_depends_on(export: Callable[..., Path], tmp_path: Path) -> None:
    network = str(export("fp32"))
    asked = [(network, OPTIONS, 0, MACHINE), (str(export("fp32", tensorrt_opset="17")), OPTIONS, 0, MACHINE)]
    asked += [
        (network, {**OPTIONS, name: value}, 0, MACHINE)
        for name, value in (("batch", 2), ("precision", "int8"), ("optimization", "5"))
    ]
    asked += [(network, OPTIONS, 1, MACHINE)]
    asked += [
        (network, OPTIONS, 0, {**MACHINE, name: value})
        for name, value in (
            ("tensorrt", "10.4.0"),
            ("power_mode", "25W"),
            ("gpu", "A2"),
            ("compute_capability", "8.6"),
            ("multiprocessors", 8),
        )
    ]
    names = [RUNTIME.recipe_of(*each).name for each in asked]
    assert len(set(names)) == len(asked)
    assert RUNTIME.recipe_of(*asked[0]).name == names[0]
    timings = [RUNTIME.recipe_of(*each).timings for each in asked]
    assert timings[0] == timings[1]  # another network learns from it
    assert len(set(timings)) == len(asked) - 1  # another build, or anything else, does not


def test_one_network_is_one_engine_whatever_lies_around_the_inference(export: Callable[..., Path]) -> None:
    network = str(export("fp32"))
    around = {"cuda_graph": "on", "transfers": "on", "builds": "3", "sample": "x", "block": 7}
    assert (
        RUNTIME.recipe_of(network, {**OPTIONS, **around}, 0, MACHINE).name
        == RUNTIME.recipe_of(network, OPTIONS, 0, MACHINE).name
    )


@pytest.fixture
def store(tmp_path: Path) -> Any:
    (tmp_path / "artifacts").mkdir()
    return ENGINES.Store(str(tmp_path / "artifacts" / "network"), most_bytes=5000)


def engine(size: int = 1000, byte: bytes = b"x") -> Any:
    return ENGINES.Engine(byte * size, {"build_s": 61.5})


def test_an_engine_is_found_again_as_it_was(store: Any) -> None:
    assert store.find("a") is None
    store.keep("a", engine())
    assert store.find("a") == engine()


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:-40], lambda whole: whole[:300] + b"?" + whole[301:], lambda whole: b""]
)
def test_a_damaged_engine_is_removed_and_not_used(damage: Callable[[bytes], bytes], store: Any) -> None:
    store.keep("a", engine())
    file = store.folder / "a"
    file.write_bytes(damage(file.read_bytes()))
    assert store.find("a") is None
    assert not file.exists()


def test_the_oldest_engines_go_beyond_the_cap_and_never_the_newest(store: Any) -> None:
    for age, name in enumerate("abcd"):
        store.keep(name, engine())
        os.utime(store.folder / name, (age, age))
    store.keep("huge", engine(9000))
    assert [path.name for path in store.folder.iterdir()] == ["huge"]


def test_folders_of_other_runtimes_are_neither_counted_nor_removed_beside_engines(store: Any) -> None:
    other = store.folder / "torch-0123"
    other.mkdir(parents=True)
    (other / "kernel.so").write_bytes(b"x" * 9000)
    os.utime(other, (1, 1))
    for name in "ab":
        store.keep(name, engine())
    assert sorted(path.name for path in store.folder.iterdir()) == ["a", "b", "torch-0123"]
    store.keep("huge", engine(9000))
    assert sorted(path.name for path in store.folder.iterdir()) == ["huge", "torch-0123"]


def _keep(folder: str, byte: int) -> None:
    for _ in range(20):
        ENGINES.Store(folder).keep("a", engine(50_000, bytes([byte])))


@pytest.mark.slow
def test_two_writers_leave_one_whole_engine(store: Any) -> None:
    artifact = str(store.folder.parent / "artifacts" / "network")
    spawned = multiprocessing.get_context("spawn")  # other tests leave threads behind, with which a fork may hang
    with ProcessPoolExecutor(2, mp_context=spawned) as pool:
        list(pool.map(_keep, [artifact] * 2, [1, 2]))
    found = store.find("a")
    assert found is not None and found.plan in (b"\1" * 50_000, b"\2" * 50_000)
    assert [path.name for path in store.folder.iterdir()] == ["a"]


def test_outside_a_workdir_nothing_is_kept(tmp_path: Path) -> None:
    elsewhere = ENGINES.Store(str(tmp_path / "artifact"))
    elsewhere.keep("a", engine())
    elsewhere.keep_timings("a", b"t")
    assert elsewhere.find("a") is None and elsewhere.timings("a") == b"" and list(tmp_path.iterdir()) == []


def test_timings_are_kept_beside_engines(store: Any) -> None:
    assert store.timings("a") == b""
    store.keep_timings("a", b"learnt")
    assert store.timings("a") == b"learnt" and store.find("a") is None


@pytest.mark.parametrize(
    ("says", "mode"),
    [
        ("NV Power Mode: MODE_15W\n0\n", "MODE_15W"),
        ("NVPM WARN: fan mode is not set\nNV Power Mode: MAXN_SUPER\n2\n", "MAXN_SUPER"),
    ],
)
def test_the_power_mode_is_what_nvpmodel_says(says: str, mode: str, tmp_path: Path) -> None:
    command = tmp_path / "nvpmodel"
    command.write_text(f"#!/bin/sh\nprintf '{says}'\n")
    command.chmod(0o755)
    assert ENGINES.power_mode(str(command)) == mode
    command.write_text("#!/bin/sh\necho 'NVPM ERROR: permission' >&2; exit 1\n")
    with pytest.raises(RuntimeError, match="NVPM ERROR: permission"):
        ENGINES.power_mode(str(command))


def test_a_machine_without_power_modes_has_none() -> None:
    assert ENGINES.power_mode("nvpmodel-that-is-not-there") == ""


# --- what is read of an engine -------------------------------------------------------------------------------------


def layers(version: int) -> Any:
    return WALK.layers((DATA / f"inspector-{version}.json").read_text())


@pytest.mark.parametrize(
    ("version", "counts", "precision"),
    [
        (8, {"fp32": 1, "fp16": 0, "int8": 1, "unknown": 0}, "int8"),
        (10, {"fp32": 0, "fp16": 2, "int8": 1, "unknown": 0}, "int8"),
        (11, {"fp32": 1, "fp16": 0, "int8": 0, "unknown": 0}, "fp32"),
    ],
)
def test_layers_tell_the_numbers_that_they_compute_in(version: int, counts: Any, precision: str) -> None:
    assert WALK.counted(layers(version)) == counts
    assert WALK.precision(counts) == precision


def test_multiply_adds_are_counted_from_shapes_and_null_where_the_engine_does_not_tell_them() -> None:
    counted = {version: [each["macs"] for each in WALK.operators(layers(version), {})] for version in (8, 10, 11)}
    assert counted[8] == [0, 16 * 28 * 28 * 131072, 0, 16 * 2560, None]
    assert counted[10] == [0, 32 * 32 * 1152, 3 * 50 * 50 * 64, None, None]
    assert counted[11] == [30 * 30 * 432]


def test_operators_pass_the_wires_door_and_have_their_times_by_name() -> None:
    for version in (8, 10, 11):
        found = layers(version)
        times = {found[0]["Name"]: 1500}
        operators = [wire.Operator(**each) for each in WALK.operators(found, times)]
        assert [each.time_ns for each in operators] == [1500] + [None] * (len(found) - 1)


def test_bytes_layout_and_names_are_as_far_as_the_engine_tells_them() -> None:
    conv = WALK.operators(layers(11), {})[0]
    assert conv["bytes"] == 4 * (3 * 32 * 32 + 16 * 30 * 30 + 432 + 16)
    assert (conv["layout"], conv["dtype"], conv["kind"]) == ("linear", "fp32", "CaskConvolution")
    rounded = WALK.operators(layers(8), {})[1]
    assert (rounded["layout"], rounded["dtype"]) == ("vectorised", "int8")
    assert rounded["bytes"] == 16 * 512 * 28 * 28 + 16 * 256 * 28 * 28 + 131072 + 4 * 256
    names = [each["name"] for each in WALK.operators(layers(10), {})]
    assert names[1] == "/stem/Conv + /Relu"
    assert names[3] == "__myl_FcCastAddErf_myl0_4 (/mlp/fc1/MatMul + /mlp/Erf)"


@pytest.mark.parametrize("text", ['{"Layers": ["conv1", "conv2"], "Bindings": []}', "{}", "[]"])
def test_an_engine_that_tells_names_alone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"names alone|lists no layers"):
        WALK.layers(text)


# --- the driver ----------------------------------------------------------------------------------------------------


def has_driver() -> bool:
    try:
        ctypes.CDLL(CUDA.LIBRARY)
    except OSError:
        return False
    return True


@pytest.mark.skipif(has_driver(), reason="this machine has a CUDA driver")
def test_without_a_driver_it_says_so_and_what_to_do() -> None:
    with pytest.raises(ImportError, match=r"no CUDA driver on this machine .*install NVIDIA's driver; on a Jetson"):
        CUDA.Driver()


def test_without_tensorrt_it_says_which_package_brings_it() -> None:
    pytest.importorskip("onnx")
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="python3-libnvinfer"):
            RUNTIME.versions()
    else:
        pytest.skip("TensorRT is installed")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """CUDA's driver as far as it is called, on the host's memory (tests/data/tensorrt/driver.c)."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    made = tmp_path_factory.mktemp("driver") / "libcuda.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(made), str(DATA / "driver.c")], check=True)
    return str(made)


def test_a_driver_without_a_gpu_is_no_driver(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIVER_WITHOUT_GPU", "1")
    with pytest.raises(ImportError, match=r"no CUDA-capable device is detected \(error 100\)"):
        CUDA.Driver(library)


def test_the_gpu_tells_what_engines_depend_on_and_how_it_is_waited_for(library: str) -> None:
    gpu = CUDA.Gpu(CUDA.Driver(library))
    assert gpu.facts() == {"gpu": "Orin (test)", "compute_capability": "8.7", "multiprocessors": 16}
    assert gpu.wait() == "spin" and gpu.driver.version() == "12.6"


def test_tensors_go_to_the_gpu_and_back_also_by_a_recorded_graph(library: str) -> None:
    gpu = CUDA.Gpu(CUDA.Driver(library))
    there = gpu.buffer(8)
    there.write(b"12345678")
    gpu.upload([there])
    gpu.synchronise()
    there.write(b"........")
    gpu.begin_capture()
    gpu.download([there])
    graph = gpu.end_capture()
    assert there.read() == b"........" and graph.nodes == 1
    graph.launch()
    gpu.synchronise()
    assert there.read() == b"12345678"
    with pytest.raises(ValueError, match="8 bytes was given 3"):
        there.write(b"abc")


def test_an_empty_graph_and_exhausted_memory_are_errors(library: str) -> None:
    gpu = CUDA.Gpu(CUDA.Driver(library))
    gpu.begin_capture()
    with pytest.raises(CUDA.CudaError, match="nothing was recorded"):
        gpu.end_capture()
    with pytest.raises(MemoryError, match="out of memory on the GPU"):
        gpu.buffer(1 << 41)
    with pytest.raises(CUDA.CudaError, match=r"cuGraphLaunch said invalid value \(error 1\)"):
        gpu.driver.call("cuGraphLaunch", None, None)


def test_tokens_are_narrowed_where_the_engine_wants_it_and_never_wrongly() -> None:
    tokens = wire.Tensor.of((3,), np.array([1, -2, 30000], "<i8").tobytes(), "int64")
    assert CUDA.narrowed(tokens, "int64") == tokens.raw()
    assert np.frombuffer(CUDA.narrowed(tokens, "int32"), "<i4").tolist() == [1, -2, 30000]
    with pytest.raises(ValueError, match="does not fit into 32 bits"):
        CUDA.narrowed(wire.Tensor.of((1,), np.array([2**40], "<i8").tobytes(), "int64"), "int32")
    with pytest.raises(TypeError, match="the engine takes float32"):
        CUDA.narrowed(tokens, "float32")

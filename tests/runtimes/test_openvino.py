"""OpenVINO computes what the network computes at each precision, with what is in force read back from it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import saved
from torch import nn

from harness import content, wire
from harness.compress import program
from harness.records import Variant

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as the runtime does: nothing is reported
pytest.importorskip("openvino", reason="openvino is not installed: pip install 'edge-harness[openvino]'")

RUNTIME = content.load("runtime", "openvino")
BOUNDS = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.35}
SHAPE = (3, 16, 16)
Make = Callable[[str], Variant]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    return lambda name: saved(name, SHAPE, tmp_path_factory.mktemp("variant"))


def export(variant: Variant, precision: str, folder: Path, batch: int = 1, **options: str) -> tuple[Path, Any]:
    calibration, out = folder / "calibration.npy", folder / "artifact"
    np.save(calibration, np.random.default_rng(0).standard_normal((30, *variant.input_shape)).astype("float32"))
    options = {"batch": str(batch), **({"calibration": str(calibration)} if precision == "int8" else {}), **options}
    return out, RUNTIME.export(variant, {}, precision, options, out)


def error(session: Any, variant: Variant, batch: int) -> float:
    x = torch.randn(batch, *variant.input_shape, generator=torch.Generator().manual_seed(1))
    wanted = torch.export.load(variant.program).module()(x).detach()
    session.feed([wire.Tensor.of(x.shape, x.numpy().tobytes())])
    (output,) = session.fetch(session())
    found = torch.frombuffer(bytearray(output.raw()), dtype=torch.float32).reshape(output.shape)
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("precision", RUNTIME.PRECISIONS)
@pytest.mark.parametrize("network", ["residual", "depthwise"])
def test_outputs_are_the_network_s_own_and_settings_are_read_back(
    network: str, precision: str, batch: int, make: Make, tmp_path: Path
) -> None:
    if precision == "int8":
        pytest.importorskip("nncf", reason="nncf, which quantises, is not installed")
    variant = make(network)
    path, facts = export(variant, precision, tmp_path, batch)
    assert facts["ops_executed"] > 0
    for threads, pinning in ((1, "off"), (2, "on")):
        session = RUNTIME.load(str(path), {"threads": threads, "pinning": pinning})
        assert error(session, variant, batch) < BOUNDS[precision]
        effective = session.effective()
        assert (effective["threads"], effective["batch"], effective["precision"]) == (threads, batch, precision)
        assert (effective["pinning"], effective["provider"], effective["streams"]) == (pinning, "cpu", 1)
        assert "bf16" not in effective["arithmetic"] and effective["precision_hint"] != "bf16"


def test_float16_is_told_apart_from_arithmetic_in_float16(make: Make, tmp_path: Path) -> None:
    path, _ = export(make("residual"), "fp16", tmp_path)
    effective = RUNTIME.load(str(path), {"threads": 1}).effective()
    import openvino

    capable = "FP16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert effective["precision_hint"] == ("f16" if capable else "f32")
    assert capable or effective["arithmetic"] == "f32"


@pytest.mark.slow
@pytest.mark.parametrize("precision", RUNTIME.PRECISIONS)
def test_the_same_network_gives_the_same_bytes_with_nothing_of_this_machine(
    precision: str, make: Make, tmp_path: Path, repository: Path
) -> None:
    if precision == "int8":
        pytest.importorskip("nncf", reason="nncf, which quantises, is not installed")
    first = export(make("residual"), precision, tmp_path)[0].read_bytes()
    assert export(make("residual"), precision, tmp_path)[0].read_bytes() == first
    for trace in (str(repository), str(tmp_path), "site-packages"):
        assert trace.encode() not in first


def test_a_damaged_artifact_is_refused(make: Make, tmp_path: Path) -> None:
    path, _ = export(make("residual"), "fp32", tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    with pytest.raises(zipfile.BadZipFile):
        RUNTIME.load(str(path), {"threads": 1})
    path.write_bytes(bytes([*whole[: len(whole) // 2], whole[len(whole) // 2] ^ 1, *whole[len(whole) // 2 + 1 :]]))
    with pytest.raises(zipfile.BadZipFile, match="Bad CRC"):
        RUNTIME.load(str(path), {"threads": 1})


def test_another_batch_than_the_artifact_s_is_refused_not_computed(make: Make, tmp_path: Path) -> None:
    variant = make("residual")
    path, _ = export(variant, "fp32", tmp_path)
    with pytest.raises(RuntimeError, match="shape"):
        error(RUNTIME.load(str(path), {"threads": 1}), variant, 2)


def test_an_operator_that_cannot_be_converted_is_named(make: Make, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="bessel_j0"):
        export(make("unknown"), "fp32", tmp_path)


def test_a_given_file_with_an_unknown_operator_is_refused_by_its_name(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Nowhere", ["x"], ["y"], domain="org.example")], "given", ends[:1], ends[1:]
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("org.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), str(tmp_path / "given.onnx"))
    variant = Variant("0" * 64, str(tmp_path / "given.onnx"), (4,), 4, form="onnx")
    with pytest.raises(Exception, match="Nowhere"):
        export(variant, "fp32", tmp_path)


def test_int8_without_inputs_to_calibrate_with_is_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="calibrate"):
        export(make("residual"), "int8", tmp_path, calibration="")


def test_tokens_reach_the_network_as_integers(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(20, 3))
    file = tmp_path / "reader.pt2"
    name = program.save(network, program.make_example((5,), 0, vocabulary=7), file)
    path, _ = export(Variant(name, str(file), (5,), 3, vocabulary=7), "fp32", tmp_path, batch=2)
    session = RUNTIME.load(str(path), {"threads": 1})
    tokens = program.make_example((5,), 1, 7, 2)
    session.feed([wire.Tensor.of(tokens.shape, tokens.numpy().tobytes(), "int64")])
    (output,) = session.fetch(session())
    found = torch.frombuffer(bytearray(output.raw()), dtype=torch.float32).reshape(output.shape)
    torch.testing.assert_close(found, network(tokens), rtol=1e-4, atol=1e-5)


def test_an_operator_that_the_profile_does_not_tell_has_no_time(make: Make, tmp_path: Path) -> None:
    path, _ = export(make("residual"), "fp32", tmp_path)
    session = RUNTIME._loaded(str(path), {"threads": 1}, {"PERF_COUNT": True})
    x = torch.zeros(1, *SHAPE)
    session.feed([wire.Tensor.of(x.shape, x.numpy().tobytes())])
    known = RUNTIME._openvino_operators.walk(session.compiled)
    found, _ = RUNTIME._openvino_operators.timed(session.request, [*known, {**known[0], "name": "fused away"}], 0.01)
    assert found[-1]["time_ns"] is None
    assert all(each["time_ns"] for each in found[:-1] if each["macs"])  # of a mere reshape it may not tell either


def test_nothing_is_reported_home(tmp_path: Path, repository: Path) -> None:
    code = "from harness import content; content.load('runtime', 'openvino').versions()"
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=repository, env={"HOME": str(tmp_path), "PATH": "/bin"}
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("precision", RUNTIME.PRECISIONS)
def test_resnet18_is_within_bounds(precision: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = content.load("model", "resnet18").build()
    with torch.no_grad():
        for _ in range(3):  # statistics that hold, or activations grow from block to block
            network.train()(torch.randn(16, 3, 32, 32))
    file = tmp_path / "resnet18.pt2"
    variant = Variant(program.save(network, torch.randn(2, 3, 32, 32), file), str(file), (3, 32, 32), 10)
    path, _ = export(variant, precision, tmp_path)
    assert error(RUNTIME.load(str(path), {"threads": 2}), variant, 1) < BOUNDS[precision]

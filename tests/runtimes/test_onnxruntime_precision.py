"""ONNX Runtime in fewer bits: within its bounds, told by the graph that runs, and the same bytes every time."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from devices.agent.measure import relative_error
from harness import accuracy, build, child, content, wire
from harness.compress import client, models, program, train
from harness.records import Variant

RUNTIME = "onnxruntime"
SITTING = accuracy.Sitting(300, child.Bounds(150, 4 * 2**30), lambda progress: None)
ARCHES = {"fp32": [{}], "fp16": [{}], "int8": [{"arch": "x86_64"}, {"arch": "aarch64"}]}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return models.build("tiny", content.load("task", "tiny"), 0).eval()


@pytest.fixture(scope="module")
def variant(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Variant:
    file = tmp_path_factory.mktemp("tiny") / "program.pt2"
    return Variant(program.save(network, program.make_example((3, 16, 16), 0), file), str(file), (3, 16, 16), 10)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    file = tmp_path_factory.mktemp("reader") / "program.pt2"
    network = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(20, 3))
    name = program.save(network, program.make_example((5,), 0, vocabulary=7), file)
    return Variant(name, str(file), (5,), 3, vocabulary=7)


def export(
    variant: Variant, precision: str, batch: int, folder: Path, target: dict[str, str] | None = None
) -> tuple[ModuleType, Path]:
    """Export for a batch, calibrated on ten inputs of the network's kind."""
    runtime, out, seen = content.load("runtime", RUNTIME), folder / "artifact", folder / "calibration.npy"
    np.save(seen, program.make_example(variant.input_shape, 0, variant.vocabulary, 10).numpy())
    facts = runtime.export(variant, target or {}, precision, {"batch": str(batch), "calibration": str(seen)}, out)
    assert facts["ops_executed"] > 0
    return runtime, out


def error(session: Any, variant: Variant, batch: int) -> float:
    """How far outputs are from torch's, on inputs of the kind that was calibrated on."""
    inputs = program.make_example(variant.input_shape, 0, variant.vocabulary, 10)[:batch].contiguous()
    wanted = torch.export.load(variant.program).module()(inputs).detach()
    session.feed([wire.Tensor.of(inputs.shape, inputs.numpy().tobytes(), variant.input_dtype)])
    expected = (wire.Tensor.of(wanted.shape, wanted.numpy().tobytes()),)
    return relative_error(session.fetch(session()), expected)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(("precision", "target"), [(p, target) for p, targets in ARCHES.items() for target in targets])
def test_a_precision_is_within_its_bound_and_read_back(
    precision: str, target: dict[str, str], batch: int, variant: Variant, tmp_path: Path
) -> None:
    runtime, path = export(variant, precision, batch, tmp_path, target)
    session = runtime.load(str(path), {"threads": 2, "batch": batch})
    assert error(session, variant, batch) <= build.TOLERANCE[precision]
    effective = session.effective()
    assert (effective["threads"], effective["batch"], effective["precision"]) == (2, batch, precision)
    if precision != "fp32":
        assert sum(effective[f"layers_{name}"] for name in ("fp32", "fp16", "int8")) == 9
    if target == {"arch": "x86_64"}:
        assert effective["layers_int8"] == 9


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_same_network_gives_the_same_bytes_with_nothing_of_this_machine(
    precision: str, variant: Variant, tmp_path: Path
) -> None:
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made.append(export(variant, precision, 1, tmp_path / name)[1].read_bytes())
    assert made[0] == made[1]
    assert b"/tmp" not in made[0] and str(tmp_path).encode() not in made[0] and b"site-packages" not in made[0]


def test_rounded_numbers_that_are_multiplied_in_float32_are_not_called_int8(variant: Variant, tmp_path: Path) -> None:
    runtime, path = export(variant, "int8", 1, tmp_path)
    effective = runtime.load(str(path), {"threads": 1, "optimization": "disabled"}).effective()
    assert (effective["precision"], effective["layers_int8"], effective["layers_fp32"]) == ("fp32", 0, 9)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_network_of_tokens_keeps_them_as_integers(precision: str, reader: Variant, tmp_path: Path) -> None:
    runtime, path = export(reader, precision, 4, tmp_path)
    session = runtime.load(str(path), {"threads": 1})
    assert error(session, reader, 4) <= build.TOLERANCE[precision]
    assert session.effective()["precision"] == precision


def test_a_truncated_artifact_is_refused(variant: Variant, tmp_path: Path) -> None:
    runtime, path = export(variant, "fp16", 1, tmp_path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(Exception, match=r"(?i)protobuf|parse"):
        runtime.load(str(path), {"threads": 1})


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_an_artifact_s_accuracy_is_the_network_s_when_nothing_is_rounded(
    batch: int, network: nn.Module, variant: Variant, tmp_path: Path
) -> None:
    exam = client.examples("tiny", None, lambda progress: None).exam
    _, path = export(variant, "fp32", batch, tmp_path)
    found = accuracy.measure(RUNTIME, path, {"threads": 1, "batch": batch}, exam, SITTING)
    assert found == (train.evaluate(network, content.load("task", "tiny").load().test), "")

"""TensorRT-RTX compiles here what desktop GPUs run: for which GPUs, at which precisions, and in whose words it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from harness import content
from harness.compress import fold, models, pad_first, program, remove
from harness.records import Variant

pytest.importorskip(
    "tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed: pip install 'edge-harness[tensorrt_rtx]'"
)

RUNTIME = content.load("runtime", "tensorrt_rtx")
ENGINES = RUNTIME._tensorrt_engines
BOTH = {"compute_capability": "8.6,8.9"}
Export = Callable[..., Path]


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Compile a network and return the artifact."""

    def export(
        network: nn.Module, shape: Any = (3, 16, 16), precision: str = "fp32", batch: int = 1, target: Any = None
    ) -> Path:
        file = tmp_path / "program.pt2"
        np.save(tmp_path / "seen.npy", program.make_example(shape, 0, None, 4).numpy())
        name = program.save(network.eval(), program.make_example(shape, 0), file)
        options = {"batch": str(batch), "calibration": str(tmp_path / "seen.npy")}
        facts = RUNTIME.export(
            Variant(name, str(file), shape, 10), target or BOTH, precision, options, tmp_path / "artifact"
        )
        assert facts == {"ops_executed": None}
        return tmp_path / "artifact"

    return export


def about(artifact: Path) -> dict[str, Any]:
    """What the artifact says of itself."""
    return dict(ENGINES.unpacked(artifact.read_bytes()).about)


class Residual(nn.Module):
    """A stem, a shortcut and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = (
            nn.Conv2d(3, 16, 3, padding=1),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.Linear(16, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        return self.head(torch.relu(self.body(x) + x).mean((2, 3)))


class Attention(nn.Module):
    """A block of a vision transformer on 16 patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.qkv, self.out = nn.Conv2d(3, 32, 4, 4), nn.Linear(32, 96), nn.Linear(32, 32)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(x)).reshape(x.shape[0], 16, 3, 2, 16).permute(2, 0, 3, 1, 4)
        weights = ((q @ k.transpose(-1, -2)) * 0.25).softmax(-1)
        return self.head((x + self.out((weights @ v).transpose(1, 2).reshape(x.shape))).mean(1))


# --- what compiles -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("network", [Residual, Attention], ids=["convolutions", "attention"])
def test_a_network_compiles_for_two_gpus_at_every_precision(network: Any, precision: str, export: Export) -> None:
    told = about(export(network(), precision=precision))
    assert (told["built_for"], told["written"], told["typing"]) == ("SM86,SM89", precision, "strong")
    assert told["tf32"] == "off" and told["optimization"] == "3"
    assert told["builder"] == RUNTIME._tensorrt_rtx().__version__


@pytest.mark.slow
def test_a_folded_network_compiles(export: Export) -> None:
    network = models.build("tiny", content.load("task", "tiny"), 0).eval()
    example = program.make_example((3, 16, 16), 0)
    names = ["layer1.0.relu1"]
    folded = fold(pad_first(remove(network, names), example, names), example)
    assert folded.groups
    assert about(export(folded.network))["written"] == "fp32"


@pytest.mark.slow
def test_equal_networks_give_equal_bytes(export: Export) -> None:
    torch.manual_seed(0)
    network = Residual()
    assert export(network, batch=2).read_bytes() == export(network, batch=2).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_the_papers_networks_compile(name: str, precision: str, export: Export) -> None:
    torch.manual_seed(0)
    network = content.load("model", name).build(None, 10, (3, 64, 64))
    assert about(export(network, (3, 64, 64), precision))["network_layers"] > 50


# --- which GPUs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", r"for which GPU\? .*compute_capability: \"8.9\""),
        ("8.7", r"Jetson Orin \(compute capability 8.7\): use --runtime tensorrt"),
        ("8.6,8.7", r"Jetson Orin"),
        ("9.0", r"not compile for compute capability 9.0, but for 7.5, 8.0, 8.6, 8.9, 12.0, 12.1"),
        ("nonsense", r"compute capability nonsense"),
    ],
)
def test_a_gpu_that_it_does_not_know_is_refused_with_the_next_move(said: str, words: str) -> None:
    known = RUNTIME._tensorrt_rtx().ComputeCapability.__members__
    with pytest.raises(ValueError, match=words):
        RUNTIME.wanted({"compute_capability": said}, known)


def test_one_or_several_gpus_may_be_named() -> None:
    known = RUNTIME._tensorrt_rtx().ComputeCapability.__members__
    assert RUNTIME.wanted({"compute_capability": "12.0"}, known) == ["SM120"]
    assert RUNTIME.wanted({"compute_capability": "8.6, 8.9"}, known) == ["SM86", "SM89"]


# --- what does not -------------------------------------------------------------------------------------------------


def test_an_unknown_operator_is_named_with_its_node(tmp_path: Path) -> None:
    value, out = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in "xy")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Spread", ["x"], ["y"], "odd", domain="ours")], "g", [value], [out]
    )
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("ours", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "given.onnx")
    given = Variant("0" * 64, str(tmp_path / "given.onnx"), (4,), 4, form="onnx")
    with pytest.raises(RuntimeError, match=r"cannot read this network: Spread odd: .*"):
        RUNTIME.export(given, BOTH, "fp32", {"batch": "1"}, tmp_path / "artifact")


def test_a_network_that_the_builder_gives_up_on_fails_with_the_builders_words() -> None:
    """An int8 constant that is no weight: what a quantiser left behind in Swin."""
    trt, build = RUNTIME._tensorrt_rtx(), RUNTIME._tensorrt_build
    log = build.Log(trt)
    settings = RUNTIME._tensorrt_versions.settings_of_rtx("int8", False)
    with pytest.raises(RuntimeError, match=r"cannot build this network: .*Quantized constant"):
        build.build(trt, log, _stray_constant(), settings, "3", capabilities=[trt.ComputeCapability.SM89])


def _stray_constant() -> bytes:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])
    tensors = [
        onnx.numpy_helper.from_array(np.ones((4, 1), np.int8), "w"),
        onnx.numpy_helper.from_array(np.float32(0.1), "scale"),
        onnx.numpy_helper.from_array(np.int8(0), "zero"),
    ]
    nodes = [
        onnx.helper.make_node("Transpose", ["w"], ["t"]),
        onnx.helper.make_node("DequantizeLinear", ["t", "scale", "zero"], ["d"]),
        onnx.helper.make_node("Add", ["x", "d"], ["y"]),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [value], [out], tensors)
    opsets = [onnx.helper.make_opsetid("", 18)]
    return bytes(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


# --- on the device -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_engine_of_another_version_is_refused_with_the_version_to_install(export: Export) -> None:
    told = about(export(Residual()))
    RUNTIME.require_version(told, RUNTIME._tensorrt_rtx().__version__)
    with pytest.raises(RuntimeError, match=r"built by TensorRT-RTX .*, here is 1.6.0: install tensorrt-rtx=="):
        RUNTIME.require_version(told, "1.6.0")


@pytest.mark.slow
def test_a_damaged_artifact_is_refused(export: Export) -> None:
    artifact = export(Residual())
    artifact.write_bytes(artifact.read_bytes()[:-100])
    with pytest.raises(ValueError, match="no whole engine's file"):
        RUNTIME.load(str(artifact), {"threads": 1, "batch": 1, "precision": "fp32"})


def test_without_a_driver_an_engine_is_not_run_and_the_reason_is_said(export: Export) -> None:
    try:
        RUNTIME._cuda.Driver()
    except ImportError:
        with pytest.raises(ImportError, match=r"no CUDA driver on this machine|finds no GPU"):
            RUNTIME.load(str(export(Residual())), {"threads": 1, "batch": 1, "precision": "fp32"})
        with pytest.raises(ImportError, match=r"no CUDA driver on this machine|finds no GPU"):
            RUNTIME.versions()
    else:
        pytest.skip("this machine has a GPU")

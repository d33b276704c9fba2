"""Costs counted on an ONNX graph are those that torch's own count gives for the network it was exported from."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnx_files
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from harness import content, flops
from harness.compress import program
from harness.given import count, inputs
from harness.records import Cost


class Attention(nn.Module):
    """Two products of activations between three linear maps, as transformers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = torch.softmax(self.q(x) @ self.k(x).transpose(1, 2), -1)
        return self.out(weights @ x)


PADDED = nn.Sequential(
    nn.ZeroPad2d((0, 2, 1, 2)),
    nn.Conv2d(3, 4, 3),
    nn.ReLU(),
    nn.Conv2d(4, 4, 3, padding=1, stride=2, dilation=2),
    nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
    nn.Conv2d(6, 6, 5, groups=3, padding=2),
)


def both(
    network: nn.Module, shape: tuple[int, ...], folder: Path, batch: int = 1, vocabulary: int | None = None
) -> tuple[Cost, Cost]:
    example = program.make_example(shape, 0, vocabulary)
    program.save(network.eval(), example, folder / "net.pt2")
    program.save_onnx(folder / "net.pt2", folder / "net.onnx")
    counted = on_graph(folder / "net.onnx", batch)
    assert not counted.reasons
    return flops.count(network, example[:1]), counted.cost


def on_graph(path: Path, batch: int = 1) -> count.Counted:
    model = onnx.load(str(path))
    return count.count(inputs.at_batch(model, batch) or model, batch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (PADDED, (3, 9, 9)),
        (Attention(), (5, 8)),
        (content.load("model", "tiny").build(), (3, 16, 16)),
        (nn.Sequential(nn.Conv1d(2, 4, 5, padding=2), nn.Flatten(), nn.Linear(28, 3)), (2, 7)),
    ],
    ids=["padded", "attention", "tiny", "1d"],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_depth_and_macs_are_those_of_the_torch_network(
    network: nn.Module, shape: tuple[int, ...], batch: int, tmp_path: Path
) -> None:
    in_torch, on_the_graph = both(network, shape, tmp_path, batch)
    for key in ("depth", "macs", "macs_useful", "flops"):
        assert getattr(on_the_graph, key) == getattr(in_torch, key), key
    # The exporter merges BatchNorm into convolutions, which leaves fewer numbers to read.
    assert 0.9 * in_torch.weight_bytes <= on_the_graph.weight_bytes <= in_torch.weight_bytes


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "vgg16_bn", "mobilenet_v2", "swin_t", "bert"])
def test_the_models_have_on_their_graphs_the_depth_and_macs_that_torch_counts(name: str, tmp_path: Path) -> None:
    if name == "bert" and importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    task = content.load("task", content.constant("model", name, "TASK"))
    network = content.load("model", name).build(None, task.CLASSES, task.SHAPE)
    in_torch, on_the_graph = both(network, task.SHAPE, tmp_path, vocabulary=getattr(task, "VOCABULARY", None))
    for key in ("depth", "macs", "macs_useful"):
        assert getattr(on_the_graph, key) == getattr(in_torch, key), key


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_padding_that_the_runtime_chooses_is_counted_as_it_chooses_it(auto_pad: str, tmp_path: Path) -> None:
    weights = np.ones((1, 1, 4), np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["z"], auto_pad=auto_pad, strides=[2])]
    path = onnx_files.write(
        tmp_path / "net.onnx", nodes, [("x", TensorProto.FLOAT, ("N", 1, 5))], ["z"], {"w": weights}
    )
    cost = on_graph(path).cost
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (met,) = session.run(None, {"x": np.ones((1, 1, 5), np.float32)})  # of ones by ones: how many taps meet something
    assert cost.macs_useful == met.sum() and cost.macs == 4 * met.size


def test_what_no_rule_counts_makes_depth_and_macs_null_with_a_reason(tmp_path: Path) -> None:
    nodes = [helper.make_node("Einsum", ["x", "w"], ["z"], equation="nc,cd->nd")]
    weights = np.ones((3, 2), np.float32)
    path = onnx_files.write(tmp_path / "net.onnx", nodes, [("x", TensorProto.FLOAT, ("N", 3))], ["z"], {"w": weights})
    counted = on_graph(path)
    assert (counted.cost.depth, counted.cost.macs, counted.cost.macs_useful, counted.cost.flops) == (None,) * 4
    assert counted.reasons["depth"] == counted.reasons["macs"] == "no rule counts Einsum"
    assert (counted.cost.parameters, counted.cost.weight_bytes) == (6, 24)


def test_a_shape_that_onnx_does_not_infer_leaves_depth_and_takes_macs_away(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["where"]),  # as many as there are
        helper.make_node("Cast", ["where"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["numbers"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["z"]),
    ]
    weights = np.ones((2, 2), np.float32)
    path = onnx_files.write(tmp_path / "net.onnx", nodes, [("x", TensorProto.FLOAT, ("N", 3))], ["z"], {"w": weights})
    counted = on_graph(path)
    assert counted.cost.depth == 1 and counted.cost.macs is None
    assert "onnx does not infer the shape of z, which MatMul" in counted.reasons["macs"]


def test_layers_on_weights_alone_and_on_shapes_cost_nothing(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["w", "w"], ["square"]),  # a runtime does this once, while it loads
        helper.make_node("MatMul", ["x", "square"], ["z"]),
    ]
    weights = np.ones((3, 3), np.float32)
    path = onnx_files.write(tmp_path / "net.onnx", nodes, [("x", TensorProto.FLOAT, ("N", 3))], ["z"], {"w": weights})
    assert (on_graph(path).cost.depth, on_graph(path).cost.macs) == (1, 9)

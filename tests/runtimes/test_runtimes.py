"""Each runtime computes what the network computes, with the settings that were asked for, read back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from harness import content, wire
from harness.compress import program
from harness.records import Variant

BATCHES = (1, 3)


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """A small network with a convolution, a BatchNorm, an add and a linear layer, as a program with a free batch."""

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
            self.head = nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(self.norm(self.conv(x)) + x)
            return self.head(y.mean((2, 3)))

    torch.manual_seed(0)
    free = {0: torch.export.Dim("batch", min=1, max=64)}
    path = tmp_path_factory.mktemp("variant") / "small.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(Small().eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=(free,)), path)
    return Variant("0" * 64, str(path), (3, 8, 8), 4)


def exported(name: str, variant: Variant, batch: int, folder: Path, **options: str) -> tuple[ModuleType, Path, Any]:
    runtime, out = content.load("runtime", name), folder / "artifact"
    facts = runtime.export(variant, {}, "fp32", {**options, "batch": str(batch)}, out)
    return runtime, out, facts


def infer(session: Any, x: torch.Tensor) -> torch.Tensor:
    session.feed([wire.Tensor.of(x.shape, x.numpy().tobytes())])
    (output,) = session.fetch(session())
    return torch.frombuffer(bytearray(output.raw()), dtype=torch.float32).reshape(output.shape)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("onnxruntime", {}),
        ("onnxruntime", {"io_binding": "on", "spinning": "off", "optimization": "disabled"}),
        ("torch", {}),
    ],
)
def test_outputs_are_the_network_s_own_and_settings_are_read_back(
    name: str, options: Mapping[str, str], batch: int, variant: Variant, tmp_path: Path
) -> None:
    runtime, path, _ = exported(name, variant, batch, tmp_path, **options)
    session = runtime.load(str(path), {**options, "threads": 1, "batch": batch, "precision": "fp32"})
    x = torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    wanted = torch.export.load(variant.program).module()(x)
    for _ in range(2):
        assert torch.allclose(infer(session, x), wanted, rtol=1e-5, atol=1e-6)
        x = x.flip(0)
        wanted = wanted.flip(0)
    effective = session.effective()
    assert (effective["threads"], effective["inter_op_threads"], effective["precision"]) == (1, 1, "fp32")
    assert effective["batch"] == batch
    for option, values in runtime.OPTIONS.items():
        assert effective[option] == options.get(option, values[0])


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_the_same_network_gives_the_same_bytes_with_nothing_of_this_machine(
    runtime: str, variant: Variant, tmp_path: Path, repository: Path
) -> None:
    again = tmp_path / "again"
    again.mkdir()
    program = torch.export.load(variant.program)
    for node in program.graph.nodes:
        node.meta["stack_trace"] = f'File "{again}/network.py", line 7'
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, again / "again.pt2")
    twin = Variant(variant.name, str(again / "again.pt2"), variant.input_shape, variant.classes)
    assert Path(twin.program).read_bytes() != Path(variant.program).read_bytes()
    _, path, _ = exported(runtime, variant, 1, tmp_path)
    _, other, _ = exported(runtime, twin, 1, again)
    first = path.read_bytes()
    assert other.read_bytes() == first
    assert str(repository).encode() not in first and b"site-packages" not in first


def test_onnx_is_opset_18_at_a_fixed_batch(variant: Variant, tmp_path: Path) -> None:
    import onnx

    _, path, _ = exported("onnxruntime", variant, 3, tmp_path)
    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 18)]
    shape = model.graph.input[0].type.tensor_type.shape
    assert [extent.dim_value for extent in shape.dim] == [3, 3, 8, 8]


def test_operators_are_counted_in_the_graph_that_runs(variant: Variant, tmp_path: Path) -> None:
    _, path, facts = exported("onnxruntime", variant, 1, tmp_path, optimization="disabled")
    import onnx

    assert facts["ops_executed"] == len(onnx.load(str(path)).graph.node)
    _, _, optimised = exported("onnxruntime", variant, 1, tmp_path)
    assert 0 < optimised["ops_executed"] < facts["ops_executed"] + 3
    assert exported("torch", variant, 1, tmp_path)[2] == {"ops_executed": 6}


def test_another_batch_than_the_artifact_s_is_refused_not_computed(variant: Variant, tmp_path: Path) -> None:
    runtime, path, _ = exported("onnxruntime", variant, 1, tmp_path)
    session = runtime.load(str(path), {"threads": 1})
    with pytest.raises(Exception, match="Got invalid dimensions"):
        infer(session, torch.zeros(2, 3, 8, 8))


def test_empty_answers_with_the_sample_s_outputs_row_by_row(variant: Variant, tmp_path: Path) -> None:
    x, y = torch.randn(4, 3, 8, 8), torch.randn(4, 4)
    tensors = [(wire.Tensor.of(t.shape, t.numpy().tobytes()),) for t in (x, y)]
    (tmp_path / "sample.json").write_text(wire.encode(wire.Sample(*tensors)))
    runtime, path, facts = exported("empty", variant, 2, tmp_path)
    session = runtime.load(str(path), {"threads": 1, "sample": str(tmp_path / "sample.json")})
    assert torch.equal(infer(session, x[2:]), y[2:]) and torch.equal(infer(session, x[:2]), y[:2])
    assert facts == {"ops_executed": 0} and session() is None
    assert session.effective() == {"threads": 1, "provider": "none", "precision": "fp32", "batch": 2}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """A network that reads five tokens of a vocabulary of seven."""
    file = tmp_path_factory.mktemp("reader") / "reader.pt2"
    network = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(20, 3))
    name = program.save(network, program.make_example((5,), 0, vocabulary=7), file)
    return Variant(name, str(file), (5,), 3, vocabulary=7)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_tokens_reach_the_network_as_integers(name: str, batch: int, reader: Variant, tmp_path: Path) -> None:
    runtime, path, _ = exported(name, reader, batch, tmp_path)
    session = runtime.load(str(path), {"threads": 1})
    tokens = program.make_example((5,), 1, 7, batch)
    session.feed([wire.Tensor.of(tokens.shape, tokens.numpy().tobytes(), "int64")])
    (output,) = session.fetch(session())
    found = torch.frombuffer(bytearray(output.raw()), dtype=torch.float32).reshape(output.shape)
    torch.testing.assert_close(found, torch.export.load(reader.program).module()(tokens))
    assert (session.effective()["precision"], session.effective()["batch"]) == ("fp32", batch)

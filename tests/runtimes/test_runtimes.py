"""Each runtime computes what the network computes, with the settings that were asked for, read back."""

from __future__ import annotations

import os
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
        ("torch", {"layout": "channels_last"}),
        pytest.param("torch", {"mode": "compile"}, marks=pytest.mark.slow),
        pytest.param("torch", {"mode": "compile", "layout": "channels_last"}, marks=pytest.mark.slow),
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


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_there_is_an_error_that_says_what_is_and_what_gets_it(
    provider: str, variant: Variant, tmp_path: Path
) -> None:
    runtime, path, _ = exported("onnxruntime", variant, 1, tmp_path, provider=provider)
    with pytest.raises(RuntimeError, match=r"not in this onnxruntime .*CPUExecutionProvider: install onnxruntime-gpu"):
        runtime.load(str(path), {"threads": 1, "provider": provider})


def test_a_provider_that_leaves_nodes_to_the_cpu_is_an_error_not_a_slow_network(
    variant: Variant, tmp_path: Path
) -> None:
    """Azure's provider is in every wheel and takes no node of an ordinary network."""
    import onnxruntime

    runtime, path, _ = exported("onnxruntime", variant, 1, tmp_path)
    with pytest.raises(RuntimeError, match="does not take every node of this network"):
        runtime._onnx_providers.session(str(path), onnxruntime.SessionOptions(), "AzureExecutionProvider")


def test_what_is_in_force_names_the_provider_and_all_that_stand_by(variant: Variant, tmp_path: Path) -> None:
    runtime, path, _ = exported("onnxruntime", variant, 1, tmp_path)
    effective = runtime.load(str(path), {"threads": 1, "provider": "cpu"}).effective()
    assert (effective["provider"], effective["providers"]) == ("cpu", "CPUExecutionProvider")


def test_engines_of_a_tensorrt_provider_lie_in_the_workdir_by_all_they_depend_on(tmp_path: Path) -> None:
    providers = content.load("runtime", "onnxruntime")._onnx_providers
    (tmp_path / "artifacts").mkdir()
    fp32, fp16 = (providers._settings(str(tmp_path / "artifacts" / "a"), "tensorrt", p) for p in ("fp32", "fp16"))
    assert (fp32["trt_fp16_enable"], fp16["trt_fp16_enable"]) == ("0", "1")
    places = {Path(each["trt_engine_cache_path"]) for each in (fp32, fp16)}
    assert len(places) == 2 and all(place.is_dir() and place.parent == tmp_path / "engines" for place in places)
    (used,) = {place for place in places if str(place) == fp32["trt_engine_cache_path"]}
    os.utime(used, (1, 1))
    providers._settings(str(tmp_path / "artifacts" / "a"), "tensorrt", "fp32")
    assert used.stat().st_mtime > 1  # used just now: the last to go
    assert "trt_engine_cache_path" not in providers._settings(str(tmp_path / "a"), "tensorrt", "fp32")


def test_int8_for_cuda_s_provider_is_refused_with_what_has_it(variant: Variant, tmp_path: Path) -> None:
    runtime = content.load("runtime", "onnxruntime")
    with pytest.raises(ValueError, match="does not compute in int8: say --option provider=tensorrt"):
        runtime.export(variant, {}, "int8", {"provider": "cuda", "batch": "1"}, tmp_path / "out")


def test_torch_in_half_precision_says_whether_this_processor_computes_in_it(variant: Variant, tmp_path: Path) -> None:
    runtime, path, _ = exported("torch", variant, 2, tmp_path)
    session = runtime.load(str(path), {"threads": 1, "precision": "fp16"})
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    wanted = torch.export.load(variant.program).module()(x)
    assert torch.allclose(infer(session, x), wanted, atol=2e-2) and not torch.equal(infer(session, x), wanted)
    effective = session.effective()
    assert effective["precision"] == "fp16"
    assert effective["arithmetic"] in ("fp16", "fp32, rounded to fp16")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "sees no CUDA GPU here .* say --option device=cpu"),
        ({"cuda_graph": "on"}, "recorded on a GPU: say --option device=cuda"),
    ],
)
def test_torch_asked_for_what_this_machine_lacks_says_so_and_the_next_move(
    options: Mapping[str, str], message: str, variant: Variant, tmp_path: Path
) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    runtime, path, _ = exported("torch", variant, 1, tmp_path)
    with pytest.raises(RuntimeError, match=message):
        runtime.load(str(path), {"threads": 1, **options})


def test_torch_compiles_nothing_where_there_is_no_compiler_and_says_what_gets_one(
    variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, path, _ = exported("torch", variant, 1, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(RuntimeError, match=r"needs a C\+\+ compiler here: apt-get install g\+\+"):
        runtime.load(str(path), {"threads": 1, "mode": "compile"})


COMPILED = {"threads": 1, "batch": 2, "precision": "fp32", "mode": "compile"}


def test_what_torch_compiles_serves_every_block_and_another_batch_is_another_folder(tmp_path: Path) -> None:
    runtime, path = content.load("runtime", "torch"), str(tmp_path / "artifacts" / "a")
    asked = [{**COMPILED, "block": n, "sample": f"s{n}"} for n in (1, 2)] + [{**COMPILED, "batch": 4}]
    folders = [runtime._kept(path, torch, options) for options in asked]
    assert folders[0] == folders[1] != folders[2]


def in_workdir(variant: Variant, workdir: Path) -> tuple[ModuleType, Path, Path]:
    """A torch artifact among a device's, and its sample."""
    (workdir / "artifacts").mkdir()
    x = torch.randn(4, 3, 8, 8)
    (workdir / "sample").write_text(wire.encode(wire.Sample((wire.Tensor.of(x.shape, x.numpy().tobytes()),), ())))
    runtime, path, _ = exported("torch", variant, 2, workdir / "artifacts")
    return runtime, path, workdir / "sample"


def test_torch_prepares_nothing_that_is_not_compiled(variant: Variant, tmp_path: Path) -> None:
    runtime, path, _ = in_workdir(variant, tmp_path)
    runtime.prepare(str(path), {**COMPILED, "mode": "eager", "sample": "/nowhere"})
    assert not (tmp_path / "engines").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_torch_compiles_before_the_first_block_and_two_blocks_find_it(variant: Variant, tmp_path: Path) -> None:
    runtime, path, sample = in_workdir(variant, tmp_path)
    runtime.prepare(str(path), {**COMPILED, "sample": str(sample), "block": 1})
    (made,) = (tmp_path / "engines").iterdir()
    code = sorted(made.rglob("*.so"))
    assert code
    os.utime(made, (1, 1))
    for block in (1, 2):
        torch._dynamo.reset()
        session = runtime.load(str(path), {**COMPILED, "sample": str(sample), "block": block})
        infer(session, torch.randn(2, 3, 8, 8))
        assert session.effective()["mode"] == "compile"
    assert list((tmp_path / "engines").iterdir()) == [made] and sorted(made.rglob("*.so")) == code
    assert made.stat().st_mtime > 1  # used just now: the last to go


def test_compiled_torch_says_why_it_tells_no_operators_before_it_compiles_anything(
    variant: Variant, tmp_path: Path
) -> None:
    runtime, path, _ = in_workdir(variant, tmp_path)
    with pytest.raises(RuntimeError, match=r"which PyTorch does not dispatch: to see operators, .* mode=eager"):
        runtime.operators(str(path), COMPILED, (), 1.0)
    assert not (tmp_path / "engines").exists()


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

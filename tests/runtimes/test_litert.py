"""LiteRT computes what the network computes at each precision, and says what is really in force."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness import content, wire
from harness.compress import program
from harness.records import Variant

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed: pip install 'edge-harness[litert]'")
pytest.importorskip("litert_converter", reason="litert-torch is not installed: pip install 'edge-harness[litert]'")

SHAPE, BOUNDS = (3, 16, 16), {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.35}


class Residual(nn.Module):
    """A stem, a block with a shortcut, a pooling layer and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.first, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.stem(x)))
        y = torch.relu(self.second(torch.relu(self.first(y))) + y)
        return self.head(nn.functional.max_pool2d(y, 2).mean((2, 3)))


def depthwise() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU6(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6()]
    return nn.Sequential(
        *layers, nn.Conv2d(8, 12, 1, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {"residual": Residual, "depthwise": depthwise}


def save(network: nn.Module, folder: Path, shape: tuple[int, ...] = SHAPE, vocabulary: int | None = None) -> Variant:
    file = folder / "network.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = program.save(network.eval(), program.make_example(shape, 0, vocabulary), file)
    return Variant(name, str(file), shape, 5, vocabulary)


@pytest.fixture(scope="module")
def runtime() -> ModuleType:
    return content.load("runtime", "litert")


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Variant]:
    torch.manual_seed(0)
    return {name: save(make(), tmp_path_factory.mktemp(name)) for name, make in NETWORKS.items()}


def export(runtime: ModuleType, variant: Variant, precision: str, folder: Path, batch: int = 1) -> Any:
    """Write `folder`/artifact; calibrated with what the networks are fed with."""
    example = program.make_example(variant.input_shape, 5, variant.vocabulary, batch=21)
    np.save(folder / "calibration.npy", example.numpy())
    options = {"batch": str(batch), "calibration": str(folder / "calibration.npy")}
    return runtime.export(variant, {}, precision, options, folder / "artifact")


@pytest.fixture(scope="module")
def artifact(
    runtime: ModuleType, variants: dict[str, Variant], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str, int], Path]:
    """Artifacts by network, precision and batch, each made once."""
    made: dict[tuple[str, str, int], Path] = {}

    def make(name: str, precision: str, batch: int) -> Path:
        if (name, precision, batch) not in made:
            folder = tmp_path_factory.mktemp("artifact")
            facts = export(runtime, variants[name], precision, folder, batch)
            assert 6 <= facts["ops_executed"] <= 12, facts
            made[name, precision, batch] = folder / "artifact"
        return made[name, precision, batch]

    return make


def tensor(x: Tensor) -> wire.Tensor:
    return wire.Tensor.of(x.shape, x.numpy().tobytes(), str(x.dtype).removeprefix("torch."))


def infer(session: Any, x: Tensor) -> Tensor:
    session.feed([tensor(x)])
    (output,) = session.fetch(session())
    return torch.frombuffer(bytearray(output.raw()), dtype=torch.float32).reshape(output.shape)


def error(session: Any, variant: Variant, batch: int, seed: int = 1) -> float:
    x = program.make_example(variant.input_shape, seed, variant.vocabulary, batch)
    wanted = torch.export.load(variant.program).module()(x).detach()
    return float((infer(session, x) - wanted).abs().max() / wanted.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize(("name", "batch", "threads"), [("residual", 1, 1), ("residual", 4, 2), ("depthwise", 1, 2)])
def test_outputs_are_the_network_s_own_within_the_precision_s_bound_and_settings_are_read_back(
    name: str,
    batch: int,
    threads: int,
    precision: str,
    runtime: ModuleType,
    artifact: Any,
    variants: dict[str, Variant],
) -> None:
    path = artifact(name, precision, batch)
    session = runtime.load(str(path), {"threads": threads, "batch": batch, "precision": precision})
    errors = [error(session, variants[name], batch, seed) for seed in (1, 2, 1)]
    assert max(errors) <= BOUNDS[precision] and errors[0] == errors[2]
    effective = session.effective()
    asked = {"threads": threads, "batch": batch, "precision": precision, "xnnpack": "on", "outside_xnnpack": ""}
    assert {key: effective[key] for key in asked} == asked
    among = {"fp32": {"fp32"}, "fp16": {"fp32"}, "int8": {"int8", "fp32,int8"}}
    assert effective["arithmetic"] in among[precision]


def test_more_threads_than_cores_are_counted_as_they_were_started(runtime: ModuleType, artifact: Any) -> None:
    for threads in (1, 3, 7):
        session = runtime.load(str(artifact("residual", "fp32", 1)), {"threads": threads})
        assert session.effective()["threads"] == threads


def test_xnnpack_is_off_where_that_is_asked_for_and_the_outputs_are_the_same(
    runtime: ModuleType, artifact: Any, variants: dict[str, Variant]
) -> None:
    session = runtime.load(str(artifact("residual", "fp32", 1)), {"threads": 2, "xnnpack": "off"})
    assert error(session, variants["residual"], 1) <= BOUNDS["fp32"]
    effective = session.effective()
    assert (effective["xnnpack"], effective["threads"]) == ("off", 2)
    assert "CONV_2D" in effective["outside_xnnpack"].split(",")


def test_a_delegate_that_did_not_come_is_an_error_not_a_slower_case(
    runtime: ModuleType, artifact: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ai_edge_litert.interpreter import OpResolverType as kinds

    without = {**kinds.__members__, "BUILTIN": kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
    monkeypatch.setattr("ai_edge_litert.interpreter.OpResolverType", SimpleNamespace(**without))
    with pytest.raises(RuntimeError, match="xnnpack: asked for on, in force is off"):
        runtime.load(str(artifact("residual", "fp32", 1)), {"threads": 1})


@pytest.mark.slow
@pytest.mark.parametrize("precision", BOUNDS)
def test_the_same_network_gives_the_same_bytes_with_nothing_of_this_machine(
    precision: str, runtime: ModuleType, artifact: Any, variants: dict[str, Variant], tmp_path: Path, repository: Path
) -> None:
    loaded = torch.export.load(variants["residual"].program)
    for node in loaded.graph.nodes:
        node.meta["stack_trace"] = f'File "{tmp_path}/network.py", line 7'
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(loaded, tmp_path / "again.pt2")
    export(runtime, Variant("0" * 64, str(tmp_path / "again.pt2"), SHAPE, 5), precision, tmp_path)
    first = artifact("residual", precision, 1).read_bytes()
    assert (tmp_path / "artifact").read_bytes() == first
    assert str(repository).encode() not in first and b"site-packages" not in first and b"/tmp" not in first


def test_a_precision_makes_the_file_as_small_as_it_says(artifact: Any) -> None:
    sizes = [artifact("residual", precision, 1).stat().st_size for precision in BOUNDS]
    assert sizes[0] > sizes[1] and sizes[0] > sizes[2]


def test_a_file_at_another_precision_than_its_case_is_seen(runtime: ModuleType, artifact: Any) -> None:
    session = runtime.load(str(artifact("residual", "fp16", 1)), {"threads": 1, "precision": "fp32"})
    assert session.effective()["precision"] == "fp16"


def test_a_damaged_file_is_refused(runtime: ModuleType, artifact: Any, tmp_path: Path) -> None:
    whole = artifact("residual", "fp32", 1).read_bytes()
    for n, damaged in enumerate((b"", whole[: len(whole) // 2], b"\0" * len(whole), b"no flatbuffer at all")):
        (tmp_path / str(n)).write_bytes(damaged)
        with pytest.raises((ValueError, RuntimeError)):
            runtime.load(str(tmp_path / str(n)), {"threads": 1})


def test_another_batch_than_the_artifact_s_is_refused_not_computed(runtime: ModuleType, artifact: Any) -> None:
    session = runtime.load(str(artifact("residual", "fp32", 1)), {"threads": 1})
    with pytest.raises(ValueError, match="Got 2 but expected 1"):
        infer(session, torch.zeros(2, *SHAPE))


def test_an_operator_that_cannot_be_converted_fails_with_its_name(runtime: ModuleType, tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j0(x.mean((2, 3)))

    with pytest.raises(RuntimeError, match="bessel_j0"):
        export(runtime, save(Odd(), tmp_path), "fp32", tmp_path)
    assert not (tmp_path / "artifact").exists()


def test_int8_without_calibration_is_refused(runtime: ModuleType, variants: dict[str, Variant], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="calibration"):
        runtime.export(variants["residual"], {}, "int8", {"batch": "1"}, tmp_path / "artifact")


@pytest.mark.parametrize("precision", BOUNDS)
def test_tokens_reach_the_network_as_integers(precision: str, runtime: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 5))
    variant = save(network, tmp_path, (5,), vocabulary=7)
    export(runtime, variant, precision, tmp_path, batch=3)
    session = runtime.load(str(tmp_path / "artifact"), {"threads": 1})
    assert error(session, variant, 3) <= BOUNDS[precision]
    assert (session.effective()["precision"], session.effective()["batch"]) == (precision, 3)


def test_converting_says_nothing_and_leaves_logging_as_it_was(
    runtime: ModuleType, variants: dict[str, Variant], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export(runtime, variants["depthwise"], "fp16", tmp_path)
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == logging.NOTSET and sys.stdout.writable()


def test_versions_name_the_library_that_runs(runtime: ModuleType) -> None:
    assert set(runtime.versions()) == {"ai-edge-litert", "numpy"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("precision", BOUNDS)
def test_resnet18_agrees_at_every_precision(precision: str, runtime: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    variant = save(content.load("model", "resnet18").build(None, 10, (3, 32, 32)), tmp_path, (3, 32, 32))
    facts = export(runtime, variant, precision, tmp_path)
    session = runtime.load(str(tmp_path / "artifact"), {"threads": 2})
    assert error(session, variant, 1) <= BOUNDS[precision]
    assert session.effective()["precision"] == precision
    assert session.effective()["outside_xnnpack"] == "PADV2"  # before the pooling layer: XNNPACK pads with zeros only
    assert facts["ops_executed"] == 36

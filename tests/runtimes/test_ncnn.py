"""ncnn computes what the network computes, and a network that it cannot load fails in export, not on the device."""

from __future__ import annotations

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

for package in ("ncnn", "pnnx"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'edge-harness[ncnn]'")

RUNTIME = content.load("runtime", "ncnn")
BOUNDS = {"fp32": 1e-4, "fp16": 2e-2}
SHAPE = (3, 16, 16)
Make = Callable[[str], Variant]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    return lambda name: saved(name, SHAPE, tmp_path_factory.mktemp("variant"))


def export(variant: Variant, precision: str, folder: Path, batch: int = 1) -> tuple[Path, Any]:
    out = folder / "artifact"
    return out, RUNTIME.export(variant, {}, precision, {"batch": str(batch)}, out)


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
    variant = make(network)
    path, facts = export(variant, precision, tmp_path, batch)
    assert facts["ops_executed"] > 0
    for threads in (1, 2):
        session = RUNTIME.load(str(path), {"threads": threads})
        assert error(session, variant, batch) < BOUNDS[precision]
        effective = session.effective()
        assert (effective["threads"], effective["batch"], effective["precision"]) == (threads, batch, precision)
        assert effective["provider"] == "cpu"


def test_arithmetic_is_float16_only_where_asked_for_and_where_the_cpu_has_it(make: Make, tmp_path: Path) -> None:
    import ncnn

    half = "f16" if ncnn.cpu_support_arm_asimdhp() else "f32"
    for precision, arithmetic in (("fp32", "f32"), ("fp16", half)):
        path, _ = export(make("residual"), precision, tmp_path)
        assert RUNTIME.load(str(path), {"threads": 1}).effective()["arithmetic"] == arithmetic


@pytest.mark.parametrize("precision", RUNTIME.PRECISIONS)
def test_the_same_network_gives_the_same_bytes_with_nothing_of_this_machine(
    precision: str, make: Make, tmp_path: Path, repository: Path
) -> None:
    first = export(make("residual"), precision, tmp_path)[0].read_bytes()
    assert export(make("residual"), precision, tmp_path)[0].read_bytes() == first
    for trace in (str(repository), str(tmp_path), "site-packages"):
        assert trace.encode() not in first


def test_float16_weights_take_half_the_room(make: Make, tmp_path: Path) -> None:
    whole, half = (export(make("residual"), precision, tmp_path)[0].stat().st_size for precision in ("fp32", "fp16"))
    assert half < 0.75 * whole


def test_a_damaged_artifact_is_refused(make: Make, tmp_path: Path) -> None:
    path, _ = export(make("residual"), "fp32", tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    with pytest.raises(zipfile.BadZipFile):
        RUNTIME.load(str(path), {"threads": 1})
    path.write_bytes(bytes([*whole[: len(whole) // 2], whole[len(whole) // 2] ^ 1, *whole[len(whole) // 2 + 1 :]]))
    with pytest.raises(zipfile.BadZipFile, match="Bad CRC"):
        RUNTIME.load(str(path), {"threads": 1})


def test_a_network_that_ncnn_refuses_is_an_error_of_load_not_a_crash(make: Make, tmp_path: Path) -> None:
    path, _ = export(make("residual"), "fp32", tmp_path)
    with zipfile.ZipFile(path) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    parts["net.param"] = parts["net.param"].replace(b"InnerProduct", b"OuterProduct")
    with zipfile.ZipFile(path, "w") as packed:
        for name, part in parts.items():
            packed.writestr(name, part)
    with pytest.raises(RuntimeError, match=r"cannot load net\.param"):
        RUNTIME.load(str(path), {"threads": 1})


def test_an_operator_that_ncnn_has_not_is_named_in_export(make: Make, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"ncnn cannot load what pnnx has written.*bessel_j0"):
        export(make("unknown"), "fp32", tmp_path)


@pytest.mark.parametrize("batch", [1, 2])
def test_tokens_reach_the_network_as_integers(batch: int, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(20, 3))
    file = tmp_path / "reader.pt2"
    name = program.save(network, program.make_example((5,), 0, vocabulary=7), file)
    path, _ = export(Variant(name, str(file), (5,), 3, vocabulary=7), "fp32", tmp_path, batch)
    session = RUNTIME.load(str(path), {"threads": 1})
    tokens = program.make_example((5,), 1, 7, batch)
    session.feed([wire.Tensor.of(tokens.shape, tokens.numpy().tobytes(), "int64")])
    (output,) = session.fetch(session())
    found = np.frombuffer(output.raw(), "<f4").reshape(output.shape)
    np.testing.assert_allclose(found, network(tokens).detach().numpy(), rtol=1e-4, atol=1e-5)


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

"""ExecuTorch computes what the network computes, in the precision asked for, and says what XNNPACK did not take."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness import content, wire
from harness.compress import program
from harness.records import Variant

pytest.importorskip("torchao", reason="torchao is not installed: pip install .[executorch]")
pytest.importorskip("executorch.exir._warnings", reason="executorch is not installed: pip install .[executorch]")

# Importing the converters takes seconds, as does each conversion on a busy machine.
pytestmark = [pytest.mark.timeout(900), pytest.mark.filterwarnings("default")]
BOUNDS = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.35}


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.short, self.head = nn.Conv2d(3, 8, 1, stride=2), nn.Linear(8, 4)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(torch.relu(self.norm(self.conv(x)) + self.short(x))))


class Depthwise(nn.Module):
    """Its mean without kept dimensions is no operator of XNNPACK's."""

    def __init__(self) -> None:
        super().__init__()
        layers = (
            nn.Conv2d(3, 6, 3, padding=1, groups=3, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU6(),
            nn.Conv2d(6, 8, 1),
        )
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(x).mean((2, 3)))


class Only(nn.Module):
    """One operator behind a convolution, or alone."""

    def __init__(self, operator: Any, alone: bool = False) -> None:
        super().__init__()
        self.before, self.operator = nn.Identity() if alone else nn.Conv2d(3, 3, 1), operator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.operator(self.before(x))


def saved(
    network: nn.Module, folder: Path, shape: tuple[int, ...] = (3, 8, 8), vocabulary: int | None = None
) -> Variant:
    file = folder / "network.pt2"
    name = program.save(network.eval(), program.make_example(shape, 0, vocabulary), file)
    np.save(folder / "calibration.npy", program.make_example(shape, 5, vocabulary, 40).numpy())
    return Variant(name, str(file), shape, 4, vocabulary=vocabulary)


def exported(variant: Variant, precision: str, batch: int, out: Path) -> tuple[ModuleType, Any]:
    runtime = content.load("runtime", "executorch")
    options = {"batch": str(batch), "calibration": str(Path(variant.program).parent / "calibration.npy")}
    return runtime, runtime.export(variant, {}, precision, options, out)


def infer(session: Any, x: torch.Tensor, dtype: str = "float32") -> torch.Tensor:
    session.feed([wire.Tensor.of(x.shape, x.numpy().tobytes(), dtype)])
    session()
    (output,) = session.fetch(session())
    return torch.frombuffer(bytearray(output.raw()), dtype=torch.float32).reshape(output.shape)


def error(variant: Variant, session: Any, batch: int, dtype: str = "float32") -> float:
    x = program.make_example(variant.input_shape, 1, variant.vocabulary, batch)
    with torch.inference_mode():
        wanted = torch.export.load(variant.program).module()(x)
    found = infer(session, x, dtype)
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("network", [Residual, Depthwise])
def test_outputs_are_the_network_s_own_and_settings_are_read_back(
    network: type[nn.Module], precision: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    variant, out = saved(network(), tmp_path), tmp_path / "artifact"
    for batch in (1, 4):
        runtime, facts = exported(variant, precision, batch, out)
        for threads in (1, 2):
            session = runtime.load(str(out), {"threads": threads, "batch": batch, "precision": precision})
            assert error(variant, session, batch) <= BOUNDS[precision]
            effective = session.effective()
            assert (effective["threads"], effective["batch"], effective["precision"]) == (threads, batch, precision)
            assert effective["provider"] == "XnnpackBackend"
            assert effective["delegated_operators"] + effective["portable_calls"] == facts["ops_executed"]
            left = "aten::mean.out" if network is Depthwise else ""
            assert effective["portable_operators"] == left and effective["portable_calls"] == len(left.split())
            del session  # the next one makes another pool


@pytest.mark.slow
def test_the_same_network_gives_the_same_bytes_with_nothing_of_this_machine(tmp_path: Path, repository: Path) -> None:
    variant = saved(Residual(), tmp_path)
    written = []
    for name in ("first", "second"):
        exported(variant, "int8", 1, tmp_path / name)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    assert str(repository).encode() not in written[0] and b"site-packages" not in written[0]


def test_tokens_reach_the_network_as_integers(tmp_path: Path) -> None:
    variant = saved(nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(20, 3)), tmp_path, (5,), 7)
    for precision in ("fp32", "fp16"):
        runtime, _ = exported(variant, precision, 3, tmp_path / "artifact")
        session = runtime.load(str(tmp_path / "artifact"), {"threads": 1})
        assert error(variant, session, 3, "int64") <= BOUNDS[precision]
        assert session.effective()["portable_operators"] == "aten::embedding.out"
        del session


@pytest.mark.slow
def test_what_cannot_be_run_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="linalg_inv"):
        exported(saved(Only(torch.linalg.inv), tmp_path), "fp32", 1, tmp_path / "artifact")
    alone = saved(Only(lambda x: torch.cumsum(x, 1), alone=True), tmp_path)
    with pytest.raises(NotImplementedError, match=r"XNNPACK takes none of the operators: aten::cumsum\.out"):
        exported(alone, "fp32", 1, tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()


def test_int8_without_inputs_to_calibrate_on_is_refused(tmp_path: Path) -> None:
    runtime = content.load("runtime", "executorch")
    with pytest.raises(ValueError, match="calibrat"):
        runtime.export(saved(Residual(), tmp_path), {}, "int8", {"batch": "1"}, tmp_path / "artifact")


def test_a_damaged_artifact_and_another_batch_are_refused(tmp_path: Path) -> None:
    out, damaged = tmp_path / "artifact", tmp_path / "damaged"
    runtime, _ = exported(saved(Residual(), tmp_path), "fp32", 1, out)
    whole = out.read_bytes()
    for part in (b"", b"\xff" * 300, whole[: len(whole) // 2], b"\0" * 64 + whole[64:]):
        damaged.write_bytes(part)
        with pytest.raises((ValueError, RuntimeError)):
            runtime.load(str(damaged), {"threads": 1})
    session = runtime.load(str(out), {"threads": 1})
    with pytest.raises(RuntimeError):
        infer(session, torch.zeros(2, 3, 8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("precision", BOUNDS)
def test_resnet18_is_wholly_xnnpack_s(precision: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    variant, out = saved(content.load("model", "resnet18").build(), tmp_path, (3, 32, 32)), tmp_path / "artifact"
    runtime, _ = exported(variant, precision, 1, out)
    session = runtime.load(str(out), {"threads": 1})
    assert error(variant, session, 1) <= BOUNDS[precision]
    assert session.effective()["portable_calls"] == 0 and session.effective()["precision"] == precision

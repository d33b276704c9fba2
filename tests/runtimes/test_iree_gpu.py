"""IREE for GPUs: compiled here without one; what each artifact is for, and what is said where it does not fit."""

from __future__ import annotations

import ctypes
import json
import re
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from harness import content
from harness.compress import program
from harness.records import Variant

pytest.importorskip("iree.compiler", reason="iree-base-compiler is not installed: pip install edge-harness[iree]")
pytest.importorskip("iree.runtime", reason="iree-base-runtime is not installed: pip install edge-harness[iree]")

CUDA = {"device": "cuda", "batch": "1"}


@pytest.fixture(scope="module")
def runtime() -> ModuleType:
    return content.load("runtime", "iree")


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    file = tmp_path_factory.mktemp("network") / "network.pt2"
    name = program.save(network.eval(), program.make_example((3, 8, 8), 0), file)
    return Variant(name, str(file), (3, 8, 8), 4)


def read(artifact: Path) -> tuple[dict[str, Any], bytes]:
    with zipfile.ZipFile(artifact) as archive:
        return json.loads(archive.read("about.json")), archive.read("network.vmfb")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("capability", "architecture"), [("8.7", "sm_87"), ("8.6", "sm_86"), ("8.9", "sm_89"), ("9.0", "sm_89")]
)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_compiles_for_gpus_and_says_for_which(
    capability: str, architecture: str, precision: str, runtime: ModuleType, variant: Variant, tmp_path: Path
) -> None:
    out = tmp_path / "artifact"
    made = runtime.export(variant, {"compute_capability": capability, "cpu": "cortex-a78ae"}, precision, CUDA, out)
    about, network = read(out)
    assert made["ops_executed"] > 1 and made["made_for"] == ""  # no processor's code is in it
    assert (about["device"], about["compute_capability"], about["cpu"]) == ("cuda", capability, architecture)
    assert set(re.findall(rb"\.target (sm_\d+)", network)) == {architecture.encode()}


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ({"cpu": "x86-64-v3"}, "says no compute_capability: name its GPU's"),
        ({"compute_capability": "5.2"}, "compute capability 6.0 and newer, not 5.2"),
        ({"compute_capability": "sm_87"}, 'a number such as "8.7"'),
    ],
)
def test_a_target_that_does_not_say_enough_is_refused(
    target: dict[str, str], complaint: str, runtime: ModuleType, variant: Variant, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=complaint):
        runtime.export(variant, target, "fp32", CUDA, tmp_path / "artifact")


def test_another_gpu_than_it_was_made_for_is_refused_with_the_next_move(runtime: ModuleType) -> None:
    target = runtime._iree_target
    target.require_gpu("8.7", "8.7")
    with pytest.raises(
        target.WrongTargetError, match=r"for compute capability 8\.7, the GPU here has 8\.6: give the device"
    ):
        target.require_gpu("8.7", "8.6")
    assert target.WrongTargetError.cause == "wrong-target"


@pytest.mark.slow
def test_without_a_driver_it_says_so(runtime: ModuleType, variant: Variant, tmp_path: Path) -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        out = tmp_path / "artifact"
        runtime.export(variant, {"compute_capability": "8.7"}, "fp32", CUDA, out)
        with pytest.raises(ImportError, match=r"no CUDA driver on this machine .*: install NVIDIA's driver"):
            runtime.load(str(out), {"threads": 1})
    else:
        pytest.skip("there is a driver here")

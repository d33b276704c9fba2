"""IREE: compiled here, for here and for other processors; equal to torch, with what was asked for read back."""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from small_networks import Downsampling
from torch import nn

from harness import content, wire
from harness.compress import program
from harness.records import Variant

pytest.importorskip("iree.compiler", reason="iree-base-compiler is not installed: pip install edge-harness[iree]")
pytest.importorskip("iree.runtime", reason="iree-base-runtime is not installed: pip install edge-harness[iree]")

BOUNDS = {"fp32": 1e-4, "fp16": 2e-2}
SHAPE = (3, 12, 12)
LOAD = """
import json, sys
from harness import content, wire
x = wire.decode(wire.Sample, sys.stdin.read(), "sample")
session = content.load("runtime", "iree").load(sys.argv[1], {"threads": int(sys.argv[2])})
session.feed(x.inputs)
outputs = session.fetch(session())
print(json.dumps([wire.encode(wire.Sample(x.inputs, outputs)), session.effective()]))
"""


def depthwise() -> nn.Module:
    """What MobileNets are made of."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, 2, padding=1, groups=8),
        nn.BatchNorm2d(8),
        nn.Hardswish(),
        nn.Conv2d(8, 12, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    )


class Patches(nn.Module):
    """A convolution that cuts patches, and attention among them."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.join, self.head = nn.Conv2d(3, 24, 4, 4), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.cut(x).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, -1)
        x = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.head(self.join(x.squeeze(1)).mean(1))


NETWORKS = {"residual": lambda: Downsampling(pooled=True), "depthwise": depthwise, "patches": Patches}


def saved(network: nn.Module, folder: Path, shape: tuple[int, ...] = SHAPE) -> Variant:
    file = folder / "network.pt2"
    name = program.save(network.eval(), program.make_example(shape, 0), file)
    return Variant(name, str(file), shape, 5)


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Variant]:
    made = {}
    for name, build in NETWORKS.items():
        torch.manual_seed(0)
        made[name] = saved(build(), tmp_path_factory.mktemp(name))
    return made


@pytest.fixture(scope="module")
def runtime() -> ModuleType:
    return content.load("runtime", "iree")


@pytest.fixture(scope="module")
def artifact(runtime: ModuleType, variants: dict[str, Variant], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("artifact") / "artifact"
    made = runtime.export(variants["residual"], {"host": "this one"}, "fp32", {"batch": "1"}, out)
    assert made["ops_executed"] > 3
    with zipfile.ZipFile(out) as archive:
        assert made["made_for"] == json.loads(archive.read("about.json"))["cpu"] not in ("", "host")
    return out


def tensor(values: torch.Tensor) -> wire.Tensor:
    return wire.Tensor.of(values.shape, values.numpy().tobytes(), str(values.dtype).removeprefix("torch."))


def infer(session: Any, x: torch.Tensor) -> torch.Tensor:
    session.feed([tensor(x)])
    (output,) = session.fetch(session())
    return torch.frombuffer(bytearray(output.raw()), dtype=torch.float32).reshape(output.shape)


def error(found: torch.Tensor, variant: Variant, x: torch.Tensor) -> float:
    wanted = torch.export.load(variant.program).module()(x)
    assert found.shape == wanted.shape
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_torch_s_and_what_is_in_force_is_read_back(
    name: str, precision: str, batch: int, runtime: ModuleType, variants: dict[str, Variant], tmp_path: Path
) -> None:
    variant = variants[name]
    runtime.export(variant, {}, precision, {"batch": str(batch)}, tmp_path / "artifact")
    session = runtime.load(str(tmp_path / "artifact"), {"threads": 1})
    for seed in (1, 2):
        x = program.make_example(SHAPE, seed, batch=batch)
        assert error(infer(session, x), variant, x) < BOUNDS[precision]
    effective = session.effective()
    assert (effective["threads"], effective["provider"]) == (1, "local-sync")
    assert (effective["batch"], effective["precision"]) == (batch, precision)
    assert effective["layout"] == ("as written" if name == "patches" else "channels-last")
    assert effective["arithmetic"] in {"fp32", precision}


@pytest.mark.parametrize(("threads", "driver"), [(1, "local-sync"), (2, "local-task"), (3, "local-task")])
def test_threads_are_those_that_were_asked_for(
    threads: int, driver: str, artifact: Path, variants: dict[str, Variant], repository: Path
) -> None:
    x = program.make_example(SHAPE, 1, batch=1)
    command = [sys.executable, "-c", LOAD, str(artifact), str(threads)]  # a process has one set of workers
    sample = wire.encode(wire.Sample((tensor(x),), ()))
    done = subprocess.run(command, input=sample, capture_output=True, text=True, cwd=repository, check=True)
    answer, effective = json.loads(done.stdout)
    assert (effective["threads"], effective["provider"]) == (threads, driver)
    (output,) = wire.decode(wire.Sample, answer, "answer").outputs
    found = torch.frombuffer(bytearray(output.raw()), dtype=torch.float32).reshape(output.shape)
    assert error(found, variants["residual"], x) < BOUNDS["fp32"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", BOUNDS)
def test_the_same_network_gives_the_same_bytes_with_nothing_of_this_machine(
    precision: str, runtime: ModuleType, variants: dict[str, Variant], tmp_path: Path, repository: Path
) -> None:
    written = []
    for n in range(2):
        torch.manual_seed(0)
        (tmp_path / str(n)).mkdir()
        again = saved(Downsampling(pooled=True), tmp_path / str(n))
        runtime.export(again, {}, precision, {"batch": "1"}, tmp_path / str(n) / "artifact")
        written.append((tmp_path / str(n) / "artifact").read_bytes())
    assert written[0] == written[1]
    for name in (str(repository), str(tmp_path), "site-packages", "/tmp"):
        assert name.encode() not in written[0]


@pytest.mark.parametrize("where", ["cut", "empty", "flipped", "not one"])
def test_a_damaged_artifact_is_refused(where: str, runtime: ModuleType, artifact: Path, tmp_path: Path) -> None:
    whole = artifact.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "cut": whole[:middle],
        "empty": b"",
        "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
        "not one": b"hello" * 1000,
    }
    (tmp_path / "artifact").write_bytes(damaged[where])
    with pytest.raises(zipfile.BadZipFile):
        runtime.load(str(tmp_path / "artifact"), {"threads": 1})


def test_a_runtime_of_another_version_than_the_compiler_is_refused_with_both_named(
    runtime: ModuleType, artifact: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(artifact) as old, zipfile.ZipFile(tmp_path / "artifact", "w") as new:
        about = json.loads(old.read("about.json"))
        assert about["compiler"] == metadata.version("iree-base-compiler")
        new.writestr("about.json", json.dumps({**about, "compiler": "3.1.4"}))
        new.writestr("network.vmfb", old.read("network.vmfb"))
    here = metadata.version("iree-base-runtime")
    with pytest.raises(RuntimeError, match=rf"compiled by IREE 3\.1\.4, the runtime here is IREE {here}"):
        runtime.load(str(tmp_path / "artifact"), {"threads": 1})


def test_boards_get_the_runtime_of_the_compiler_that_the_extra_brings(runtime: ModuleType, repository: Path) -> None:
    extra = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]["iree"]
    (wanted,) = (package for package in runtime.PACKAGES if package.startswith("iree"))
    assert sorted(extra) == [wanted.replace("runtime", "compiler"), wanted]


def test_another_batch_than_the_artifact_s_is_refused_not_computed(runtime: ModuleType, artifact: Path) -> None:
    session = runtime.load(str(artifact), {"threads": 1})
    with pytest.raises(ValueError, match="dimension 0 mismatch; expected 1 but have 2"):
        infer(session, torch.zeros(2, *SHAPE))


def test_an_operator_that_the_compiler_does_not_know_is_named(runtime: ModuleType, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="com.example")
    domains = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    onnx.save(
        helper.make_model(helper.make_graph([node], "g", value[:1], value[1:]), opset_imports=domains), tmp_path / "n"
    )
    unknown = Variant("0" * 64, str(tmp_path / "n"), (4,), 4, form="onnx")
    with pytest.raises(RuntimeError, match="Frobnicate"):
        runtime.export(unknown, {}, "fp32", {"batch": "1"}, tmp_path / "artifact")


def test_a_precision_that_it_does_not_have_is_refused(
    runtime: ModuleType, variants: dict[str, Variant], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="iree has no int8"):
        runtime.export(variants["residual"], {}, "int8", {"batch": "1"}, tmp_path / "artifact")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cpu", "half"), [("cortex-a53", "fp32"), ("cortex-a72", "fp32"), ("cortex-a76", "fp16"), ("cortex-a78ae", "fp16")]
)
def test_it_compiles_for_the_processors_of_boards(
    cpu: str, half: str, runtime: ModuleType, variants: dict[str, Variant], tmp_path: Path
) -> None:
    out = tmp_path / "artifact"
    runtime.export(variants["depthwise"], {"cpu": cpu, "triple": "aarch64-linux-gnu"}, "fp16", {"batch": "1"}, out)
    with zipfile.ZipFile(out) as archive:
        about, network = json.loads(archive.read("about.json")), archive.read("network.vmfb")
    assert (about["cpu"], about["half_arithmetic"]) == (cpu, half)
    assert about["triple"].startswith("aarch64") and b"embedded-elf-arm_64" in network
    if platform.machine() == "x86_64":
        with pytest.raises(RuntimeError, match="compiled for aarch64, this is x86_64: give the device the profile"):
            runtime.load(str(out), {"threads": 1})


@pytest.mark.skipif(platform.machine() != "x86_64", reason="runs code for x86-64")
def test_it_compiles_for_the_common_x86(runtime: ModuleType, variants: dict[str, Variant], tmp_path: Path) -> None:
    out, target = tmp_path / "artifact", {"cpu": "x86-64-v3", "triple": "x86_64-linux-gnu"}
    runtime.export(variants["depthwise"], target, "fp32", {"batch": "1"}, out)
    session, x = runtime.load(str(out), {"threads": 1}), program.make_example(SHAPE, 1, batch=1)
    assert error(infer(session, x), variants["depthwise"], x) < BOUNDS["fp32"]
    assert session.effective()["cpu"] == "x86-64-v3"


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ({"cpu": "cortex-a99", "triple": "aarch64-linux-gnu"}, "Unknown CPU"),
        ({"cpu": "cortex-a99", "triple": "x86_64-linux-gnu"}, "Unknown CPU"),
        ({"triple": "aarch64-linux-gnu"}, "not which cpu"),
    ],
)
def test_a_processor_that_the_compiler_does_not_know_is_refused_not_replaced(
    target: dict[str, str], complaint: str, runtime: ModuleType, variants: dict[str, Variant], tmp_path: Path
) -> None:
    with pytest.raises((RuntimeError, ValueError), match=complaint):
        runtime.export(variants["depthwise"], target, "fp32", {"batch": "1"}, tmp_path / "artifact")


@pytest.mark.parametrize("precision", BOUNDS)
def test_tokens_reach_the_network_as_integers(precision: str, runtime: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(20, 3))
    name = program.save(network, program.make_example((5,), 0, vocabulary=7), tmp_path / "reader.pt2")
    reader = Variant(name, str(tmp_path / "reader.pt2"), (5,), 3, vocabulary=7)
    runtime.export(reader, {}, precision, {"batch": "3"}, tmp_path / "artifact")
    session, tokens = runtime.load(str(tmp_path / "artifact"), {"threads": 1}), program.make_example((5,), 1, 7, 3)
    assert error(infer(session, tokens), reader, tokens) < BOUNDS[precision]
    assert (session.effective()["precision"], session.effective()["batch"]) == (precision, 3)


@pytest.mark.parametrize("opset", [16, 18])
def test_a_given_file_is_computed_with_its_free_batch_fixed(
    opset: int, runtime: ModuleType, variants: dict[str, Variant], tmp_path: Path
) -> None:
    import onnx

    program.save_onnx(Path(variants["residual"].program), tmp_path / "given.onnx")
    model = onnx.version_converter.convert_version(onnx.load(tmp_path / "given.onnx"), opset)
    onnx.save(model, tmp_path / "given.onnx")
    given = dataclasses.replace(variants["residual"], program=str(tmp_path / "given.onnx"), form="onnx")
    runtime.export(given, {}, "fp32", {"batch": "2"}, tmp_path / "artifact")
    session, x = runtime.load(str(tmp_path / "artifact"), {"threads": 1}), program.make_example(SHAPE, 1, batch=2)
    assert error(infer(session, x), variants["residual"], x) < BOUNDS["fp32"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("model", ["resnet18", "mobilenet_v2"])
def test_whole_networks_are_torch_s(model: str, precision: str, runtime: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, shape = content.load("model", model).build(None, 10, (3, 32, 32)), (3, 32, 32)
    with torch.no_grad():
        network.train()(program.make_example(shape, 5, batch=16))  # statistics that keep numbers at their size
    variant = saved(network, tmp_path, shape)
    runtime.export(variant, {}, precision, {"batch": "1"}, tmp_path / "artifact")
    session, x = runtime.load(str(tmp_path / "artifact"), {"threads": 1}), program.make_example(shape, 1, batch=1)
    assert error(infer(session, x), variant, x) < BOUNDS[precision]

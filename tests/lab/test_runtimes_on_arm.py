"""Networks compiled here, run by each runtime on virtual arm64 boards: outputs equal, settings read back, and what does not fit.

The smallest real path: compiled, packages found and sent, probed, deployed, a block measured by the agent. ExecuTorch needs
torch in the board's own Python: both are put there first (`lab.executorch`).
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import Downsampling

from harness import build, inventory, jobs, preflight, wire
from harness.build import BuildRequest
from harness.compress import program
from harness.records import Calibration, Variant
from harness.records import Device as Listed
from lab import executorch
from lab.device import Device
from lab.inventory import virtual
from lab.machine import LabError

pytestmark = [pytest.mark.lab, pytest.mark.slow]
SHAPE = (3, 16, 16)
PYTHON = "/usr/local/lib/python3.11/dist-packages"
BRIEF = wire.Protocol(timed_s=0.05, max_samples=20, warmup_cap_s=0.5, spin_tolerance=1e6, looks=(2,), budget_s=1.0)
# What is cut off by the budget has been measured once; all that is asked here is what a process said.


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Variant, Calibration]:
    """The network, and inputs for int8."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("network")
    name = program.save(Downsampling().eval(), program.make_example(SHAPE, 0), folder / "network.pt2")
    inputs = np.random.default_rng(0).standard_normal((32, *SHAPE)).astype("float32")
    np.save(folder / "inputs.npy", inputs)
    sha256 = hashlib.sha256((folder / "inputs.npy").read_bytes()).hexdigest()
    return Variant(name, str(folder / "network.pt2"), SHAPE, 5), Calibration(str(folder / "inputs.npy"), sha256)


Network = tuple[Variant, Calibration]


@pytest.fixture(scope="module")
def pis(lab_rootfs: Path, lab_key: Path) -> Iterator[dict[str, Device]]:
    with Device("pi4", lab_rootfs, lab_key) as pi4, Device("pi5", lab_rootfs, lab_key) as pi5:
        yield {"pi4": pi4, "pi5": pi5}


def listed(device: Device, folder: Path, profile: str | None = None) -> Listed:
    """The device as an inventory lists it, with its own profile or another's."""
    text = virtual(device)
    (folder / "inventory.yaml").write_text(text.replace(device.kind.profile, profile) if profile else text)
    return inventory.device(device.name, folder / "inventory.yaml")


def processes(
    device: Listed, runtime: str, precisions: Sequence[str], network: Network, folder: Path
) -> list[wire.ProcessEvent | wire.FailedEvent]:
    """Build for a device, deploy, and measure a block there: what came of each process."""
    variant, calibration = network
    requests = [
        BuildRequest(
            variant,
            runtime,
            precision,
            1,
            build.target_of(device, runtime, precision),
            calibration=calibration if precision == "int8" else None,
        )
        for precision in precisions
    ]
    artifacts = build.build(requests, lambda _: None, workers=1)
    made = {each.sha256: each for each in artifacts if not isinstance(each, str)}
    assert len(made) == len(precisions), artifacts
    cases = tuple(
        wire.JobCase(
            case_id=f"{n:016x}",
            label=artifact.precision,
            artifact=wire.FileRef(artifact.sha256, artifact.size_bytes),
            sample=wire.FileRef(artifact.sample_sha256, artifact.sample_bytes),
            tolerance=artifact.tolerance,
            precision=artifact.precision,
            threads=2,
            batch=1,
            made_for=artifact.made_for,
        )
        for n, artifact in enumerate(made.values())
    )
    name = f"{runtime}-{'-'.join(precisions)}-{device.profile.name}"  # a job of one name is measured once
    job = wire.Job("run", name, runtime, 0, cases, (), BRIEF)
    (folder / "jobs" / runtime).mkdir(parents=True)
    with closing(preflight.transport.connect(device)) as line:
        ready = preflight.make(device, [runtime], lambda _: None, line=line)
        jobs.bring(line, folder, job, made.values(), lambda _: None, ready.environments[runtime])
        journal = line.follow(job, 0).decode()
    events = wire.JournalReader(job, "journal").read(journal)
    return [event for event in events if isinstance(event, wire.ProcessEvent | wire.FailedEvent)]


def say(device: Device, runtime: str, events: Iterable[wire.ProcessEvent]) -> None:
    """Print what docs/lab.md quotes (pytest -s)."""
    for event in events:
        said = {key: event.effective.get(key) for key in ("precision", "arithmetic", "provider", "cpu")}
        error, seconds = event.artifact_error, event.wall_ns / 1e9
        print(json.dumps([device.name, runtime, said, f"{error:.1e}", round(seconds, 1)]))


@pytest.mark.timeout(900)  # emulated, each process takes many times as long as beside nothing else
@pytest.mark.parametrize("kind", ["pi4", "pi5"])
@pytest.mark.parametrize(
    ("runtime", "precisions"),
    [
        ("onnxruntime", ("fp32", "int8")),
        ("litert", ("fp32", "int8")),
        ("iree", ("fp32", "fp16")),
        ("ncnn", ("fp32", "fp16")),
    ],
)
def test_what_was_compiled_here_computes_there_what_torch_computes_here(
    kind: str,
    runtime: str,
    precisions: tuple[str, ...],
    pis: dict[str, Device],
    network: Network,
    tmp_path: Path,
    shared_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    _require_equal_outputs(pis[kind], runtime, precisions, network, tmp_path)


@pytest.mark.timeout(1200)  # an emulated import of torch takes over a minute, and there are several
def test_executorch_s_programs_run_beside_the_torch_of_the_board_s_own_python(
    pis: dict[str, Device], network: Network, tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    _give_executorch(pis["pi5"])  # torch 2.10 dies of an illegal instruction when a cortex-a72 imports it
    _require_equal_outputs(pis["pi5"], "executorch", ("fp32", "int8"), network, tmp_path)


def _require_equal_outputs(
    board: Device, runtime: str, precisions: tuple[str, ...], network: Network, folder: Path
) -> None:
    for precision in precisions:
        own = folder / precision
        own.mkdir()
        (event,) = processes(listed(board, own), runtime, (precision,), network, own)[:1]
        assert isinstance(event, wire.ProcessEvent), event
        say(board, runtime, [event])
        assert event.artifact_error <= build.TOLERANCE[precision]
        assert (event.effective["threads"], event.effective["precision"]) == (2, precision)


def _give_executorch(board: Device) -> None:
    """Install what its owner would have installed on the board: torch and ExecuTorch, for all Pythons there."""
    try:
        packages = executorch.packages()
    except LabError as error:
        pytest.skip(str(error))
    place = board.path(PYTHON)
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", f"{packages}/.", place], check=True)


def test_a_network_for_a_cortex_a76_dies_on_a_cortex_a72_at_once_and_is_said_to_be_that(
    pis: dict[str, Device], network: Network, tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    wrong = listed(pis["pi4"], tmp_path, profile="raspberry-pi-5")
    (event,) = processes(wrong, "iree", ("fp16",), network, tmp_path)
    assert isinstance(event, wire.FailedEvent) and event.cause == "illegal-instruction" and event.final
    said = "SIGILL: the artifact was made for cortex-a76, this processor (cortex-a72) lacks instructions of it"
    assert said in event.detail

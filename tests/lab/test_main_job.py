"""The main job over SSH, on bare virtual boards: what they compute is what this machine computes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import store, wire
from lab.device import Device
from lab.runs import Boards, ended, kill_agent, measured, require_each_once, until

pytestmark = [pytest.mark.lab, pytest.mark.slow]
MAIN = ("--model", "tiny", "--runtime", "onnxruntime", "--no-controls", "--threads", "1", "--json")
NO_INDEX = {"PIP_NO_INDEX": "1", "PIP_INDEX_URL": "http://127.0.0.1:9"}


@pytest.fixture(scope="module")
def boards(lab_rootfs: Path, lab_key: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boards]:
    """Two Pis after a main job on both at once, then a Jetson-like board after its own; `shown.json` is what was printed.

    A budget holds a block of all cases even where the machine that emulates them is busy.
    """
    with (
        Device("pi4", lab_rootfs, lab_key) as pi4,
        Device("pi5", lab_rootfs, lab_key) as pi5,
        Device("jetson", lab_rootfs, lab_key) as jetson,
    ):
        made = Boards(tmp_path_factory.mktemp("main") / "home", tmp_path_factory.mktemp("main-cache"), pi4, pi5, jetson)
        pis = made("run", "--device", f"{pi4.name},{pi5.name}", *MAIN, "--budget", "60")
        assert pis.code == 0, pis.err
        other = made("run", "--device", jetson.name, *MAIN, "--budget", "30")
        assert other.code == 0, other.err
        (made.folder / "shown.json").write_text(json.dumps([*pis.json, other.json]))
        yield made


def shown(boards: Boards) -> list[Any]:
    return list(json.loads((boards.folder / "shown.json").read_text()))


def folder_of(boards: Boards, each: Any) -> Path:
    return boards.folder / "results" / each["device"] / each["run"]


def files_there(device: Device) -> dict[str, tuple[int, int]]:
    """Everything that was sent to a device for good, with size and inode: what is sent again gets another."""
    root = device.path(device.workdir)
    found = {
        path: path.lstat() for kind in ("agents", "artifacts", "wheels", "envs") for path in root.glob(kind + "/*")
    }
    return {str(path.relative_to(root)): (stat.st_size, stat.st_ino) for path, stat in found.items()}


def artifacts(folder: Path) -> dict[str, set[str]]:
    """The hashes of artifact and sample by case, as the device was told them."""
    job = store.load_job(folder, "onnxruntime")
    assert job is not None
    return {case.label: {case.artifact.sha256, case.sample.sha256} for case in job.cases}


def test_boards_compute_what_this_machine_computes_and_all_are_stored_and_marked_virtual(boards: Boards) -> None:
    done = boards("run", "--device", "local", *MAIN, "--budget", "3")
    assert done.code == 0, done.err
    here = done.json
    for each in shown(boards):
        folder = folder_of(boards, each)
        record = json.loads((folder / "run.json").read_text())
        assert record["virtual"] is True and record["status"] == "done"
        assert {case["status"] for case in each["cases"]} == {"ok"}
        assert [case["variant"] for case in each["cases"]] == [case["variant"] for case in here["cases"]]
        assert all(case["artifact_error"] <= 1e-4 for case in each["cases"])
        assert artifacts(folder) == artifacts(boards.runs_of("local")[-1]), "other artifacts than here"
        assert [case["accuracy"] for case in each["cases"]] == [case["accuracy"] for case in here["cases"]]
        require_each_once(folder, "onnxruntime")
        facts = starts(folder)[0].facts
        assert facts["machine"] == "aarch64" and facts["versions"]["onnxruntime"]


def starts(folder: Path) -> list[wire.StartEvent]:
    return [event for event in store.events(folder, "onnxruntime") if isinstance(event, wire.StartEvent)]


def test_a_second_run_sends_nothing_and_asks_no_index(boards: Boards) -> None:
    before = {device.name: files_there(device) for device in boards.devices}
    boards.changes = NO_INDEX
    done = boards("run", "--device", boards.devices[0].name, *MAIN, "--budget", "3")
    boards.changes = {}
    assert done.code == 0, done.err
    assert {device.name: files_there(device) for device in boards.devices} == before
    assert not any(path.name.startswith(".part-") for path in boards.devices[0].path("~/.edge-harness").rglob(".*"))


# --- power modes ---------------------------------------------------------------------------------------------------


def mode(jetson: Device) -> str:
    """What the device says is in force."""
    return jetson.run("nvpmodel", "-q").stdout


def test_a_power_mode_is_set_and_put_back_also_when_the_agent_is_killed(
    jetson: Device, tmp_path: Path, shared_cache: Path
) -> None:
    boards = Boards(tmp_path / "home", shared_cache, jetson)
    before = mode(jetson)
    assert "15W" not in before
    process = boards.begin("empty", "--power-mode", "15W", "--json")
    until(measured(jetson, 1), process)
    assert "15W" in mode(jetson)
    done = ended(process)
    assert done.code == 0, done.err
    assert mode(jetson) == before
    tuned = [event for event in store.events(boards.runs[-1], "empty") if isinstance(event, wire.TuneEvent)]
    assert [event.action for event in tuned] == ["apply", "restore"]
    assert all(setting.status == "ok" for event in tuned for setting in event.settings)

    process = boards.begin("empty", "--power-mode", "15W", "--budget", "60", "--json")
    until(measured(jetson, 1, job=2), process)
    assert "15W" in mode(jetson)
    assert kill_agent(jetson)
    until(lambda: mode(jetson) == before)
    done = ended(process)
    assert done.code == 1 and "ended without a reply" in done.err

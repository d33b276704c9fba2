"""The lab by hand: up, status and down, and what is left when something dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import machine, slots

ROOT = Path(__file__).resolve().parents[2]


class Lab:
    """A lab beside the one that its user may have."""

    def __init__(self, cache: Path = machine.CACHE) -> None:
        self.name, self.cache = f"test-{os.getpid()}", cache
        self.environment = {**os.environ, "EDGE_LAB_NAME": self.name, "EDGE_LAB": str(cache)}

    def start(self, verb: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.lab", verb]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def __call__(self, verb: str) -> tuple[int, str]:
        with self.start(verb) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out + err

    @property
    def slots(self) -> list[slots.Slot]:
        return slots.of(self.name)


@pytest.fixture
def lab(lab_rootfs: Path) -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab("down")


def traces(of: list[slots.Slot]) -> list[str]:
    """What is left of devices on this machine."""
    links, spaces, mounts = machine.call("ip", "-o", "link"), machine.call("ip", "netns", "list"), Path("/proc/mounts")
    found = [slot.link for slot in of if f" {slot.link}@" in links]
    found += [slot.netns for slot in of if slot.netns in spaces.split()]
    found += [str(slot.folder) for slot in of if slot.folder.exists() or f"{slot.folder}/" in mounts.read_text()]
    return found + [command for slot in of for command in running_with(f"{slot.folder}/root")]


def running_with(text: str) -> list[str]:
    """The command lines of this machine that hold a text."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_bytes().decode(errors="replace"))
        except OSError:  # it has ended
            continue
    return [command for command in found if text in command]


@pytest.mark.lab
def test_up_twice_is_up_and_down_twice_leaves_nothing(lab: Lab) -> None:
    code, told = lab("up")
    assert code == 0 and "--device pi4-virtual,pi5-virtual,jetson-virtual" in told
    made = lab.slots
    before = [slot.processes() for slot in made]
    assert lab("up") == (0, told) and [slot.processes() for slot in made] == before
    assert len(made) == 3 and lab("status") == (0, told)
    state = machine.CACHE / f"state-{lab.name}"
    assert 'profile: "jetson-orin-nano"' in (state / "inventory.yaml").read_text()
    login = ["ssh", "-F", "/dev/null", "-i", state / "id_ed25519", "-o", f"UserKnownHostsFile={state}/known_hosts"]
    named = subprocess.run([*login, f"root@{made[2].host}", "hostname"], capture_output=True, text=True, timeout=20)
    assert named.stdout == "jetson-virtual\n"
    for _ in range(2):
        assert lab("down") == (0, "")
        assert traces(made) == [] and lab.slots == [] and not state.exists()


@pytest.mark.lab
@pytest.mark.parametrize("after_s", [0.15, 0.3, 0.45, 0.6, 0.9, 1.3])
def test_whenever_up_is_killed_down_cleans_up(lab: Lab, after_s: float) -> None:
    with lab.start("up") as process:
        time.sleep(after_s)
        process.kill()
    made = lab.slots
    assert lab("down") == (0, "")
    assert traces(made) == [] and lab.slots == []


@pytest.mark.lab
@pytest.mark.usefixtures("lab_rootfs")
def test_a_killed_build_of_the_root_file_system_leaves_nothing(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    with lab.start("up") as process:
        while not any(tmp_path.glob("rootfs-*.partial/usr")):
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    assert lab("down") == (0, "")
    assert not any(tmp_path.glob("*")) or [each.name for each in tmp_path.iterdir()] == [".lock"]
    assert str(tmp_path) not in Path("/proc/mounts").read_text() and running_with(str(tmp_path)) == []


@pytest.mark.lab
def test_devices_of_a_test_run_that_died_are_swept(lab_rootfs: Path, lab_key: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from tests.lab.device import Device;"
        "device = Device('pi4', Path(sys.argv[1]), Path(sys.argv[2])); device.up(); print(device.slot.number, flush=True);"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(lab_rootfs), str(lab_key)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        slot = slots.Slot(int(process.stdout.readline()))
        process.kill()
    assert slot.first() is not None
    slots.sweep()
    assert traces([slot]) == []


def test_an_ordinary_user_is_told_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert machine.why_not() == "virtual devices need root"

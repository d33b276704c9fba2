"""Runs on the lab's devices: the real command with an inventory of theirs, and what must hold of a run at its end."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from command import Cli, Done

from harness import store, wire

from . import inventory
from .device import Device

CONTENT = Path(__file__).with_name("content")
RUNTIMES = ["onnxruntime", "empty", *sorted(file.stem for file in CONTENT.glob("runtimes/[!_]*.py"))]
QUICK = (
    "--model",
    "tiny",
    "--method",
    "order",
    "--order",
    "layer2.0.relu1",
    "--no-controls",
    "--threads",
    "1",
    "--budget",
    "10",
)
PATIENCE_S = 150.0


class Boards(Cli):
    """The command in a folder of its own, whose inventory lists these devices and `local`."""

    def __init__(self, folder: Path, cache: Path, *devices: Device, patience_s: float = 60.0) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder, cache)
        self.devices = devices
        self.changes: dict[str, str] = {}
        self.list_devices(patience_s=patience_s)

    @property
    def env(self) -> dict[str, str]:
        """A user's, with the runtimes that go wrong."""
        return {**super().env, "HARNESS_CONTENT": str(CONTENT), **self.changes}

    def list_devices(self, **keys: object) -> None:
        """Write the inventory, with these keys beside or in place of what the devices have."""
        text = "devices:\n  local:\n    profile: host\n    workdir: " + json.dumps(str(self.folder / "workdir")) + "\n"
        keys = {"runtimes": RUNTIMES, **keys}
        for device in self.devices:
            lines = inventory.virtual(device).splitlines()[1:]
            lines = [line for line in lines if line.split(":")[0].strip() not in keys]
            text += "\n".join([*lines, *(f"    {key}: {json.dumps(value)}" for key, value in keys.items())]) + "\n"
        (self.folder / "inventory.yaml").write_text(text)

    @property
    def names(self) -> str:
        """The devices as `--device` takes them."""
        return ",".join(device.name for device in self.devices)

    def runs_of(self, device: str) -> list[Path]:
        """The folders of one device's runs, oldest first."""
        return [folder for folder in self.runs if folder.parent.name == device]

    def begin(self, runtime: str, *words: str) -> subprocess.Popen[str]:
        """Start the quick main job on all devices."""
        return self.start("run", "--device", self.names, *QUICK, "--runtime", runtime, *words)

    def run(self, runtime: str, *words: str) -> Done:
        """Do the quick main job on all devices."""
        return ended(self.begin(runtime, *words))

    def resume(self, *words: str) -> Done:
        """Go on with the newest run."""
        return self("run", "--resume", self.runs[-1].name, *words)

    def finish(self, runtime: str) -> Done:
        """Resume until the newest run is done, and check that nothing is there twice or missing."""
        for _ in range(3):
            done = self.resume("--json")
            if done.code == 0:
                break
        assert done.code == 0, done.err
        assert {case["status"] for case in done.json["cases"]} == {"ok"}
        require_each_once(self.runs[-1], runtime)
        return done


def ended(process: subprocess.Popen[str]) -> Done:
    """Wait for a command that was started."""
    with process:
        out, err = process.communicate(timeout=PATIENCE_S)
    return Done(process.returncode, out, err)


def until(happened: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Wait until something has happened; the command must not end before."""
    end = time.monotonic() + PATIENCE_S
    while not happened():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"it ended first, with {process.returncode}: {process.communicate()}")
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def journal(device: Device) -> bytes:
    """The newest journal on a device, as it lies on its disk; nothing where there is none."""
    files = sorted(device.path(device.workdir).glob("jobs/*/events.jsonl"))
    return files[-1].read_bytes() if files else b""


def measured(device: Device, processes: int, job: int = 1) -> Callable[[], bool]:
    """Whether so many processes stand in the newest journal on a device that has had so many jobs at least."""
    journals = f"{device.workdir[2:]}/jobs/*/events.jsonl"
    return lambda: (
        len(list(device.path("~").glob(journals))) >= job and journal(device).count(b'"kind":"process"') >= processes
    )


def kill_agent(device: Device) -> bool:
    """Kill the agent at work, as the kernel would; whether there was one."""
    with suppress(OSError, ValueError, KeyError):
        holder = json.loads(device.path(f"{device.workdir}/lock").read_text())
        return device.run("kill", "-KILL", str(holder["pid"]), check=False).returncode == 0
    return False


def require_each_once(folder: Path, runtime: str) -> None:
    """Every complete block holds each (case, replicate) as a valid process once at most, with distinct attempts."""
    job = store.load_job(folder, runtime)
    assert job is not None
    copy = store.journal_bytes(folder, runtime).decode()
    events = wire.JournalReader(job, "copy").read(copy)  # seq runs 0, 1, 2, ...; every line belongs to the job
    (end,) = [event for event in events if isinstance(event, wire.EndEvent)]
    tried = [event for event in events if isinstance(event, wire.ProcessEvent | wire.FailedEvent)]
    assert max(Counter((e.case_id, e.block, e.replicate, e.attempt) for e in tried).values()) == 1
    there = {(e.case_id, e.block, e.replicate) for e in tried}
    failed = {e.case_id for e in tried if isinstance(e, wire.FailedEvent) and e.final}
    first = range(1, min(end.blocks, job.protocol.looks[0]) + 1)
    wanted = {(c.case_id, b, r) for c in job.cases for b in first for r in range(c.replicates)}
    assert {slot for slot in wanted if slot[0] not in failed} <= there
    samples = store.frames(folder).samples
    timed = samples[samples.valid & samples.phase.eq("timed")]
    assert (timed.groupby(["case_id", "block", "replicate"]).attempt.nunique() == 1).all()
    reply = store.load_reply(folder, runtime)
    assert reply is not None and reply.events == len(events)

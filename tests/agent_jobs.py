"""Small real jobs for the agent: hand-made artifacts, a workdir of its own, the real bundle run by a real Python."""

from __future__ import annotations

import array
import hashlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness import bundle, wire
from harness.transport import Local

CONTENT = Path(__file__).resolve().parent / "data" / "content"
# Whatever else runs here, nothing counts as contended: what is measured is right, not how fast the machine is.
QUICK = wire.Protocol(
    timed_s=0.01, max_samples=50, warmup_window_s=0.001, warmup_cap_s=0.02, spin_s=0.001, spin_tolerance=1e6, looks=(2,)
)


def sample(batch: int = 1) -> wire.Sample:
    """Inputs and the outputs that belong to them."""
    inputs = wire.Tensor.of((batch, 3), array.array("f", range(3 * batch)).tobytes())
    outputs = wire.Tensor.of((batch, 2), array.array("f", [n + 0.5 for n in range(2 * batch)]).tobytes())
    return wire.Sample((inputs,), (outputs,))


class Bench:
    """A device in a temporary folder, and jobs on it; case n of a job loads the artifact whose text is `artifacts[n]`."""

    def __init__(
        self, folder: Path, runtime: str = "empty", python: str = sys.executable, sensors: Sequence[str] = ()
    ) -> None:
        self.folder, self.runtime = folder, runtime
        self.device = Local("bench", folder / "workdir", python)
        self.bundle = bundle.build(runtime, sensors)

    def job(
        self,
        artifacts: Sequence[str] = ("a", "b", "c"),
        protocol: wire.Protocol = QUICK,
        name: str = "job",
        replicates: int = 2,
        energy: wire.EnergyPlan | None = None,
    ) -> wire.Job:
        """Put everything that the job needs on the device and return it; its first case is everybody's reference."""
        reference = self._sample_ref()
        cases = tuple(
            wire.JobCase(
                case_id=f"{n:016x}",
                label=text,
                artifact=self._put(text.encode()),
                sample=reference,
                tolerance=1e-4,
                precision="fp32",
                threads=1,
                batch=1,
                replicates=replicates if n == 0 else 1,
                made_for="cortex-a76",
            )
            for n, text in enumerate(artifacts)
        )
        pairs = tuple((case.case_id, cases[0].case_id) for case in cases[1:])
        job = wire.Job("run", name, self.runtime, 0, cases, pairs, protocol, energy=energy)
        self.device.put_job(job)
        return job

    def _put(self, data: bytes) -> wire.FileRef:
        sha256 = hashlib.sha256(data).hexdigest()
        source = self.folder / sha256
        source.write_bytes(data)
        self.device.put({sha256: source})
        return wire.FileRef(sha256, len(data))

    def _sample_ref(self) -> wire.FileRef:
        return self._put(wire.encode(sample()).encode())

    def command(self, *words: str) -> list[str]:
        """Words to the agent, as an argument list."""
        agents = self.device.workdir / "agents"
        target = agents / self.bundle.name
        if not target.exists():
            agents.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.bundle.read_bytes())
        return [self.device.python, str(target), *words]

    def run(self, job: wire.Job) -> subprocess.CompletedProcess[str]:
        """Run the agent on the job in the foreground."""
        command = self.command("run", str(self.device.workdir), job.job)
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def begin(self, job: wire.Job) -> subprocess.Popen[str]:
        """Run the agent on the job in the background, as our child."""
        command = self.command("run", str(self.device.workdir), job.job)
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def journal(self, job: wire.Job) -> list[wire.Event]:
        """Read the journal; reading checks that it belongs to the job and has no gap."""
        return wire.JournalReader(job, "journal").read(self.device.follow(job, 0).decode())

    def wait(self, job: wire.Job, limit_s: float = 60.0) -> wire.Reply:
        """Wait for the reply of a detached agent."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            reply = self.device.reply(job)
            if reply is not None:
                return reply
            time.sleep(0.05)
        raise AssertionError("no reply: " + self.device.log_tail(job))

    def until(self, job: wire.Job, events: int) -> None:
        """Wait until the journal holds so many events."""
        end = time.monotonic() + 60
        while self.device.follow(job, 0).count(b"\n") < events:
            assert time.monotonic() < end, self.device.log_tail(job)
            time.sleep(0.005)


def processes(events: Sequence[wire.Event]) -> list[wire.ProcessEvent]:
    """The measured processes of a journal."""
    return [event for event in events if isinstance(event, wire.ProcessEvent)]


def counts(events: Sequence[wire.Event]) -> Mapping[tuple[str, int, int], int]:
    """How often each (case, block, replicate) was measured."""
    return Counter((event.case_id, event.block, event.replicate) for event in processes(events))


def expected(job: wire.Job, blocks: int) -> set[tuple[str, int, int]]:
    """Every (case, block, replicate) of so many blocks."""
    return {(c.case_id, b, r) for c in job.cases for b in range(1, blocks + 1) for r in range(c.replicates)}


def quick(**changes: object) -> wire.Protocol:
    """The quick protocol with some changes."""
    return replace(QUICK, **changes)  # type: ignore[arg-type]


def workers_of(bench: Bench) -> list[int]:
    """Processes that run this bench's bundle."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if str(bench.device.workdir).encode() in command:
            found.append(int(folder.name))
    return found


def all_gone(bench: Bench) -> bool:
    """Whether, within seconds, nothing runs this bench's bundle any more."""
    end = time.monotonic() + 10
    while workers_of(bench) and time.monotonic() < end:
        time.sleep(0.02)
    return not workers_of(bench)

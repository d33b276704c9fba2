"""What a board over SSH costs beyond the measuring, on a loopback server: sending, commands, the way to a first sample.

The other half, many devices at once, is `many.py`.
"""

from __future__ import annotations

import hashlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import many
from benchmarks.figures import Figure, table
from benchmarks.loopback import World, missing, world
from harness import bundle, wire
from harness.transport.ssh import Ssh
from tests.lab.sshd import ssh

FILES, FILE_BYTES = 20, 5_000_000
REPEATS = 15
FIRST_SAMPLES = 5
JOB = ("--device", "b0", "--budget", "1")


def measure() -> list[Figure]:
    """Return the figures of this file and of `many`."""
    return [*sending(), *commands(), *first_sample(), *many.measure()]


# --- sending -------------------------------------------------------------------------------------------------------


def sending() -> list[Figure]:
    """Return what 100 MB in twenty files take: the first time, unchanged, and in other ways on the same server."""
    with tempfile.TemporaryDirectory() as name, world() as there:
        files = _files(Path(name))
        first = statistics.median(_first(there, files, n) for n in range(3))
        line = _line(there, "b0")
        job = _job(files)
        line.put(files)
        line.put_job(job)
        began = time.perf_counter()
        line.start(bundle.build("empty"), job)
        started_s = time.perf_counter() - began
        line.stop()
        kept, sent = _median(lambda: line.put(files))
        whole, _ = _median(lambda: _redeploy(line, files, job))
        line.close()
        fresh, _ = _median(lambda: _fresh(there, files))
        others = _others(there, Path(name))
    size = f"{FILES} files of {FILE_BYTES // 10**6} MB"
    return [
        Figure("first deploy of 100 MB, connection included", "", f"{first:.2f} s", None,
               f"{size}; then the device hashes them and starts the agent: {started_s:.2f} s"),
        Figure("redeploy of the unchanged 100 MB: bytes sent", "0", f"{sent}", sent == 0),
        Figure("redeploy of the unchanged 100 MB, over the kept connection", "<= 50 ms", f"{1e3 * kept:.1f} ms",
               kept <= 0.05, f"with journal and job {1e3 * whole:.1f} ms; over a new connection {1e3 * fresh:.0f} ms{others}"),
    ]  # fmt: skip


def _files(folder: Path) -> dict[str, Path]:
    found = {}
    for _ in range(FILES):
        data = os.urandom(FILE_BYTES)
        sha256 = hashlib.sha256(data).hexdigest()
        found[sha256] = folder / sha256
        found[sha256].write_bytes(data)
    return found


def _line(there: World, name: str) -> Ssh:
    return Ssh(name, there.address, str(there.workdir(name)), sys.executable)


def _first(there: World, files: dict[str, Path], attempt: int) -> float:
    line, began = _line(there, f"first-{attempt}"), time.perf_counter()
    if line.put(files) != FILES * FILE_BYTES:
        raise RuntimeError("the first deploy did not send everything")
    seconds = time.perf_counter() - began
    line.close()
    return seconds


def _fresh(there: World, files: dict[str, Path]) -> int:
    line = _line(there, "b0")
    sent = line.put(files)
    line.close()
    return sent


def _redeploy(line: Ssh, files: dict[str, Path], job: wire.Job) -> int:
    """All that `jobs.deploy` does before it starts an agent."""
    sent = line.put(files)
    line.follow(job, 0)
    line.put_job(job)
    return sent


def _job(files: dict[str, Path]) -> wire.Job:
    """A job whose cases are these files; it is ended before it would find out what is in them."""
    references = [wire.FileRef(name, FILE_BYTES) for name in files]
    cases = tuple(
        wire.JobCase(f"{n:016x}", f"case {n}", each, each, 1e-4, "fp32", 1, 1) for n, each in enumerate(references)
    )
    return wire.Job("bench", "bench", "empty", 0, cases, (), wire.Protocol())


def _median(work: Callable[[], int]) -> tuple[float, int]:
    """Median seconds of a repetition, and the most that any of them returned."""
    seconds, most = [], 0
    for _ in range(REPEATS):
        began = time.perf_counter()
        most = max(most, work())
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), most


def _others(there: World, source: Path) -> str:
    """What others take for the same files, unchanged, on the same server, in words."""
    target = there.folder / "others"
    target.mkdir()
    batch = there.folder / "batch"
    batch.write_text(f"put -r {source}/* {target}/\n")
    sftp = ssh(there.server, program="sftp", options=["BatchMode=yes"])
    sftp = [*sftp[:-1], "-b", str(batch), sftp[-1]]
    words = []
    if lacks := missing("rsync"):
        words.append(lacks)
    else:
        with _kept_by_openssh(there) as control:
            for how, options in (("a new", []), ("a kept", [f"ControlPath={control}"])):
                shell = " ".join(ssh(there.server, options=options)[:-1])
                rsync = ["rsync", "-a", "-e", shell, f"{source}/", f"{ssh(there.server)[-1]}:{target}/"]
                words.append(f"rsync over {how} connection {1e3 * _command(rsync):.0f} ms")
    words.append(f"SFTP of everything {1e3 * _command(sftp):.0f} ms")
    return "; " + "; ".join(words)


def _command(words: list[str]) -> float:
    """Median seconds of a command, after a first time."""
    subprocess.run(words, check=True, capture_output=True)
    return _median(lambda: subprocess.run(words, check=True, capture_output=True).returncode)[0]


@contextmanager
def _kept_by_openssh(there: World) -> Iterator[Path]:
    """A connection that OpenSSH's client keeps for others."""
    control = there.folder / "control"
    command = ssh(there.server, options=["ControlMaster=yes", f"ControlPath={control}"])
    with subprocess.Popen([*command[:-1], "-N", command[-1]]) as process:
        while not control.exists() and process.poll() is None:
            time.sleep(0.01)
        try:
            yield control
        finally:
            process.terminate()


# --- commands ------------------------------------------------------------------------------------------------------


def commands() -> list[Figure]:
    """Return how many commands a job takes beyond following, as the server counts them."""
    said, worst = [], 0.0
    with world(noting=True) as there:
        there.devices(1)
        for what, runtimes in (("first run", "empty"), ("second run", "empty"), ("two runtimes", "empty,sleeps")):
            there.run(*JOB, "--runtime", runtimes)
            verbs = Counter(_verb(line) for line in there.commands())
            count = sum(n for verb, n in verbs.items() if verb != "holder") / len(runtimes.split(","))
            worst = max(worst, count)
            said.append(f"{what}: " + ", ".join(f"{verb} {n}" for verb, n in sorted(verbs.items())))
    return [
        Figure("commands on the device per job, beyond following", "<= 3", f"{worst:g}", worst <= 3, "; ".join(said))
    ]


def _verb(command: str) -> str:
    """The agent's verb of a command (python, agent, verb, ...), or the command itself."""
    words = command.split()
    return words[2] if len(words) > 2 and words[1].endswith(".pyz") else command


# --- the first sample ----------------------------------------------------------------------------------------------


def first_sample() -> list[Figure]:
    """Return the time from the start of the command to the first measured process in the device's journal."""
    with world() as there:
        there.devices(1)
        for device in ("local", "b0"):  # ladder, artifacts, and what a device keeps
            there.run("--device", device, "--runtime", "empty", "--budget", "1")
        spent: dict[str, list[float]] = {"b0": [], "local": []}
        for _ in range(FIRST_SAMPLES):
            for device, seconds in spent.items():
                seconds.append(_until_first(there, device))
    over, here = (statistics.median(seconds) for seconds in spent.values())
    return [Figure("time to first sample over SSH, everything cached", "", f"{over:.2f} s", None,
                   f"from the start of `harness run` to the first process in the journal; on `local` {here:.2f} s")]  # fmt: skip


def _until_first(there: World, device: str) -> float:
    jobs = there.workdir(device) / "jobs"
    before, began = set(jobs.iterdir()), time.perf_counter()
    process = there.start("--device", device, "--runtime", "empty", "--budget", "60")
    try:
        while process.poll() is None:
            for job in set(jobs.iterdir()) - before:
                file = job / "events.jsonl"
                if file.exists() and any(_is_process(line) for line in file.read_bytes().splitlines()):
                    return time.perf_counter() - began
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGINT)  # the agent ends, too
        process.wait()
    raise RuntimeError((there.folder / "err").read_text()[-2000:])


def _is_process(line: bytes) -> bool:
    return b'"latency_ns"' in line


if __name__ == "__main__":
    print(table(measure()))

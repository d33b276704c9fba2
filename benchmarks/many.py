"""1, 10 and 50 devices that run the same job of sleeps at once: what the controller adds, in time and in memory.

Fifty agents on one machine fight for its cores, as fifty boards do not. So the bar is for devices that only sleep: they
replay what a real agent answered and wrote (`replay.py`). How much longer fifty real agents take here is told beside it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks import replay
from benchmarks.figures import Figure, table
from benchmarks.loopback import Done, World, world

COUNTS = (1, 10, 50)
MOST = COUNTS[-1]
LASTS_S = 120.0  # half of what a job may take where nothing is said
BAR = 1.2
JOB = ("--runtime", "sleeps", "--budget", "6")
SLEEP_S = 0.3  # a process of 14 inferences takes 4 s, the recorded job two of them


def measure() -> list[Figure]:
    """Return the figures of this file, about ten minutes' work, nearly all of it sleep."""
    with world() as there:
        there.sleeping(SLEEP_S)
        there.devices(1)
        there.run("--device", "b0", *JOB)  # ladder and artifacts
        one = _run(there, 1)
        stub = _record(there)
        most = _run(there, MOST)
        replayed = {count: _run(there, count, stub) for count in COUNTS}
    return [*_times(replayed), *_costs(replayed), _real(one, most)]


def _times(replayed: dict[int, Done]) -> list[Figure]:
    figures = []
    for what, all_s in (
        ("until the last run is stored", {n: done.stored_s for n, done in replayed.items()}),
        ("until the command ends, every run's figures drawn", {n: done.wall_s for n, done in replayed.items()}),
    ):
        ratio = all_s[MOST] / all_s[1]
        said = f"a job of {LASTS_S:.0f} s; " + ", ".join(f"{n}: {seconds:.1f} s" for n, seconds in all_s.items())
        said += "; controller, SSH server and what stands for the devices on the same cores"
        name = f"the same job of sleeps on {MOST} devices at once, times one: {what}"
        figures.append(Figure(name, f"<= {BAR}", f"{ratio:.2f}", ratio <= BAR, said))
    return figures


def _real(one: Done, most: Done) -> Figure:
    longer = f"{most.stored_s - one.stored_s:.0f} s"
    said = f"stored after {most.stored_s:.0f} s, not {one.stored_s:.0f} s: {MOST} agents share the controller's cores"
    return Figure(f"{MOST} real agents on this machine, beyond one", "", longer, None, said)


def _costs(replayed: dict[int, Done]) -> list[Figure]:
    one, most = replayed[1], replayed[MOST]
    memory, cpu = ((getattr(most, key) - getattr(one, key)) / (MOST - 1) for key in ("peak_mb", "cpu_s"))
    peaks = ", ".join(f"{n}: {done.peak_mb:.0f} MB" for n, done in replayed.items())
    cpus = ", ".join(f"{n}: {done.cpu_s:.1f} s" for n, done in replayed.items())
    return [
        Figure("controller's memory per device", "", f"{memory:.1f} MB", None, f"at the peak; {peaks}"),
        Figure("controller's processor time per device", "", f"{cpu:.2f} s", None, f"figures included; {cpus}"),
    ]


def _run(there: World, count: int, python: Path | None = None) -> Done:
    shutil.rmtree(there.folder / "boards", ignore_errors=True)
    there.devices(count, str(python or sys.executable))
    done = there.run("--device", "tag:lab", *JOB)
    print(f"{count} {'replayed' if python else 'real'}: {done.wall_s:.1f} s, done {done.stored_s:.1f} s", flush=True)
    return done


def _record(there: World) -> Path:
    """Keep what the one device said and wrote; return the program that says it again."""
    kept, workdir = there.folder / "kept", there.workdir("b0")
    kept.mkdir()
    (job,) = (workdir / "jobs").iterdir()
    for name in ("job.json", "events.jsonl", "reply.json"):
        shutil.copy(job / name, kept)
    agent = next((workdir / "agents").iterdir())
    for words in (("look", str(workdir)), ("probe", "sleeps")):
        said = subprocess.run([sys.executable, str(agent), *words], capture_output=True, text=True, check=True)
        (kept / words[0]).write_text(said.stdout)
    (kept / "lasts_s").write_text(str(LASTS_S))
    stub = kept / "python"
    stub.write_text(f"#!{sys.executable} -ISs\n" + Path(str(replay.__file__)).read_text())
    stub.chmod(0o755)
    return stub


if __name__ == "__main__":
    print(table(measure()))

"""A run of a million raw samples: how long its table, the figure of its inferences and its page take, analysis included.

python -m benchmarks samples        about a minute, and 100 MB in the folder for temporary files

The run is the committed example with each process's inferences many times over, a little changed each time. Its record says that
an older analysis made it, so every command reads the journal and analyses it anew. Each command is a process of its own.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from harness import content, findings, store, tables

SAMPLES = 1_000_000
REPEATS = 3
BAR_S = 10.0
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "`harness show RUN`": ("show",),
    "`harness plot RUN --kind distribution`": ("plot", "--kind", "distribution", "--out", "distribution.png"),
    "`harness report RUN`": ("report", "--out", "report.html"),
}


@dataclass(frozen=True)
class Took:
    """What one command took: seconds by the clock, of processors, and MB at its peak."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def measure(samples: int = SAMPLES) -> list[Figure]:
    """Return the medians of a few times each."""
    with tempfile.TemporaryDirectory() as name:
        run = make(Path(name), samples)
        count = len(store.frames(run).samples)
        return [_figure(f"{what} of {count:,} samples", run, words) for what, words in COMMANDS.items()]


def _figure(what: str, run: Path, words: tuple[str, ...]) -> Figure:
    took = [_took(run, words) for _ in range(REPEATS)]
    wall_s, cpu_s = (statistics.median(getattr(each, name) for each in took) for name in ("wall_s", "cpu_s"))
    remark = f"{cpu_s:.1f} s of processor time, at most {max(each.peak_mb for each in took):.0f} MB"
    return Figure(what, f"<= {BAR_S:g} s", f"{wall_s:.1f} s", wall_s <= BAR_S, f"median of {REPEATS}; {remark}")


def _took(run: Path, words: tuple[str, ...]) -> Took:
    command = [sys.executable, "-m", "harness", words[0], str(run), *words[1:]]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=run.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Took(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3)


def make(root: Path, samples: int = SAMPLES) -> Path:
    """Write a run of at least so many timed samples under `root` and return its folder."""
    example = min((content.ROOT / "results" / "examples" / "local").glob("*/run.json")).parent
    run = Path(shutil.copytree(example, root / "local" / example.name))
    for runtime in store.load(run).plan.runtimes:
        _lengthen(store.job_folder(run, runtime) / "events.jsonl", samples)
    record = run / "run.json"
    tree = {**json.loads(record.read_text(encoding="utf-8")), "analysis_version": findings.ANALYSIS_VERSION - 1}
    record.write_text(json.dumps(tree))
    _, journals, _ = store.measured(run, store.load(run).plan.runtimes)
    tables.samples(journals.values()).to_parquet(run / "samples.parquet", index=False)
    return run


def _lengthen(journal: Path, samples: int) -> None:
    """Give each process of a journal its inferences so often that there are `samples` of them."""
    events: list[dict[str, Any]] = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    processes = [event for event in events if event["kind"] == "process"]
    times = math.ceil(samples / sum(len(event["latency_ns"]) for event in processes))
    dice = random.Random(0)
    for event in processes:
        latencies = [round(ns * dice.uniform(0.99, 1.01)) for ns in event["latency_ns"] * times]
        starts = [event["start_ns"][0]]
        for ns in latencies[:-1]:
            starts.append(starts[-1] + ns)
        event |= {"latency_ns": latencies, "start_ns": starts}
    journal.write_text("".join(f"{json.dumps(event)}\n" for event in events))

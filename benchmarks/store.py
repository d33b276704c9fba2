"""1,000 runs of 200 cases: how long `harness show --where` and a figure of a history take over them, in how much memory.

python -m benchmarks store        about five minutes, and 1 GB in the folder for temporary files

The runs are copies of the committed example with other names, times and latencies, of ten devices. Each command is a process of
its own with a cache of its own: the first finds no index and reads every run.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from harness import content

RUNS, CASES, DEVICES = 1000, 200, 10
REPEATS = 7
LIST_S, HISTORY_S, MEMORY_MB = 1.0, 3.0, 500
ONE = "device = 'd3' and batch = 3 and rung = 4"  # one case of each of a device's runs


def measure(runs: int = RUNS) -> list[Figure]:
    """Return times and peaks of listing, of a figure of a history and of all cases as JSON."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder / "results", runs)
        cold = _look(folder, "true")
        listed = [_look(folder, "true") for _ in range(REPEATS)]
        figure = ("--kind", "history", "--out", str(folder / "history.png"))
        history = [_look(folder, ONE, *figure, verb="plot") for _ in range(REPEATS)]
        everything = _look(folder, "true", "--json")
        make(folder / "results", runs + 1, runs)
        one_more = _look(folder, "true")
    size = f"{runs} runs of {CASES} cases"
    return [
        _timed(f"listing {size}", listed, LIST_S),
        _timed(f"a figure of a history: one case of a device over {size}", history, HISTORY_S),
        Figure("the same listing where no index is there yet", "", f"{cold.wall_s:.1f} s", None, "every run is read"),
        Figure("the same listing where one run is new", "", f"{one_more.wall_s:.2f} s", None),
        _peak("listing", max(listed, key=lambda look: look.peak_mb)),
        _peak("listing where no index is there yet", cold),
        _peak(f"all {runs * CASES} cases as JSON, in {everything.wall_s:.1f} s", everything),
    ]


@dataclass(frozen=True)
class Look:
    """What one command took."""

    wall_s: float
    peak_mb: float


def _timed(what: str, looks: list[Look], bar_s: float) -> Figure:
    seconds = statistics.median(look.wall_s for look in looks)
    spread = f"median of {len(looks)}, slowest {max(look.wall_s for look in looks):.2f} s; a process of its own each"
    return Figure(what, f"<= {bar_s:g} s", f"{seconds:.2f} s", seconds <= bar_s, spread)


def _peak(what: str, look: Look) -> Figure:
    return Figure(f"memory: {what}", f"<= {MEMORY_MB} MB", f"{look.peak_mb:.0f} MB", look.peak_mb <= MEMORY_MB)


def _look(folder: Path, where: str, *words: str, verb: str = "show") -> Look:
    command = [sys.executable, "-m", "harness", verb, "--where", where, "--results", str(folder / "results"), *words]
    env = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    began = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Look(wall_s, usage.ru_maxrss / 1e3)


def make(results: Path, runs: int, first: int = 0) -> None:
    """Write the record of each run, from the `first` on; nothing else of a run is looked at by a list."""
    example = _example()
    for number in range(first, runs):
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number)
        name, device = f"{at:%Y%m%dT%H%M%SZ}-{number:04x}", f"d{number % DEVICES}"
        tree = {**example, "run": name, "device": device, "created": at.isoformat()}
        tree["cases"] = list(_noisy(example["cases"], random.Random(number)))
        folder = results / device / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(tree))


def _example() -> dict[str, Any]:
    """The example's record with its cases at as many batch sizes as there have to be."""
    file = min((content.ROOT / "results" / "examples").glob("*/*/run.json"))
    tree: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    rungs = [case for case in tree["cases"] if case["rung"] is not None]
    many = itertools.islice(itertools.product(range(CASES), rungs), CASES)
    cases = [{**case, "batch": batch} for batch, case in many]
    return {**tree, "cases": cases, "findings": [], "entries": []}


def _noisy(cases: list[dict[str, Any]], dice: random.Random) -> Iterator[dict[str, Any]]:
    for case in copy.deepcopy(cases):
        scale = dice.uniform(0.95, 1.05)
        case["latency_ns"] |= {name: scale * case["latency_ns"][name] for name in ("median", "low", "high")}
        yield case

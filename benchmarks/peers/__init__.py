"""Other harnesses beside this one, on one ONNX file: `python -m benchmarks peers`; a quarter of an hour, on an idle machine.

Each measures the yardstick as its documentation says, one thread, ten times, taking turns in an order of chance. They live in
an environment of their own, since their needs contradict each other's and ours; it is made once, in the cache.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from benchmarks.noise import RUNTIME
from benchmarks.peers import ours
from benchmarks.strangers import environment
from harness import calibrate, inventory, stats
from harness.calibration import REFERENCE

ROUNDS = 10
HERE = Path(__file__).resolve().parent
NEEDS = (
    *("torch==2.13.0", "onnxruntime==1.31.1", "onnx", "pyperf==2.10.0", "pytest-benchmark==5.3.1"),
    *("mlcommons_loadgen==6.0.17", "optimum-benchmark==0.6.0", "optimum~=2.1.0", "optimum-onnx[onnxruntime]==0.1.0"),
)
TOOLS = {
    "a plain loop": ("plain.py", "one process; no interval"),
    "pyperf 2.10": (
        "with_pyperf.py",
        "20 processes; warns when values spread, shows each; mean and sd, no interval; each value is a mean of many calls",
    ),
    "pytest-benchmark 5.3": (
        "with_pytest_benchmark.py",
        "one process; no interval; compares by a threshold on one number",
    ),
    "LoadGen 6.0": ("with_loadgen.py", "one process; its own queue inside the latency; a bound for tails, no interval"),
    "optimum-benchmark 0.6": (
        "with_optimum.py",
        "does not import with its own current dependencies (mended here), takes hub models only; the parent spins while it "
        "waits, its ONNX Runtime backend ignores `intra_op_num_threads` (set by `session_options` here), conversion from "
        "and to torch tensors inside the latency; no interval",
    ),
}
OURS = "edge-harness"


def measure() -> list[Figure]:
    """Ten rounds of all tools, taking turns."""
    device = inventory.device("local", inventory.locate(None))
    asked = calibrate.Asked(device.name, RUNTIME, "", 0.0)
    artifact = calibrate.yardsticks(asked, device, lambda _: None)[REFERENCE]
    python, medians, walls = environment("peers", NEEDS), defaultdict(list), defaultdict(list)
    for turn in range(ROUNDS):
        calls: dict[str, Callable[[], float]] = {
            name: lambda script=script: _ask(python, script, Path(artifact.path))  # type: ignore[misc]
            for name, (script, _) in TOOLS.items()
        }
        calls[OURS] = lambda turn=turn: ours.measure(device, artifact, f"peers-{os.getpid()}-{turn}").median  # type: ignore[misc]
        for name, call in random.Random(turn).sample(sorted(calls.items()), len(calls)):
            began = time.monotonic()
            medians[name].append(call())
            walls[name].append(time.monotonic() - began)
            print(f"  {turn + 1} {name}: {medians[name][-1] / 1e3:.1f} us", flush=True)
    return [_figure(name, medians[name], walls[name], medians["a plain loop"]) for name in medians]


def _figure(name: str, medians: Sequence[float], walls: Sequence[float], plain: Sequence[float]) -> Figure:
    """A tool's median of ten, and how far it is from the plain loop of the same round: the machine moves between rounds."""
    middle, spread = float(np.median(medians)), max(medians) / min(medians) - 1
    differences = np.log(medians) - np.log(plain)
    apart, width = stats.widths.centre(differences), stats.widths.half_width(differences, 0.05) or 0.0
    low, high = (100 * math.expm1(apart + sign * width) for sign in (-1, 1))
    said = TOOLS[name][1] if name in TOOLS else "10 fresh processes; interval; state of the machine; output checked"
    return Figure(
        name,
        "its interval holds the loop, or lies within 1 % of it" if name == OURS else "",
        f"{middle / 1e3:.1f} us ({100 * math.expm1(apart):+.1f} % [{low:+.1f}, {high:+.1f}]); "
        f"ten repetitions within {100 * spread:.1f} %; "
        f"{np.median(walls):.1f} s each",
        low <= 0 <= high or max(-low, high) <= 1 if name == OURS else None,
        said,
    )


def _ask(python: Path, script: str, model: Path) -> float:
    """What a tool says the median is, ns."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(python), str(HERE / script), str(model)], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{script}: {done.stderr[-2000:]}")
    return float(json.loads(done.stdout.strip().splitlines()[-1])["median_ns"])

"""The harness's median beside that of each runtime's own tool, on the same artifact. `python -m benchmarks tools`.

Both in fresh processes that take turns, ours as the agent starts it, with one thread and about a second of timing each. A
pair gives the ratio of their medians; told is the trimmed mean over the pairs with its 95 % interval.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import cases, ends
from benchmarks.figures import Figure
from benchmarks.matrix_rows import short
from benchmarks.tools import own
from devices.agent import measure as agent
from harness import bundle, content, stats, wire
from harness.records import Artifact, LadderRequest

MODEL = "resnet18"
PAIRS = int(os.environ.get("BENCH_PAIRS", "20"))
PRECISIONS = ("fp32", "int8")
BAR = 0.02
PROTOCOL = wire.Protocol(timed_s=float(own.SECONDS))


def measure() -> list[Figure]:
    """Every runtime that is installed here, at fp32 and int8 where it has both, on ResNet-18 folded at full depth."""
    request = LadderRequest("order", MODEL, content.constant("model", MODEL, "TASK"))
    ladder = ends.make(request)
    ladder = replace(ladder, rungs=ladder.rungs[:1])
    found = []
    for runtime, precision in cases.executed():
        if precision not in PRECISIONS:
            continue
        built = cases.build(cases.plan(request, runtime, [precision], 1.0), ladder)
        artifact = next(iter(built.artifacts.values()), None)
        if artifact is None:
            found.append(_failed(runtime, precision, built.entries[0].failure or ""))
            continue
        try:
            found.append(_figure(runtime, precision, compare(artifact)))
        except Exception as error:  # a tool may fail in any way: that is its line of the table
            found.append(_failed(runtime, precision, f"{type(error).__name__}: {error}"))
        print(f"  {found[-1].what}: {found[-1].measured} {found[-1].remark}", flush=True)
    return found


def compare(artifact: Artifact) -> dict[str, list[float]]:
    """Medians of both, pair by pair, ns; which comes first changes from pair to pair."""
    tool = own.of(artifact.runtime)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "input.npy"
        np.save(source, _input(artifact))
        medians: dict[str, list[float]] = {"harness": [], tool.name: []}
        given = own.Given(Path(artifact.path), source, Path(folder), ours(artifact))
        for pair in range(PAIRS):
            for name in sorted(medians, reverse=bool(pair % 2)):
                medians[name].append(ours(artifact) if name == "harness" else theirs(tool, given))
    return medians


def ours(artifact: Artifact) -> float:
    """The median of one fresh process, started as the agent starts it, ns. Raises RuntimeError with what it says."""
    size = wire.FileRef(artifact.sha256, artifact.size_bytes)
    sample = wire.FileRef(artifact.sample_sha256, artifact.sample_bytes)
    case = wire.JobCase("0" * 16, "tools", size, sample, artifact.tolerance, artifact.precision, 1, 1)
    request = {
        "runtime": artifact.runtime,
        "artifact": artifact.path,
        "sample": artifact.sample_path,
        "case": asdict(case),
        "protocol": asdict(PROTOCOL),
        "began_ns": time.monotonic_ns(),
        "parent": os.getpid(),
    }
    command = [sys.executable, str(bundle.build(artifact.runtime)), "worker"]
    answer = json.loads(_run(command, json.dumps(request)))
    if "result" not in answer:
        raise RuntimeError(f"{answer['cause']}: {answer['detail']}")
    return float(np.median(answer["result"]["latency_ns"]))


def theirs(tool: own.Tool, given: own.Given) -> float:
    """The median that a tool tells, ns. Raises RuntimeError with what it says."""
    return tool.read(_run(tool.command(given)), given)


def _run(command: Sequence[str], said: str = "") -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, input=said, capture_output=True, text=True, env=environment, check=False, timeout=300
    )
    if done.returncode:
        raise RuntimeError(
            f"{Path(command[0]).name}: exit status {done.returncode}: {(done.stderr or done.stdout)[-300:]}"
        )
    return done.stdout


def _input(artifact: Artifact) -> Any:
    tensor = agent.read_sample(artifact.sample_path).inputs[0]
    return (
        np.frombuffer(tensor.raw(), np.dtype(tensor.dtype).newbyteorder("<")).reshape(tensor.shape).astype(tensor.dtype)
    )


def interval(medians: dict[str, list[float]]) -> tuple[float, float, float]:
    """The harness's median over the tool's: trimmed mean of the pairs' ratios, and its 95 % interval."""
    harness, tool = medians.values()
    differences = np.log(harness) - np.log(tool)
    apart, width = stats.widths.centre(differences), stats.widths.half_width(differences, 0.05) or math.inf
    return math.exp(apart), math.exp(apart - width), math.exp(apart + width)


def _figure(runtime: str, precision: str, medians: dict[str, list[float]]) -> Figure:
    (ratio, low, high), tool = interval(medians), list(medians)[1]
    both = ", ".join(f"{name} {np.median(values) / 1e6:.3f} ms" for name, values in medians.items())
    return Figure(
        f"{runtime} {precision}: harness's median over that of {tool}",
        "within 2 %",
        f"{ratio:.4f} [{low:.4f}, {high:.4f}]",
        holds(ratio, low, high),
        both,
    )


def holds(ratio: float, low: float, high: float) -> bool | None:
    """Yes if the ratio is within the bar, no if its whole interval is not; between the two the pairs do not tell."""
    if 1 / (1 + BAR) <= ratio <= 1 + BAR:
        return True
    return False if low > 1 + BAR or high < 1 / (1 + BAR) else None


def _failed(runtime: str, precision: str, reason: str) -> Figure:
    return Figure(f"{runtime} {precision}: harness's median over its own tool's", "within 2 %", "", None, short(reason))

"""How soon the command speaks: wall time of `harness --help`, and of the first line of a command."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure

REPEATS = 15


def measure() -> list[Figure]:
    """Medians of 15 starts each, with warm file caches."""
    help_s = statistics.median(_whole("--help") for _ in range(REPEATS))
    first = {words: statistics.median(_first_line(*words) for _ in range(REPEATS)) for words in COMMANDS}
    slowest = max(first, key=lambda words: first[words])
    return [
        Figure("`harness --help`", "<= 0.25 s", f"{help_s:.3f} s", help_s <= 0.25),
        Figure(
            "first line of any command",
            "<= 0.5 s",
            f"{first[slowest]:.3f} s",
            first[slowest] <= 0.5,
            f"slowest of {len(first)}: `{' '.join(slowest)}`",
        ),
    ]


COMMANDS = (
    ("show",),
    ("show", "--json"),
    ("plot", "--out", str(Path(tempfile.gettempdir()) / "bench-depth.png")),
    ("devices",),
    ("models",),
    ("runtimes",),
    ("cache", "list"),
    ("run", "--device", "local", "--dry-run"),
    ("run", "--device", "nowhere"),
)


def _whole(*words: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "harness", *words], capture_output=True, check=True)
    return time.perf_counter() - began


def _first_line(*words: str) -> float:
    """Seconds until the first line, on whichever stream."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "harness", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - began
        process.stdout.read()
    return seconds

"""Each runtime's own tool on an artifact of ours: the command that runs it, and the median read from what it says.

iree        iree-benchmark-module, in the runtime's wheel
openvino    benchmark_app, in the wheel; it times within C++, so the call from Python is left out
litert      litert-benchmark, in the wheel: the newer CompiledModel interface, not the interpreter
torch       torch.utils.benchmark
others      bring none: a bare loop (`bare.py`)
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
BARE = Path(__file__).resolve().parent / "bare.py"
SECONDS = 1  # of timing, per process


@dataclass(frozen=True)
class Given:
    """What a tool is given: the artifact, an input as a NumPy file, a folder to write to, and the latency it will find."""

    artifact: Path
    input: Path
    folder: Path
    expected_ns: float

    @property
    def runs(self) -> int:
        """How many inferences take about as long as they shall."""
        return max(10, round(SECONDS * 1e9 / self.expected_ns))


@dataclass(frozen=True)
class Tool:
    """A tool by its name: what prepares the artifact and gives the command, and what reads the median, ns."""

    name: str
    command: Callable[[Given], Sequence[str]]
    read: Callable[[str, Given], float]


def of(runtime: str) -> Tool:
    """The runtime's own tool, or a bare loop."""
    loop = Tool("a bare loop", lambda given: bare(runtime, given), lambda said, _: read_bare(said))
    return OWN.get(runtime, loop)


def bare(runtime: str, given: Given) -> Sequence[str]:
    """The command of a bare loop."""
    return (sys.executable, str(BARE), runtime, str(given.artifact), str(given.input), str(SECONDS))


def read_bare(said: str) -> float:
    """The median that a bare loop printed last, ns."""
    return float(json.loads(said.strip().splitlines()[-1])["median_ns"])


def _iree(given: Given) -> Sequence[str]:
    with zipfile.ZipFile(given.artifact) as packed:
        module = packed.extract("network.vmfb", given.folder)
    words = (f"--module={module}", "--device=local-sync", "--function=infer", f"--input=@{given.input}")
    repeated = (f"--benchmark_repetitions={given.runs}", "--benchmark_min_time=1x", "--benchmark_min_warmup_time=0.3")
    return (str(BIN / "iree-benchmark-module"), *words, *repeated, "--benchmark_format=json")


def read_iree(said: str) -> float:
    """The median of the repetitions of one inference each, ns."""
    found = json.loads(said[said.index("{") :])["benchmarks"]
    scale = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
    return statistics.median(
        run["real_time"] * scale[run["time_unit"]] for run in found if run["run_type"] == "iteration"
    )


def _openvino(given: Given) -> Sequence[str]:
    with zipfile.ZipFile(given.artifact) as packed:
        packed.extractall(given.folder)
    model = ("-m", str(given.folder / "model.xml"), "-i", str(given.input), "-d", "CPU")
    pinned = ("-hint", "none", "-nstreams", "1", "-nthreads", "1", "-pin", "NO", "-infer_precision", "f32")
    numbers = (
        "-ip",
        "f32",
        "-op",
        "f32",
    )  # else it takes what looks like an image for bytes, and converts within what it times
    return (str(BIN / "benchmark_app"), *model, *pinned, *numbers, "-api", "sync", "-t", str(SECONDS))


def read_openvino(said: str) -> float:
    """The line `Median: 5.52 ms`, or in `us` where that is less than one, ns."""
    found = re.search(r"Median:\s+([\d.]+) (ms|us)", said)
    if found is None:
        raise ValueError(f"benchmark_app told no median: {said[-500:]}")
    return {"ms": 1e6, "us": 1e3}[found[2]] * float(found[1])


def _litert(given: Given) -> Sequence[str]:
    words = (
        f"--model={given.artifact}",
        "--num_threads=1",
        f"--num_runs={given.runs}",
        f"--warmup_runs={given.runs // 3}",
    )
    return (str(BIN / "litert-benchmark"), *words)


def read_litert(said: str) -> float:
    """The line `Inference (median):    5.52 ms`, ns."""
    found = re.search(r"Inference \(median\):\s+([\d.]+) ms", said)
    if found is None:
        raise ValueError(f"litert-benchmark told no median: {said[-500:]}")
    return 1e6 * float(found[1])


OWN = {
    "iree": Tool("iree-benchmark-module", _iree, lambda said, _: read_iree(said)),
    "openvino": Tool("benchmark_app", _openvino, lambda said, _: read_openvino(said)),
    "litert": Tool("litert-benchmark", _litert, lambda said, _: read_litert(said)),
    "torch": Tool("torch.utils.benchmark", lambda given: bare("torch", given), lambda said, _: read_bare(said)),
}

"""What the statistics of easier and tlc cost beside a plain forward pass over the same images, in time and in memory.

python -m benchmarks statistics_pass
python -m benchmarks.statistics_pass IMAGES PASS      the memory of one pass in a process of its own

ResNet-18 on the validation part of digits, one thread, every activation a candidate. Passes take turns, so that a busy neighbour
slows all of them; compared are processor times, by the median over turns of the ratio within one turn.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure

TURNS = 11
BAR = 1.2
PLAIN, STORED = "plain", "stored"
PASSES = {"channel": "easier, by channel", "position": "easier, by position", "tlc": "tlc, all measured"}
MB = 1e6
EXACT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}  # what is freed leaves the process at once


def measure() -> list[Figure]:
    """Return the times and the memory of each pass."""
    return [*_times(), *_memories()]


def _times() -> list[Figure]:
    import torch

    torch.set_num_threads(1)
    images = len(_digits().labels)
    passes = _passes(images)
    del passes[STORED]
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for turn in range(TURNS + 1):
        for name, work in passes.items():
            began = time.process_time()
            work()
            if turn:  # the first warms up
                seconds[name].append(time.process_time() - began)
    plain = seconds[PLAIN]
    return [
        _time(what, [own / bare for own, bare in zip(seconds[name], plain, strict=True)], images, plain)
        for name, what in PASSES.items()
    ]


def _time(what: str, ratios: list[float], images: int, plain: list[float]) -> Figure:
    middle, (low, _, high) = statistics.median(ratios), statistics.quantiles(ratios, n=4)
    return Figure(
        f"{what}: processor time over that of a plain forward pass, ResNet-18, {images} images",
        f"<= {BAR}",
        f"{middle:.2f}",
        middle <= BAR,
        f"median of {len(ratios)} turns, quartiles {low:.2f} and {high:.2f}; "
        f"a plain pass takes {statistics.median(plain):.2f} s",
    )


def _memories() -> list[Figure]:
    images = len(_digits().labels)
    stored = _peak(images, STORED)
    return [
        _memory(what, name, images, stored) for name, what in {**PASSES, PLAIN: "a plain pass, for comparison"}.items()
    ]


def _memory(what: str, name: str, images: int, stored: int) -> Figure:
    once, four_times = _peak(images, name), _peak(4 * images, name)
    return Figure(
        f"{what}: memory at the peak beyond the network, at {images} and {4 * images} images",
        "as much, within 2 MB" if name != PLAIN else "",
        f"{once / MB:.0f} and {four_times / MB:.0f} MB",
        abs(four_times - once) <= 2 * MB if name != PLAIN else None,
        f"inputs of all activations stored: {stored / MB:.0f} MB at {images} images",
    )


def _peak(images: int, name: str) -> int:
    command = [sys.executable, "-m", "benchmarks.statistics_pass", str(images), name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **EXACT})
    return int(done.stdout)


# --- the passes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Repeated:
    """The images of a part over and over, none of them stored twice."""

    part: Any
    labels: Any

    def batch(self, indices: Any, _: Any) -> Any:
        """The images at these places of the longer part."""
        return self.part.images[indices % len(self.part.labels)]


def _digits() -> Any:
    from harness import content

    return content.load("task", "digits").load(None).validation


def _passes(images: int) -> dict[str, Callable[[], object]]:
    """Each pass over so many images, by name."""
    import torch

    from harness import content
    from harness.compress import activations, models, train
    from harness.compress.methods import _statistics
    from harness.compress.state import State, batches

    part, task = _digits(), content.load("task", "digits")
    split: Any = Repeated(part, torch.zeros(images, dtype=torch.int64))
    network = train.lay_out(models.build("resnet18", task, 0)).eval()
    names = activations(network)
    state = State(network, part.images[:2], names, names, split)
    easier = content.load("method", "easier")

    def plain() -> None:
        with torch.inference_mode():
            for x, _ in batches(split):
                network(x)

    def measured() -> object:
        axes = _statistics.channel_axes(network, part.images[:2], names)
        return _statistics.moments(network, axes, batches(split))

    def stored() -> object:
        found: list[torch.Tensor] = []
        with _statistics.watching(network, names, lambda _, z: found.append(z.clone())):
            plain()
        return found

    return {
        PLAIN: plain,
        "channel": lambda: easier.choose(state, easier.Recipe("channel")),
        "position": lambda: easier.choose(state, easier.Recipe("position")),
        "tlc": measured,
        STORED: stored,
    }


def main() -> None:
    """Print the bytes that a pass holds at its peak beyond what was there before; a pass over one batch comes first."""
    import torch

    torch.set_num_threads(1)
    images, name = int(sys.argv[1]), sys.argv[2]
    _passes(64)[name]()
    work = _passes(images)[name]
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before = _status("VmRSS")
    result = work()
    print(_status("VmHWM") - before)
    del result


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    main()

"""Folding by itself: how long merging takes on one core, what memory beyond the network, and the table of docs/folding.md.

python -m benchmarks folding            the figures, and the table
python -m benchmarks.folding NETWORK    one network in a process of its own, as JSON
"""

from __future__ import annotations

import copy
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure

TIMES = 3
BARS_S = {"resnet18": 1.5, "swin_t": 3.0}
NETWORKS = ("resnet18", "resnet34", "resnet50", "vgg16_bn", "mobilenet_v2", "swin_t")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "folding.md"
MARKS = ("<!-- networks -->", "<!-- /networks -->")
SHAPE = (3, 32, 32)
LEAST = 1e-15  # smaller errors are written as below this


def measure() -> list[Figure]:
    """Fold every network in fresh processes, write the table, and hold the times and the memory against their bars."""
    found = {name: [_ask(name) for _ in range(TIMES)] for name in NETWORKS}
    _write(_table({name: runs[0] for name, runs in found.items()}))
    return [figure for name in BARS_S for figure in _figures(name, found[name])]


def _figures(name: str, runs: list[dict[str, Any]]) -> list[Figure]:
    seconds = statistics.median(run["merge_s"] for run in runs)
    proof = statistics.median(run["fold_s"] for run in runs)
    merge_x, fold_x = (max(run[key] for run in runs) / runs[0]["weight_bytes"] for key in ("merge_bytes", "fold_bytes"))
    return [
        Figure(
            f"{name}: merged on one core, median of {TIMES}",
            f"<= {BARS_S[name]:g} s",
            f"{seconds:.2f} s",
            seconds <= BARS_S[name],
            f"with the proof {proof:.2f} s",
        ),
        Figure(
            f"{name}: memory beyond the network at the peak, times its weights",
            "<= 3 without the proof, <= 8 with it",
            f"{merge_x:.1f}, {fold_x:.1f}",
            merge_x <= 3 and fold_x <= 8,
        ),
    ]


def _ask(name: str) -> dict[str, Any]:
    print(f"  {name}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.folding", name], capture_output=True, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


# --- the table -----------------------------------------------------------------------------------------------------


def _table(found: dict[str, dict[str, Any]]) -> str:
    head = (
        "| network, 3x32x32 | removed of | groups merged (left) | what | depth | MMACs, useful | weights, MB | error, float64 | "
        "seconds | LayerFold's crop: MMACs, error |"
    )
    lines = [head, "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|", *(_row(*item) for item in found.items())]
    return "\n".join(lines)


def _row(name: str, one: dict[str, Any]) -> str:
    cells = (
        name,
        f"{one['removed']} of {one['activations']}",
        f"{one['merged']} ({one['left']})",
        ", ".join(f"{count} {kind}" for kind, count in one["kinds"].items()).replace("|", r"\|"),
        f"{one['before']['depth']} to {one['after']['depth']}",
        f"{one['before']['macs_useful'] / 1e6:.0f} to {one['after']['macs_useful'] / 1e6:.0f}",
        f"{one['before']['weight_bytes'] / 1e6:.1f} to {one['after']['weight_bytes'] / 1e6:.1f}",
        f"< {LEAST:.0e}" if one["error"] < LEAST else f"{one['error']:.0e}",
        f"{one['fold_s']:.1f}",
        f"{one['crop']['macs_useful'] / 1e6:.0f}, {100 * one['crop_error']:.0f} %",
    )
    return "| " + " | ".join(cells) + " |"


def _write(table: str) -> None:
    before, rest = PAGE.read_text(encoding="utf-8").split(MARKS[0])
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{table}\n\n{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8")


# --- in a process of its own -----------------------------------------------------------------------------------------


def main() -> None:
    """Fold one network, every mergeable activation removed and the padding moved; print what came out as JSON."""
    import torch

    from harness import content, flops
    from harness.compress import activations, fold, mergeable, pad_first, remove
    from harness.compress.folding import trace
    from harness.compress.folding.rewrite import merge

    name = sys.argv[1]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = content.load("model", name).build(None, 10, SHAPE).eval()
    example = torch.randn(2, *SHAPE)
    names = mergeable(network, example) or activations(network)
    if name == "mobilenet_v2":  # one activation of two unlocks a merge that costs more; both together one that pays
        names = activations(network)[1:-1]
    kept = remove(network, names)
    given = pad_first(kept, example)

    def merged() -> object:
        graph = trace.trace(copy.deepcopy(given).double())
        merge(graph, example.double(), lambda group: True)
        return graph.float()

    merge_s, merge_bytes = _measured(merged)
    fold_s, fold_bytes = _measured(lambda: fold(given, example))
    folded = fold(given, example)
    crop = fold(kept, example, policy="approximate", forms=("crop",))
    kinds: dict[str, int] = {}
    for group in folded.groups:
        if group.reason is None:
            kinds[group.kind] = kinds.get(group.kind, 0) + 1
    print(
        json.dumps(
            {
                "removed": len(names),
                "activations": len(activations(network)),
                "merged": sum(kinds.values()),
                "left": sum(group.reason is not None for group in folded.groups),
                "kinds": kinds,
                "before": vars(flops.count(network, example[:1])),
                "after": vars(flops.count(folded.network, example[:1])),
                "error": folded.max_error,
                "crop": vars(flops.count(crop.network, example[:1])),
                "crop_error": crop.max_error,
                "merge_s": merge_s,
                "fold_s": fold_s,
                "weight_bytes": sum(4 * parameter.numel() for parameter in network.parameters()),
                "merge_bytes": merge_bytes,
                "fold_bytes": fold_bytes,
            }
        )
    )


def _measured(work: Callable[[], object]) -> tuple[float, int]:
    """Seconds that the work takes, and the bytes of memory that it held at its peak beyond what was there before."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before, began = _status("VmRSS"), time.perf_counter()
    result = work()
    seconds, peak = time.perf_counter() - began, _status("VmHWM")
    del result
    return seconds, peak - before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    main()

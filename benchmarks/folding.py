"""Folding by itself: how long merging takes on one core, what memory beyond the network, and the table of docs/folding.md.

python -m benchmarks folding            the figures, and the table
python -m benchmarks.folding NETWORK merge|fold|tell    one network in a process of its own, as JSON
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import layerfold
from benchmarks.figures import Figure

TIMES = 3
BARS_S = {"resnet18": 1.5, "swin_t": 3.0}
NETWORKS = ("resnet18", "resnet34", "resnet50", "vgg16_bn", "mobilenet_v2", "swin_t")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "folding.md"
MARKS = ("<!-- networks -->", "<!-- /networks -->")
SHAPE = (3, 32, 32)
LEAST = 1e-15  # smaller errors are written as below this
KEPT, MOVED = "kept", "moved"
MERGE, FOLD, TELL = "merge", "fold", "tell"


def measure() -> list[Figure]:
    """Fold every network in fresh processes, write the table, and hold the times and the memory against their bars."""
    _write(_table({name: _ask(name, TELL) for name in NETWORKS}))
    return [figure for name in BARS_S for figure in _figures(name)]


def _figures(name: str) -> list[Figure]:
    merges, folds = ([_ask(name, what) for _ in range(TIMES)] for what in (MERGE, FOLD))
    seconds, proved = (statistics.median(run["seconds"] for run in runs) for runs in (merges, folds))
    merge_x, fold_x = (max(run["bytes"] / run["weight_bytes"] for run in runs) for runs in (merges, folds))
    return [
        Figure(
            f"{name}: merged on one core, median of {TIMES}",
            f"<= {BARS_S[name]:g} s",
            f"{seconds:.2f} s",
            seconds <= BARS_S[name],
            f"with the proof {proved:.2f} s",
        ),
        Figure(
            f"{name}: memory beyond the network at the peak, times its weights",
            "<= 3 without the proof, <= 8 with it",
            f"{merge_x:.1f}, {fold_x:.1f}",
            merge_x <= 3 and fold_x <= 8,
        ),
    ]


def _ask(name: str, what: str) -> dict[str, Any]:
    print(f"  {name}: {what}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.folding", name, what], capture_output=True, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


# --- the table -----------------------------------------------------------------------------------------------------


def _table(found: dict[str, dict[str, Any]]) -> str:
    head = (
        "| network, 3x32x32 | padding | removed of | groups merged (left) | forms | depth | MMACs | useful | weights, MB | "
        "error, float64 | float32 | seconds | LayerFold |"
    )
    rows = [_row(name, padding, one, one[padding]) for name, one in found.items() for padding in (KEPT, MOVED)]
    return "\n".join([head, "|---|---|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---|", *rows])


def _row(name: str, padding: str, one: dict[str, Any], made: dict[str, Any]) -> str:
    before, after = one["before"], made["after"]
    cells = (
        name if padding == KEPT else "",
        padding,
        f"{one['removed']} of {one['activations']}",
        f"{made['merged']} ({made['left']})",
        ", ".join(f"{count} {form}" for form, count in made["forms"].items()) or "-",
        f"{before['depth']} to {after['depth']}",
        f"{before['macs'] / 1e6:.0f} to {after['macs'] / 1e6:.0f}",
        f"{before['macs_useful'] / 1e6:.0f} to {after['macs_useful'] / 1e6:.0f}",
        f"{before['weight_bytes'] / 1e6:.1f} to {after['weight_bytes'] / 1e6:.1f}",
        _error(made["error"]),
        _error(made["error_f32"]),
        f"{made['fold_s']:.1f}",
        one["layerfold"] if padding == KEPT else "",
    )
    return "| " + " | ".join(cells) + " |"


def _error(value: float) -> str:
    return f"< {LEAST:.0e}" if value < LEAST else f"{value:.0e}"


def _write(table: str) -> None:
    before, rest = PAGE.read_text(encoding="utf-8").split(MARKS[0])
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{table}\n\n{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8")


# --- in a process of its own -----------------------------------------------------------------------------------------


def main() -> None:
    """Merge, fold, or tell all of one network, every mergeable activation removed; print what came out as JSON."""
    import torch

    from harness import content
    from harness.compress import activations, fold, mergeable, pad_first, remove
    from harness.compress.folding import trace
    from harness.compress.folding.rewrite import merge

    name, what = sys.argv[1:]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = _as_trained(content.load("model", name).build(None, 10, SHAPE)).eval()
    example = torch.randn(2, *SHAPE)
    names = mergeable(network, example)
    if name == "mobilenet_v2":  # one activation of two unlocks a merge that costs more; both together one that pays
        names = activations(network)[1:-1]
    kept = remove(network, names)
    moved = pad_first(kept, example)

    def merged() -> object:
        graph = trace.trace(moved, example)
        merge(graph, example)
        return graph

    weight_bytes = sum(4 * parameter.numel() for parameter in network.parameters())
    answer = {
        MERGE: lambda: _measured(merged),
        FOLD: lambda: _measured(lambda: fold(moved, example)),
        TELL: lambda: _told(name, network, names, {KEPT: kept, MOVED: moved}, example),
    }[what]()
    print(json.dumps({**answer, "weight_bytes": weight_bytes}))


def _as_trained(network: Any) -> Any:
    """Give every BatchNorm statistics, scales and shifts that are not the identity's: folding them is half the work."""
    from torch import nn

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return network


def _told(name: str, network: Any, names: Sequence[str], given: dict[str, Any], example: Any) -> dict[str, Any]:
    from harness import flops
    from harness.compress import activations

    return {
        "removed": len(names),
        "activations": len(activations(network)),
        "before": vars(flops.count(network, example[:1])),
        **{padding: _folded(one, example) for padding, one in given.items()},
        "layerfold": layerfold.describe(name, given[KEPT], example),
    }


def _folded(network: Any, example: Any) -> dict[str, Any]:
    from harness import flops
    from harness.compress import fold

    began = time.perf_counter()
    folded = fold(network, example)
    seconds = time.perf_counter() - began
    forms: dict[str, int] = {}
    for group in folded.groups:
        if group.form is not None:
            forms[group.form] = forms.get(group.form, 0) + 1
    return {
        "merged": sum(forms.values()),
        "left": sum(group.reason is not None for group in folded.groups),
        "forms": forms,
        "after": vars(flops.count(folded.network, example[:1])),
        "error": folded.max_error,
        "error_f32": folded.max_error_f32,
        "fold_s": seconds,
    }


def _measured(work: Callable[[], object]) -> dict[str, Any]:
    """Seconds that the work takes, and the bytes that it held at its peak beyond what was there before.

    A first, small piece of work comes before: what the libraries keep for themselves is not the folding's.
    """
    import torch
    from torch import nn

    from harness.compress import fold

    fold(nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 3)).eval(), torch.randn(2, *SHAPE))
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before, began = _status("VmRSS"), time.perf_counter()
    result = work()
    seconds, peak = time.perf_counter() - began, _status("VmHWM")
    del result
    return {"seconds": seconds, "bytes": peak - before}


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    main()

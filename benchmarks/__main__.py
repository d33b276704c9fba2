"""`make bench`: measure every bar that the docs quote. Each suite keeps its figures; docs/benchmarks.md holds them all.

python -m benchmarks                  the quick suites; about an hour, the first and second main job included
python -m benchmarks startup rules    only what is named
python -m benchmarks noise-quiet noise-loaded peers rules     the long experiments, two hours and a half, on an idle machine
python -m benchmarks planner-resnet18 planner-mobilenet-32 planner-mobilenet-224 planner-chance     an hour, on an idle machine
python -m benchmarks matrix grid          every runtime and precision, an hour; goes on where it was cut off

A suite that was not run keeps the figures of its last run, with their date.
"""

from __future__ import annotations

import os
import platform
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import (
    builds,
    coverage,
    deploy,
    energy,
    folding,
    grid,
    main_job,
    matrix,
    noise,
    overhead,
    peers,
    planner,
    planner_choice,
    regressions,
    rules,
    samples,
    startup,
    statistics_pass,
    store,
    tools,
)
from benchmarks.figures import Figure, table

Suite = Callable[[], list[Figure]]
QUICK: Mapping[str, Suite] = {
    "startup": startup.measure,
    "overhead": overhead.measure,
    "main_job": main_job.measure,
    "folding": folding.measure,
    "coverage": coverage.measure,
    "energy": energy.measure,
    "statistics_pass": statistics_pass.measure,
    "rules": rules.measure,
    "regressions": regressions.measure,
    "deploy": deploy.measure,
    "builds": builds.measure,
    "store": store.measure,
    "planner_choice": planner_choice.measure,
    "samples": samples.measure,
    "tools": tools.measure,
}
LONG: Mapping[str, Suite] = {
    "noise-quiet": noise.quiet,
    "noise-loaded": noise.loaded,
    "peers": peers.measure,
    "matrix": matrix.measure,
    "grid": grid.measure,
    "planner-resnet18": planner.resnet18,
    "planner-mobilenet-32": planner.mobilenet_32,
    "planner-mobilenet-224": planner.mobilenet_224,
    "planner-chance": planner.chance,
}
HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Written by `make bench`. Every bar that the project sets itself, and what was measured: medians, and ratios taken side by
side, on one machine that other work shares. A figure that falls short says so. What the experiments on noise do, and why, is
in [Experiments](experiments.md).
"""
NOT_RUN = "Not yet run."


def main() -> int:
    """Run the named suites (the quick ones by default); each is put on the page when it is done.

    Returns 1 when a bar was missed, or a suite broke off: that leaves the others alone.
    """
    whole = [_brought(name) for name in sys.argv[1:] or list(QUICK)]
    return int(not all(whole))


def _brought(name: str) -> bool:
    """Run one suite and write its section. Returns whether it came to its end and missed no bar."""
    print(f"== {name}", flush=True)
    suite = {**QUICK, **LONG}[name]
    try:
        measured = suite()
    except Exception:
        traceback.print_exc()
        return False
    print(table(measured), flush=True)
    stamp = noise.stamp(name) or f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}."
    _section(name).write_text(f"{stamp}\n\n{table(measured)}\n" if measured else f"{NOT_RUN}\n")
    PAGE.write_text(page())
    return all(figure.ok is not False for figure in measured)


def page() -> str:
    """All suites with the figures of their last run."""
    sections = (f"## {_title(name)}\n\n{_kept(name)}\n" for name in (*QUICK, *LONG))
    return "\n".join([HEAD, *sections])


def _title(name: str) -> str:
    return name.replace("_", " ").replace("-", ", ")


def _section(name: str) -> Path:
    return HERE / "sections" / f"{name}.md"


def _kept(name: str) -> str:
    file = _section(name)
    return file.read_text(encoding="utf-8").strip() if file.is_file() else NOT_RUN


def machine() -> str:
    """Describe the machine in a few words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return (
        f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    sys.exit(main())

"""`make bench`: measure every bar that the docs quote and write docs/benchmarks.md.

python -m benchmarks            all; about fifteen minutes, the first and second main job included
python -m benchmarks startup    only what is named
"""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import main_job, noise, overhead, startup
from benchmarks.figures import Figure, table

SUITES = {"startup": startup.measure, "overhead": overhead.measure, "main_job": main_job.measure}
LONG = {"noise-quiet": noise.quiet, "noise-loaded": noise.loaded}  # an hour each: only by name
PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Written by `make bench`. Every bar that the project sets itself, and what was measured: medians, and ratios taken side by
side, on one machine that other work shares. A figure that falls short says so.

Measured {when} on {machine}.

"""


def main() -> int:
    """Run the named suites (all by default); write the page when all ran. Returns 1 when a bar was missed."""
    chosen = sys.argv[1:] or list(SUITES)
    sections: list[str] = []
    figures: list[Figure] = []
    for name in chosen:
        print(f"== {name}", flush=True)
        measured = {**SUITES, **LONG}[name]()
        figures += measured
        sections.append(f"## {name.replace('_', ' ')}\n\n{table(measured)}\n")
        print(sections[-1], flush=True)
    if set(chosen) == set(SUITES):
        PAGE.write_text(HEAD.format(when=f"{datetime.now(UTC):%Y-%m-%d}", machine=machine()) + "\n".join(sections))
    return int(any(figure.ok is False for figure in figures))


def machine() -> str:
    """Describe the machine in a few words."""
    import os

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return (
        f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


sys.exit(main())

"""A stored run as the program of now understands it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.records import Run


def load(folder: Path, tell: Callable[[], None] = lambda: None) -> Run:
    """Load a run; recompute its numbers from its journals when a newer analysis exists or it never came to its end.

    `tell` is called before it is recomputed, which takes a second. A run whose raw samples were given up stays as it was
    computed then. Nothing is written. Raises StoreError, WireError.
    """
    from harness import findings, store

    run = store.load(folder)
    if run.analysis_version >= findings.ANALYSIS_VERSION or not run.entries or store.thinned(folder) is not None:
        return run
    tell()
    from harness import analysis

    runtimes = run.plan.runtimes
    return analysis.analyse(run, *store.measured(folder, runtimes), store.all_meters(folder, runtimes))

"""Frames: a run's samples and system state as Parquet, and back as pandas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import tables, wire
from harness.errors import StoreError
from harness.records import Run
from harness.store.runs import load
from harness.store.writing import write

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Frames:
    """A run as pandas frames: one row per ladder row, per inference, per system-state reading, per process.

    `processes` is empty for runs that were stored before there was such a file.
    """

    run: Run
    cases: pd.DataFrame
    samples: pd.DataFrame
    state: pd.DataFrame
    processes: pd.DataFrame


def frames(folder: Path) -> Frames:
    """Read a run's record and its Parquet files. Raises StoreError."""
    import pandas as pd

    run = load(folder)
    try:
        samples, state = (pd.read_parquet(folder / f"{name}.parquet") for name in ("samples", "state"))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{folder}: its samples cannot be read: {error}", "Finish the run: harness run --resume."
        ) from None
    kept = folder / "processes.parquet"
    processes = pd.read_parquet(kept) if kept.is_file() else tables.processes([])
    return Frames(run, pd.json_normalize([asdict(case) for case in run.cases]), samples, state, processes)


def save_frames(folder: Path, journals: Iterable[Sequence[wire.Event]]) -> None:
    """Write samples.parquet, processes.parquet and state.parquet from the journals. Raises StoreError."""
    journals = tuple(journals)
    for name, table in (("samples", tables.samples), ("processes", tables.processes), ("state", tables.state)):
        write(folder / f"{name}.parquet", table(journals).to_parquet(index=False))

"""Frames: a run's samples, system state and power as Parquet, and back as pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import tables, wire
from harness.errors import StoreError
from harness.records import Run
from harness.store.meters import meters
from harness.store.runs import load
from harness.store.thinning import thinned
from harness.store.writing import write

if TYPE_CHECKING:
    import pandas as pd


_BESIDE = "Its journal, beside it, may still be whole."


@dataclass(frozen=True)
class Frames:
    """A run as pandas frames: one row per ladder row, per inference, per system-state reading, per process, per reading
    of power or energy, per energy pass.

    `processes`, `power` and `windows` are empty for runs that were stored before there were such files. Of a thinned run
    `samples` and `power` are empty, and `medians` has a row per process; it is empty for all others.
    """

    run: Run
    cases: pd.DataFrame
    samples: pd.DataFrame
    state: pd.DataFrame
    processes: pd.DataFrame
    power: pd.DataFrame
    windows: pd.DataFrame
    medians: pd.DataFrame


def frames(folder: Path) -> Frames:
    """Read a run's record and its Parquet files. Raises StoreError."""
    import pandas as pd

    run = load(folder)
    kept_all = thinned(folder) is None
    samples = _table(folder / "samples.parquet") if kept_all else tables.samples([])
    state = _table(folder / "state.parquet")
    if lost := [name for name in tables.samples([]).columns if name not in samples.columns]:
        raise StoreError(f"{folder / 'samples.parquet'}: damaged: it has no {lost[0]}", _BESIDE)
    later = {"processes": tables.processes([]), "power": tables.power({}), "windows": tables.windows({})}
    later |= {"medians": tables.medians(tables.samples([]))}
    kept = {name: _kept(folder / f"{name}.parquet", empty) for name, empty in later.items()}
    return Frames(run, pd.json_normalize([asdict(case) for case in run.cases]), samples, state, **kept)


def _kept(file: Path, empty: pd.DataFrame) -> pd.DataFrame:
    """Read a file that older runs lack. Raises StoreError where it is there and cannot be read."""
    return _table(file) if file.exists() else empty


def _table(file: Path) -> pd.DataFrame:
    """Read a Parquet file, its pages by their checksums. Raises StoreError: not there, damaged, something else."""
    import pandas as pd
    import pyarrow as pa

    try:
        return pd.read_parquet(file, page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        first = str(error).partition("\n")[0]
        move = _BESIDE if file.exists() else "Finish the run: harness run --resume."
        raise StoreError(f"{file}: cannot be read: {first}", move) from None


def save_frames(folder: Path, journals: Mapping[str, Sequence[wire.Event]], regime: str = "burst") -> None:
    """Write samples, processes, state, power and windows as Parquet, from the journals by runtime and the controller's meters.

    Raises StoreError: cannot be written, or the record of the meters is damaged.
    """
    events = tuple(journals.values())
    read = {runtime: [each.trace for each in meters(folder, runtime)] for runtime in journals}
    found = {
        "samples": tables.samples(events),
        "processes": tables.processes(events),
        "state": tables.state(events),
        "power": tables.power(journals, read),
        "windows": tables.windows(journals, regime),
    }
    for name, table in found.items():
        write(folder / f"{name}.parquet", table.to_parquet(index=False, write_page_checksum=True))

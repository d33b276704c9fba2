"""Journals as pandas frames, in long form: every inference, every process, every reading of system state and of power."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness import wire

if TYPE_CHECKING:
    import pandas as pd


_QUANTILES = {"median": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def samples(journals: Iterable[Sequence[wire.Event]]) -> pd.DataFrame:
    """Return every inference as a row; `valid` when its process is the last attempt of its (case, block, replicate)."""
    import pandas as pd

    columns = ["case_id", "block", "replicate", "attempt", "phase", "index", "start_ns", "latency_ns", "valid"]
    parts = [pd.DataFrame([], columns=columns)]
    for journal in journals:
        processes = [event for event in journal if isinstance(event, wire.ProcessEvent)]
        last = {(p.case_id, p.block, p.replicate): p.attempt for p in processes}
        for process in processes:
            valid = last[process.case_id, process.block, process.replicate] == process.attempt
            parts += [_process(process, phase, valid)[columns] for phase in ("warmup", "timed")]
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def _process(process: wire.ProcessEvent, phase: str, valid: bool) -> pd.DataFrame:
    import pandas as pd

    timed = phase == "timed"
    latency = process.latency_ns if timed else process.warmup_ns
    return pd.DataFrame(
        {
            "case_id": process.case_id,
            "block": process.block,
            "replicate": process.replicate,
            "attempt": process.attempt,
            "phase": phase,
            "index": range(len(latency)),
            "start_ns": pd.array(process.start_ns if timed else [None] * len(latency), dtype="Int64"),
            "latency_ns": pd.array(latency, dtype="Int64"),
            "valid": valid,
        }
    )


def state(journals: Iterable[Sequence[wire.Event]]) -> pd.DataFrame:
    """Return every system-state reading as a row, in long form; value is null unless status is `ok`.

    `case_id` is null where a whole block is meant; `reason` says why a status is not `ok`.
    """
    import pandas as pd

    columns = ["block", "when", "case_id", "replicate", "attempt", "sensor", "scope", "kind", "status", "reason"]
    rows = [
        (
            *(event.block, event.when, event.case_id or None, event.replicate, event.attempt),
            *(sensor, scope, kind, status, event.reasons.get(f"{sensor} {scope}", ""), event.t_ns, value, unit),
        )
        for journal in journals
        for event in journal
        if isinstance(event, wire.StateEvent)
        for sensor, scope, kind, status, value, unit in event.readings
    ]
    return pd.DataFrame(rows, columns=[*columns, "start_ns", "value", "unit"])


def processes(journals: Iterable[Sequence[wire.Event]]) -> pd.DataFrame:
    """Return every process as a row: when, how long, what the spins beside it took, what it and others used."""
    import pandas as pd

    columns = [
        *("case_id", "block", "replicate", "attempt", "end_ns", "wall_ns", "import_ns", "load_ns", "spin_before_ns"),
        *("spin_after_ns", "contended", "steady", "artifact_error"),
    ]
    used = [field.name for field in dataclasses.fields(wire.Usage)]
    rows = []
    for journal in journals:
        for event in journal:
            if isinstance(event, wire.ProcessEvent):
                own = {**vars(event), "end_ns": event.t_ns}
                usage = vars(event.usage) if event.usage else {}
                throttled = "; ".join(event.throttled)
                rows.append([*(own[name] for name in columns), throttled, *(usage.get(name) for name in used)])
    return pd.DataFrame(rows, columns=[*columns, "throttled", *used])


def medians(samples: pd.DataFrame) -> pd.DataFrame:
    """Return what a table of samples says of each process, as a row: its timed inferences' mean, median, tails and extremes."""
    import pandas as pd

    timed = samples[samples.phase == "timed"].astype({"latency_ns": "float64"})
    processes = timed.groupby(["case_id", "block", "replicate", "attempt"], sort=False)
    latency = processes.latency_ns
    found = {
        "inferences": latency.size(),
        "mean_ns": latency.mean(),
        "min_ns": latency.min(),
        **{f"{name}_ns": latency.quantile(at) for name, at in _QUANTILES.items()},
        "max_ns": latency.max(),
        "valid": processes.valid.first(),
    }
    types = {name: "Int64" if name in ("inferences", "min_ns", "max_ns") else "float64" for name in found}
    return pd.DataFrame(found).astype({**types, "valid": "bool"}).reset_index()


# --- energy passes -------------------------------------------------------------------------------------------------

_POWER = (
    *("runtime", "block", "scenario", "case_id", "attempt", "sensor", "channel", "scope", "kind", "total"),
    *("status", "reason", "start_ns", "value", "unit"),
)
_WINDOWS = (
    *("runtime", "block", "scenario", "case_id", "attempt", "start_ns", "end_ns", "inferences", "rate_hz", "late"),
    *("unsampled_ns", "sampled_ns", "sampler_cpus", "contended", "throttled", "valid"),
)
_TYPES = {
    **dict.fromkeys(("block", "attempt", "start_ns", "end_ns", "inferences", "late", "unsampled_ns"), "Int64"),
    "sampled_ns": "Int64",
    "total": "boolean",
    "contended": "bool",
    "valid": "bool",
    "value": "float64",
    "rate_hz": "float64",
}


def power(
    journals: Mapping[str, Sequence[wire.Event]], meters: Mapping[str, Sequence[wire.Trace]] | None = None
) -> pd.DataFrame:
    """Return every reading of power or energy as a row, by runtime; value is null unless status is `ok`, never 0 for that.

    `start_ns` is when it was taken, on the device's clock. `meters` are traces of meters that the controller read, their times
    brought onto that clock: they span passes, so that block, scenario, case_id and attempt are null. case_id is null where
    a device was idle, channel where a sensor could not even be opened.
    """
    columns: dict[str, list[Any]] = {name: [] for name in _POWER}
    for runtime, journal in journals.items():
        for event in journal:
            if isinstance(event, wire.PassEvent):
                taken = (runtime, event.block, event.scenario, event.case_id or None, event.attempt)
                _append(columns, taken, event.traces)
                _append_unopened(columns, taken, event)
    for runtime, traces in (meters or {}).items():
        _append(columns, (runtime, None, None, None, None), traces)
    return _typed(columns)


def windows(journals: Mapping[str, Sequence[wire.Event]], regime: str = "burst") -> pd.DataFrame:
    """Return every energy pass as a row, by runtime; `valid` when it is the last attempt and was not disturbed.

    Under a lasting load (`regime`: sustained) throttling is part of what is measured, and disturbs nothing.
    Times on the device's clock; `throttled` is the evidence, "" where there is none. case_id is null where a device was idle.
    """
    columns: dict[str, list[Any]] = {name: [] for name in _WINDOWS}
    for runtime, journal in journals.items():
        passes = [event for event in journal if isinstance(event, wire.PassEvent)]
        last = {(e.scenario, e.case_id, e.block): e.attempt for e in passes}
        for event in passes:
            counts = last[event.scenario, event.case_id, event.block] == event.attempt
            row = {
                **vars(event),
                "runtime": runtime,
                "case_id": event.case_id or None,
                "throttled": "; ".join(event.throttled),
                "valid": counts and not event.contended and not wire.forbidden(event.throttled, regime),
            }
            for name in _WINDOWS:
                columns[name].append(row[name])
    return _typed(columns)


def _append(columns: dict[str, list[Any]], taken: tuple[Any, ...], traces: Iterable[wire.Trace]) -> None:
    for trace in traces:
        of = trace.channel
        rows = sorted(_readings(trace), key=lambda row: row[0])
        shared = (*taken, of.sensor, of.name, of.scope, of.kind, of.total)
        for name, value in zip(_POWER, shared, strict=False):
            columns[name] += [value] * len(rows)
        for name, found in zip(("start_ns", "status", "reason", "value"), zip(*rows, strict=True), strict=False):
            columns[name] += found
        columns["unit"] += [of.unit] * len(rows)


def _append_unopened(columns: dict[str, list[Any]], taken: tuple[Any, ...], event: wire.PassEvent) -> None:
    """A row for each sensor that gave nothing in a pass, as it could not be opened."""
    for sensor, said in event.unopened.items():
        status, _, reason = said.partition(": ")
        row = (*taken, sensor, None, None, None, None, status, reason, event.start_ns, None, None)
        for name, value in zip(_POWER, row, strict=True):
            columns[name].append(value)


def _readings(trace: wire.Trace) -> Iterator[tuple[int, str, str, float | None]]:
    yield from ((at, "ok", "", value) for at, value in zip(trace.t_ns, trace.values, strict=True))
    yield from ((gap.t_ns, gap.status, gap.reason, None) for gap in trace.gaps)


def _typed(columns: Mapping[str, list[Any]]) -> pd.DataFrame:
    """A frame whose columns have the same types whether or not there is a row."""
    import pandas as pd

    frame = pd.DataFrame(columns)
    return frame.astype({name: kind for name, kind in _TYPES.items() if name in columns})

"""Journals as pandas frames, in long form: every inference, every process, every reading of system state."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness import wire

if TYPE_CHECKING:
    import pandas as pd


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

"""Under which conditions a job was measured: what its journal says of the device besides latencies. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from harness import stats, wire
from harness.records import Correlation, Curve

_SENTENCES = 10  # of evidence that are kept
_NAMES = 5

Key = tuple[str, int, int, int]  # case, block, replicate, attempt


def fields(
    job: wire.Job, journal: Sequence[wire.Event], processes: Mapping[str, Sequence[stats.Process]]
) -> dict[str, Any]:
    """Return the fields of a JobRecord that tell of the conditions.

    `usage` holds, over the processes that count: `foreign_cpu` and `steal` (cores, the median process) and their `_worst`,
    `crowded` (the share of processes that, with others, wanted more cores than there are), `migrations` (median),
    `major_faults` (sum), and of the whole job `swapped_pages`. None: the device could not tell.
    """
    counted = [process for group in processes.values() for process in stats.last_attempts(group)]
    events = {_key(event): event for event in journal if isinstance(event, wire.ProcessEvent)}
    measured = [(process, events[_place(process)]) for process in counted]
    states = [event for event in journal if isinstance(event, wire.StateEvent)]
    return {
        "waits": _waits(journal),
        "tuned": next((e.settings for e in journal if isinstance(e, wire.TuneEvent) and e.action == "apply"), ()),
        "usage": _usage(job, journal, [event for _, event in measured], states),
        "throttling": _evidence(journal),
        "neighbours": _neighbours(states),
        "follows": _follows(measured, states),
        "curve": _curve(journal),
    }


def _key(event: wire.ProcessEvent | wire.StateEvent) -> Key:
    return event.case_id, event.block, event.replicate, event.attempt


def _place(process: stats.Process) -> Key:
    return process.case_id, process.block, process.replicate, process.attempt


def _waits(journal: Iterable[wire.Event]) -> dict[str, float]:
    """How often, and for how many seconds, the agent waited for the device to cool; `timed_out`: how often in vain."""
    waits = [event for event in journal if isinstance(event, wire.WaitEvent)]
    if not waits:
        return {}
    return {
        "gates": float(len(waits)),
        "timed_out": float(sum(not event.passed for event in waits)),
        "seconds": sum(event.waited_ns for event in waits) / 1e9,
    }


def _evidence(journal: Iterable[wire.Event]) -> tuple[str, ...]:
    """What was said of throttling, of all processes, those measured again included."""
    found = (said for event in journal if isinstance(event, wire.ProcessEvent) for said in event.throttled)
    return tuple(dict.fromkeys(found))[:_SENTENCES]


# --- what processes and others used --------------------------------------------------------------------------------


def _usage(
    job: wire.Job,
    journal: Sequence[wire.Event],
    events: Sequence[wire.ProcessEvent],
    states: Sequence[wire.StateEvent],
) -> dict[str, float | None]:
    used = [(event, event.usage) for event in events if event.usage is not None]
    foreign = [usage.foreign_cpu for _, usage in used if usage.foreign_cpu is not None]
    steal = [usage.steal for _, usage in used if usage.steal is not None]
    migrations = [usage.migrations for _, usage in used if usage.migrations is not None]
    return {
        "foreign_cpu": _middle(foreign),
        "foreign_cpu_worst": max(foreign, default=None),
        "steal": _middle(steal),
        "steal_worst": max(steal, default=None),
        "crowded": _crowded(job, journal, events),
        "migrations": _middle(migrations),
        "major_faults": float(sum(usage.major_faults for _, usage in used)) if used else None,
        "swapped_pages": _swapped(states),
    }


def _middle(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _crowded(job: wire.Job, journal: Sequence[wire.Event], events: Sequence[wire.ProcessEvent]) -> float | None:
    """The share of processes beside which others, with its own threads, wanted more cores than the device has.

    Stolen time counts as theirs: the cores were elsewhere. None where the agent may use some of the cores alone: others
    are counted over all of them, and nobody knows on which they were.
    """
    facts = next((e.facts for e in journal if isinstance(e, wire.StartEvent)), {})
    cores = facts.get("cpus_usable")
    if cores != facts.get("cpus", cores):
        return None
    threads = {case.case_id: case.threads for case in job.cases}
    known = [
        threads[event.case_id] + event.usage.foreign_cpu + (event.usage.steal or 0.0)
        for event in events
        if event.usage is not None and event.usage.foreign_cpu is not None
    ]
    if not isinstance(cores, int) or not known:
        return None
    return sum(wanted > cores for wanted in known) / len(known)


def _swapped(states: Sequence[wire.StateEvent]) -> float | None:
    """Pages swapped in or out from the first reading to the last, boot by boot; None where it cannot be told."""
    total: float | None = None
    last: dict[str, float] = {}
    for event in states:
        for sensor, _, _, _, value, _ in event.readings:
            if sensor in ("pswpin", "pswpout") and value is not None:
                grown = value - last.get(sensor, value)
                total = (total or 0.0) + max(0.0, grown)  # backwards: another boot, which begins at 0
                last[sensor] = value
    return total


def _neighbours(states: Iterable[wire.StateEvent]) -> dict[str, float]:
    """The other programs that used most of the processors, by name: cores, on average over all blocks."""
    blocks: list[dict[str, float]] = []
    for event in states:
        named = {
            scope: value for sensor, scope, _, _, value, _ in event.readings if sensor == "foreign_process" and value
        }
        if event.when == "after" and not event.case_id:
            blocks.append(named)
    names = {name for named in blocks for name in named}
    means = {name: sum(named.get(name, 0.0) for named in blocks) / len(blocks) for name in names}
    return dict(sorted(means.items(), key=lambda item: -item[1])[:_NAMES])


# --- what latency goes along with ----------------------------------------------------------------------------------


def _follows(
    measured: Sequence[tuple[stats.Process, wire.ProcessEvent]], states: Iterable[wire.StateEvent]
) -> dict[str, Correlation]:
    """Rank correlation of processes' latencies, each relative to its case's, with heat and with what others did."""
    own: dict[str, list[float]] = defaultdict(list)
    for process, _ in measured:
        own[process.case_id].append(process.log_median)
    level = {case: float(np.median(values)) for case, values in own.items()}
    heat = _heat(states)
    properties: Mapping[str, Callable[[wire.ProcessEvent], float | None]] = {
        "temperature": lambda event: heat.get(_key(event)),
        "foreign_cpu": lambda event: event.usage.foreign_cpu if event.usage else None,
        "steal": lambda event: event.usage.steal if event.usage else None,
        "migrations": lambda event: event.usage.migrations if event.usage else None,
    }
    found = {}
    for name, of in properties.items():
        pairs = [(value, p.log_median - level[p.case_id]) for p, e in measured if (value := of(e)) is not None]
        correlation = stats.rank_correlation([value for value, _ in pairs], [excess for _, excess in pairs])
        if correlation is not None:
            found[name] = correlation
    return found


def _heat(states: Iterable[wire.StateEvent]) -> dict[Key, float]:
    """The hottest zone of any moment of each process, degC."""
    hottest: dict[Key, float] = {}
    for event in states:
        if event.case_id:
            zones = [
                value for sensor, _, _, _, value, _ in event.readings if sensor == "temperature" and value is not None
            ]
            for degrees in zones:
                hottest[_key(event)] = max(degrees, hottest.get(_key(event), degrees))
    return hottest


def _curve(journal: Iterable[wire.Event]) -> Curve | None:
    """How the last soak of the job went."""
    soaks = [event for event in journal if isinstance(event, wire.SoakEvent)]
    if not soaks:
        return None
    soak = soaks[-1]
    began = soak.at_ns[0] if soak.at_ns else 0
    return Curve(
        at_s=tuple((at - began) / 1e9 for at in soak.at_ns),
        median_ns=tuple(float(median) for median in soak.median_ns),
        hottest_degc=soak.hottest_degc,
        plateau=soak.plateau,
        reason=soak.reason,
    )

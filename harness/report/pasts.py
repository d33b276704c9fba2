"""What the figure of a history plots, as values: cases of many runs as series over time, and the CSV beside the figure.

A series is one rung of one ladder on one device, measured in one way: device, model, task, ladder, rung, runtime, precision,
threads, batch, options, regime and power mode. Its network may change between runs (`variant`): that is part of its history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from harness.errors import StoreError, UsageError
from harness.report.plotted import ms

MOST = 10  # series on a device that a figure can tell apart
DEVICES = 8  # one below the other
_COUNTED = 100  # series after which nobody counts on
_ALIKE = (
    "model",
    "task",
    "ladder",
    "rung",
    "runtime",
    "precision",
    "threads",
    "batch",
    "options",
    "regime",
    "power_mode",
)
_DISTURBED = ("contended", "throttled", "fell-back")  # states of runs whose times are not those of a device left alone


@dataclass(frozen=True)
class Past:
    """One case of one run: when the run began (UTC), its latency in ms; None: there is none.

    `set_aside`: the run was disturbed or the case failed, so that its time is drawn but joins nothing.
    """

    run: str
    started: datetime
    device: str
    model: str
    task: str | None
    ladder: str
    rung: int | None
    runtime: str
    precision: str
    threads: int
    batch: int
    options: str
    regime: str
    power_mode: str | None
    variant: str | None
    runtime_version: str | None
    status: str
    run_state: str | None
    latency_ms: float | None
    low_ms: float | None
    high_ms: float | None
    set_aside: bool
    virtual: bool

    @property
    def series(self) -> tuple[Any, ...]:
        """What is measured, wherever: alike on all devices."""
        return tuple(getattr(self, name) for name in _ALIKE)


def pasts(rows: Iterable[Mapping[str, Any]]) -> tuple[Past, ...]:
    """Return cases of the store's index in time. Raises UsageError for too many series, StoreError where nothing is timed."""
    found: list[Past] = []
    series: set[tuple[Any, ...]] = set()
    for row in rows:
        found.append(_past(row))
        series.add(found[-1].series)
        if len(series) >= _COUNTED:
            break
    devices = {past.device for past in found}
    if len(series) > MOST or len(devices) > DEVICES:
        raise _too_many(found, len(series), len(devices))
    if not any(past.latency_ms is not None for past in found):
        raise _nothing(found)
    return tuple(sorted(found, key=lambda past: (past.started, past.run)))


def _past(row: Mapping[str, Any]) -> Past:
    timed = not row["virtual"]
    return Past(
        **{name: row[name] for name in ("run", "started", "device", "virtual", "variant", "runtime_version")},
        **{name: row[name] for name in (*_ALIKE, "status", "run_state")},
        latency_ms=ms(row["latency_ns"]) if timed else None,
        low_ms=ms(row["latency_ns_low"]) if timed else None,
        high_ms=ms(row["latency_ns_high"]) if timed else None,
        set_aside=row["run_state"] in _DISTURBED or row["status"] != "ok",
    )


def _too_many(found: Sequence[Past], series: int, devices: int) -> UsageError:
    """Say how many there are, in what they differ, and how to choose."""
    more = f" or more series (in the first {len(found)} cases)" if series >= _COUNTED else " series"
    told = f"{series}{more}" if series > MOST else f"{devices} devices"
    most = f"{MOST} series" if series > MOST else f"{DEVICES} devices"
    differ = {name: dict.fromkeys(getattr(past, name) for past in found) for name in ("device", *_ALIKE)}
    several = {name: list(values) for name, values in differ.items() if len(values) > 1}
    named = ", ".join(f"{name} ({len(values)})" for name, values in several.items())
    first = " and ".join(_condition(name, values[0]) for name, values in list(several.items())[:3])
    return UsageError(
        f"--where: {told}, a figure shows {most} at most; they differ in {named}",
        f'Choose some: harness plot --kind history --where "{first}" --out FILE',
    )


def _condition(name: str, value: object) -> str:
    """An expression that holds for a value."""
    if value is None:
        return f"{name} is null"
    return f"{name} = {value}" if isinstance(value, int) else "{} = '{}'".format(name, str(value).replace("'", "''"))


def _nothing(found: Sequence[Past]) -> StoreError:
    if not found:
        return StoreError("--where: no case of any run is like that, no figure", "See: harness show --where true")
    if all(past.virtual for past in found):
        return StoreError(
            f"--where: {len(found)} cases of virtual devices; their times stand for no real ones, no figure",
            "Measure on a board.",
        )
    return StoreError(
        f"--where: {len(found)} cases, none was measured: no figure", "See why with: harness show RUN of one of them"
    )


def words(past: Past, names: Sequence[str]) -> str:
    """What a series is, as far as some of what may differ tells it."""
    rung = "rung ?" if past.rung is None else f"rung {past.rung}"
    told = {
        "model": past.model,
        "task": f"on {past.task}",
        "ladder": past.ladder,
        "rung": "" if past.rung is None else rung,
        "runtime": past.runtime,
        "precision": past.precision,
        "threads": f"{past.threads} thread{'s' * (past.threads != 1)}",
        "batch": f"batch {past.batch}",
        "options": "" if past.options == "{}" else _options(past.options),
        "regime": "" if past.regime == "burst" else f"regime {past.regime}",
        "power_mode": "" if past.power_mode is None else f"power mode {past.power_mode}",
    }
    parts = [(" " if name in ("task", "precision") else ", ") + told[name] for name in names if told[name]]
    return "".join(parts).lstrip(" ,")


def _options(text: str) -> str:
    """Options as the flag takes them, of the JSON that the index has."""
    return text.strip("{}").replace('"', "").replace(": ", "=")


def shared(table: Sequence[Past]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return in what all series are alike, and in what they differ."""
    alike = tuple(name for name in _ALIKE if len({getattr(past, name) for past in table}) == 1)
    return alike, tuple(name for name in _ALIKE if name not in alike)

"""What energy passes came to: per case in J per inference, per job what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.wire import Trace

EnergyVerdict = Literal["less", "more", "same", "unclear"]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval; None below where too few windows tell."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Saving:
    """Reference's gross energy per inference over the case's, paired within blocks, with its 95 % interval.

    Above 1 the case takes less; the verdict is None for the reference itself.
    """

    ratio: float
    low: float | None
    high: float | None
    verdict: EnergyVerdict | None


@dataclass(frozen=True)
class Figure:
    """One scenario's energy of a case: J per inference, gross and net of idle; mean power in W; the windows it rests on.

    `coverage` is the least part of a window that readings cover; `late` counts paced inferences that began too late.
    """

    gross: Interval
    net: Interval | None
    power_w: Interval
    windows: int
    window_s: float
    rate_hz: float | None
    coverage: float
    late: int
    saving: Saving | None


@dataclass(frozen=True)
class Energy:
    """Energy per inference of a case, J: that of `scenario`, which is compared (`paced` where there is one), and of each.

    `scope` says what was measured (module, wall, ...): figures of different scopes are never compared.
    """

    gross: Interval
    net: Interval | None
    scope: str
    window_s: float
    scenario: str
    sensor: str
    channel: str
    kind: str
    saving: Saving | None
    figures: Mapping[str, Figure] = field(default_factory=dict)


@dataclass(frozen=True)
class EnergyRecord:
    """What a job's energy rests on: the channel that was chosen, idle power and its drift, the sampler's effect.

    `idle_w` is the mean over the blocks, `idle_drift` the greatest difference of two that follow each other, as a fraction.
    `sampler` is the latency with the sampler over that without, paired within passes. `passes` counts them: ok, contended,
    throttled, uncovered, failed. `clock_bound_s`: by how much a controller's meter may be off in time, None for a device's own.
    `others`: every further channel and every meter that gave no figure, with why, by "sensor channel kind". `lost`: windows
    without a figure though their pass counts ("scenario case block"), by "status: reason".
    """

    scope: str | None
    sensor: str | None
    channel: str | None
    kind: str | None
    rate_hz: float | None
    idle_w: Interval | None
    idle_drift: float | None
    sampler: Interval | None
    passes: Mapping[str, int] = field(default_factory=dict)
    clock_bound_s: float | None = None
    others: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class RemoteTrace:
    """What a meter that the controller reads gave during a job, its times already on the device's monotonic clock.

    `bound_s`: by how much these times may be off, from the exchanges of clocks and from how long a reading took. Times begin
    anew when a device boots: `boot_id` names the boot that they belong to, as in a start's facts; None: unknown.
    """

    trace: Trace
    bound_s: float
    boot_id: str | None = None


@dataclass(frozen=True)
class Unread:
    """A meter that the controller was to read and that gave no trace; `why` is "status: reason"."""

    sensor: str
    why: str


Remote = RemoteTrace | Unread

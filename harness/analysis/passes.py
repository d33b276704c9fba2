"""The energy passes of a job, and what each channel of its meters says of their windows. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness import wire
from harness.records import Remote, RemoteTrace, Unread
from harness.stats.readings import Blank, Drawn, Readings
from harness.stats.windows import energy

Slot = tuple[str, str, int]  # scenario, case, block
Key = tuple[str, str, str]  # sensor, channel, kind
Event = wire.PassEvent | wire.PassFailedEvent

_KINDS = tuple(wire.UNITS)  # in order of preference


@dataclass(frozen=True, eq=False)
class Passes:
    """The last attempt of each pass of a job, what became of it, and the boot of the device that its times belong to."""

    job: wire.Job
    plan: wire.EnergyPlan
    last: Mapping[Slot, Event]
    boots: Mapping[Slot, str | None]
    live: tuple[str, ...]
    remote: tuple[Remote, ...]

    @classmethod
    def of(cls, job: wire.Job, journal: Sequence[wire.Event], remote: Iterable[Remote]) -> Passes:
        """What the journal holds of a job that has a plan for energy."""
        last: dict[Slot, Event] = {}
        boots: dict[Slot, str | None] = {}
        boot: str | None = None
        ended = {event.case_id for event in journal if isinstance(event, wire.FailedEvent) and event.final}
        for event in journal:
            if isinstance(event, wire.StartEvent):
                told = event.facts.get("boot_id")
                boot = told if isinstance(told, str) else None
            elif isinstance(event, (wire.PassEvent, wire.PassFailedEvent)):
                slot = event.scenario, event.case_id, event.block
                if slot not in last or event.attempt >= last[slot].attempt:
                    last[slot], boots[slot] = event, boot
        live = tuple(case.case_id for case in job.cases if case.case_id not in ended)
        assert job.energy is not None
        return cls(job, job.energy, last, boots, live, tuple(remote))

    @cached_property
    def counted(self) -> Mapping[Slot, wire.PassEvent]:
        """The passes that count, covered or not."""
        return {
            slot: event
            for slot, event in self.last.items()
            if isinstance(event, wire.PassEvent) and not self.disturbed(event)
        }

    def disturbed(self, event: wire.PassEvent) -> str:
        """What keeps a pass from counting, "" where nothing does."""
        if wire.forbidden(event.throttled, self.job.protocol.regime):
            return "throttled"
        return "contended" if event.contended else ""

    @cached_property
    def unopened(self) -> Mapping[str, str]:
        """Sensors that could not be opened, or whose readings are of no use: status and reason, as last told."""
        told = (event.unopened for event in self.last.values() if isinstance(event, wire.PassEvent))
        unread = {each.sensor: each.why for each in self.remote if isinstance(each, Unread)}
        return unread | {sensor: why for each in told for sensor, why in each.items()}

    @cached_property
    def slots(self) -> tuple[tuple[str, str], ...]:
        """Every scenario of every live case: what a channel can give figures for."""
        return tuple((scenario, case) for scenario in self.plan.scenarios for case in self.live)


@dataclass(frozen=True, eq=False)
class Channel:
    """One channel with its windows: a figure or a reason for each pass that counts."""

    channel: wire.Channel
    windows: Mapping[Slot, Drawn | Blank]
    bound_s: float | None

    @property
    def key(self) -> Key:
        """What names it within a job."""
        return self.channel.sensor, self.channel.name, self.channel.kind

    def drawn(self, scenario: str, case: str) -> dict[int, Drawn]:
        """The windows of a case that have a figure, by block."""
        return {
            block: found
            for (s, c, block), found in sorted(self.windows.items())
            if (s, c) == (scenario, case) and isinstance(found, Drawn)
        }

    def gives(self, slots: Iterable[tuple[str, str]]) -> int:
        """For how many cases and scenarios it gives a figure."""
        return sum(len(self.drawn(*slot)) > 1 for slot in slots)

    @property
    def blanks(self) -> list[tuple[Slot, Blank]]:
        """The windows without a figure, with why."""
        return [(slot, found) for slot, found in sorted(self.windows.items()) if isinstance(found, Blank)]


def channels(passes: Passes) -> tuple[Channel, ...]:
    """All channels that gave traces, in order of preference; parts last, without windows."""
    traces: dict[Key, dict[Slot, list[Readings]]] = defaultdict(lambda: defaultdict(list))
    known: dict[Key, wire.Channel] = {}
    bounds: dict[Key, float] = {}
    for slot, event in passes.counted.items():
        for trace in event.traces:
            known[_key(trace.channel)] = trace.channel
            traces[_key(trace.channel)][slot].append(Readings(trace))
    for each in (each for each in passes.remote if isinstance(each, RemoteTrace)):
        key, readings = _key(each.trace.channel), Readings(each.trace, each.bound_s)
        known[key], bounds[key] = each.trace.channel, max(each.bound_s, bounds.get(key, 0.0))
        for slot in passes.counted:
            if each.boot_id is None or passes.boots[slot] in (None, each.boot_id):
                traces[key][slot].append(readings)
    order = [*(meter.sensor for meter in passes.plan.meters), *passes.plan.remote]
    found = [
        Channel(channel, _windows(passes, traces[key]) if channel.total else {}, bounds.get(key))
        for key, channel in known.items()
    ]
    return tuple(sorted(found, key=lambda each: _rank(each.channel, order)))


def _key(channel: wire.Channel) -> Key:
    return channel.sensor, channel.name, channel.kind


def _rank(channel: wire.Channel, order: Sequence[str]) -> tuple[bool, int, int]:
    place = order.index(channel.sensor) if channel.sensor in order else len(order)
    return not channel.total, place, _KINDS.index(channel.kind)


def _windows(passes: Passes, traces: Mapping[Slot, Sequence[Readings]]) -> dict[Slot, Drawn | Blank]:
    """A figure or a reason for every pass that counts; of several traces the one that covers the window best."""
    found: dict[Slot, Drawn | Blank] = {}
    for slot, event in passes.counted.items():
        tried = [energy(readings, event.start_ns, event.end_ns) for readings in traces.get(slot, ())]
        silent = Blank("uncovered", "its sensor gave nothing in this pass")
        found[slot] = max(tried, key=lambda each: (isinstance(each, Drawn), each.coverage), default=silent)
    return found

"""Energy passes to figures: which channel they rest on, J per inference of each case, and why there is none. Pure.

A job's figures rest on one channel, so that scopes are never mixed: the totals of its meters in the plan's order, the
controller's after the device's, of each sensor its counter before its averages before its points of time; the first that
gives a figure for every live case in every scenario, else the one that gives most. All others are told, with why.

What gives no number: a pass that failed, one whose last attempt met a neighbour or was throttled, a window that readings
do not cover. Nothing is filled in for them.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from harness import wire
from harness.analysis.passes import Channel, Event, Passes, Slot, channels
from harness.findings.views import count
from harness.records import Energy, EnergyRecord, Figure, Interval, Remote, Run, Saving
from harness.stats.energy import Share, interval, net, paired, saving
from harness.stats.readings import Blank, Drawn

_FIRST_VERSION = 9  # of the analysis: runs that were analysed by an older one asked for no energy
_STATUSES = (
    "permission",
    "stale",
    "error",
    "unsupported",
)  # of sensors that cannot be read: the one to be mended first
_PART = "a part of what its sensor measures: kept and drawn, never added"
_DISTURBED = {
    "contended": "something else used the machine beside its windows, to the last attempt",
    "throttled": "the device was throttled beside its windows, to the last attempt",
}
_HELD_UP = "something held up its paced windows, whose last inferences ended too late"
_RAISED = re.compile(r"\w+: (?P<words>.*?)( \[[^]]*\])?", re.DOTALL)  # how a process tells what it raised, and where


@dataclass(frozen=True, eq=False)
class Energies:
    """A job's passes with the channel that its figures rest on; None: no channel gives any."""

    passes: Passes
    channels: tuple[Channel, ...]
    chosen: Channel | None

    @classmethod
    def of(cls, job: wire.Job | None, journal: Sequence[wire.Event], remote: Iterable[Remote]) -> Energies | None:
        """What came of a job's passes; None where none were asked for."""
        if job is None or job.energy is None:
            return None
        passes = Passes.of(job, journal, remote)
        found = channels(passes)
        scores = [(each.gives(passes.slots), each) for each in found if each.channel.total]
        best = max((score for score, _ in scores), default=0)
        return cls(passes, found, next((each for score, each in scores if score == best > 0), None))

    @cached_property
    def _judged(self) -> Channel | None:
        """The channel by which windows are judged: the chosen one, else the total that would have come first."""
        return self.chosen or next((each for each in self.channels if each.channel.total), None)

    @cached_property
    def scenario(self) -> str:
        """The one that is compared: the first for which there are figures."""
        asked = [scenario for scenario in wire.SCENARIOS if scenario in self.passes.plan.scenarios]
        given = [s for s in asked if self.chosen and self.chosen.gives((s, case) for case in self.passes.live)]
        return (given or asked)[0]

    def energy(self, case: str, reference: str | None) -> Energy | None:
        """A case's energy, compared with its reference's; None without figures in the scenario that is compared."""
        figures = {s: self._figure(s, case, reference) for s in wire.SCENARIOS if s in self.passes.plan.scenarios}
        kept = {scenario: figure for scenario, figure in figures.items() if figure is not None}
        told = kept.get(self.scenario)
        if self.chosen is None or told is None:
            return None
        channel = self.chosen.channel
        return Energy(
            gross=told.gross,
            net=told.net,
            scope=channel.scope,
            window_s=told.window_s,
            scenario=self.scenario,
            sensor=channel.sensor,
            channel=channel.name,
            kind=channel.kind,
            saving=told.saving,
            figures=kept,
        )

    def _shares(self, scenario: str, case: str) -> dict[int, Share]:
        """J per inference, or W of idleness, by block."""
        if self.chosen is None:
            return {}
        drawn = self.chosen.drawn(scenario, case)
        parts = {block: self.passes.counted[scenario, case, block].inferences for block in drawn}
        return {block: Share.of(each, parts[block] or each.seconds) for block, each in drawn.items()}

    def _figure(self, scenario: str, case: str, reference: str | None) -> Figure | None:
        shares = self._shares(scenario, case)
        gross = interval(shares.values())
        if self.chosen is None or gross is None:
            return None
        drawn = self.chosen.drawn(scenario, case)
        events = [self.passes.counted[scenario, case, block] for block in drawn]
        seconds = {b: each.seconds / event.inferences for (b, each), event in zip(drawn.items(), events, strict=True)}
        power = interval(Share.of(each, each.seconds) for each in drawn.values())
        assert power is not None
        return Figure(
            gross=gross,
            net=interval(net(shares, self._shares(wire.IDLE, ""), seconds).values()),
            power_w=power,
            windows=len(drawn),
            window_s=math.fsum(each.seconds for each in drawn.values()) / len(drawn),
            rate_hz=events[0].rate_hz,
            coverage=min(each.coverage for each in drawn.values()),
            late=sum(event.late for event in events),
            saving=self._saving(scenario, case, reference),
        )

    def _saving(self, scenario: str, case: str, reference: str | None) -> Saving | None:
        if reference is None:
            return None
        if case == reference:
            return Saving(1.0, None, None, None)
        return saving(self._shares(scenario, case), self._shares(scenario, reference))

    # --- why there is none -----------------------------------------------------------------------------------------

    def why(self, case: str) -> tuple[str, str]:
        """Status and reason of a case without energy: what took most of its windows. How many is in the job's record."""
        mine = {slot: event for slot, event in self.passes.last.items() if slot[:2] == (self.scenario, case)}
        if not mine:
            return "unknown", f"no {self.scenario} pass of it was made: the job ended before, or the case failed"
        told = [why for slot, event in mine.items() if (why := self._lost(slot, event)) is not None]
        if not told:
            return "uncovered", f"one of {count(self.passes.plan.windows, 'window')} has a figure, two are needed"
        worst = Counter(status for status, _ in told).most_common(1)[0][0]
        return Counter(why for why in told if why[0] == worst).most_common(1)[0][0]

    def _lost(self, slot: Slot, event: Event) -> tuple[str, str] | None:
        """Status and reason of a pass without a figure."""
        if isinstance(event, wire.PassFailedEvent):
            return _failed(event)
        disturbed = self.passes.disturbed(event)
        if disturbed:
            return disturbed, _DISTURBED[disturbed]
        if self._judged is None:
            return self._silent()
        found = self._judged.windows[slot]
        return (found.status, f"{self._judged.channel.sensor}: {found.reason}") if isinstance(found, Blank) else None

    def _silent(self) -> tuple[str, str]:
        """Why no channel gave anything."""
        for sensor, why in self.passes.unopened.items():
            status, _, reason = why.partition(": ")
            return (status if status in wire.STATUSES[1:] else "error"), f"{sensor}: {reason}"
        return "uncovered", "no meter gave a reading"

    # --- the record ------------------------------------------------------------------------------------------------

    def record(self) -> EnergyRecord:
        """What the job's energy rests on."""
        channel = self.chosen.channel if self.chosen else None
        idle = self._shares(wire.IDLE, "")
        rates = [event.rate_hz for event in self.passes.counted.values() if event.rate_hz]
        return EnergyRecord(
            scope=channel.scope if channel else None,
            sensor=channel.sensor if channel else None,
            channel=channel.name if channel else None,
            kind=channel.kind if channel else None,
            rate_hz=rates[0] if rates else None,
            idle_w=interval(idle.values()),
            idle_drift=_drift([share.value for _, share in sorted(idle.items())]),
            sampler=self._sampler(),
            passes=self._tally(),
            clock_bound_s=self.chosen.bound_s if self.chosen else None,
            others=dict(self._others()),
            lost=self._losses(),
        )

    def _sampler(self) -> Interval | None:
        pairs = [(event.sampled_ns, event.unsampled_ns) for event in self.passes.counted.values()]
        return paired([math.log(with_it / without) for with_it, without in pairs if with_it and without])

    def _tally(self) -> dict[str, int]:
        found = dict.fromkeys(("ok", "contended", "throttled", "uncovered", "failed"), 0)
        for slot, event in self.passes.last.items():
            if isinstance(event, wire.PassFailedEvent):
                found["failed"] += 1
            else:
                covered = self._judged is not None and isinstance(self._judged.windows.get(slot), Drawn)
                found[self.passes.disturbed(event) or ("ok" if covered else "uncovered")] += 1
        return found

    def _losses(self) -> dict[str, tuple[str, ...]]:
        """Windows without a figure though their pass counts, by "status: reason"."""
        found: dict[str, tuple[str, ...]] = {}
        for (scenario, case, block), blank in self._judged.blanks if self._judged else ():
            said = f"{blank.status}: {blank.reason}"
            found[said] = (*found.get(said, ()), " ".join(filter(None, (scenario, case, str(block)))))
        return found

    def _others(self) -> Iterator[tuple[str, str]]:
        """Every further channel and every meter that gave nothing, with why."""
        for each in self.channels:
            if each is not self.chosen:
                yield " ".join(each.key), self._passed_over(each)
        heard = {each.channel.sensor for each in self.channels}
        for name in (*(meter.sensor for meter in self.passes.plan.meters), *self.passes.plan.remote):
            if name not in heard and (self.passes.counted or name in self.passes.unopened):
                yield name, self.passes.unopened.get(name, "it gave no reading in any pass that counts")

    def _passed_over(self, each: Channel) -> str:
        if not each.channel.total:
            return _PART
        if not each.gives(self.passes.slots):
            blanks = Counter(f"{blank.status}: {blank.reason}" for _, blank in each.blanks)
            return blanks.most_common(1)[0][0] if blanks else "too few windows have a figure"
        assert self.chosen is not None
        return f"scope {each.channel.scope}: the figures rest on {' '.join(self.chosen.key)}"


def _failed(event: wire.PassFailedEvent) -> tuple[str, str]:
    """Status and reason of a pass that came to nothing; in words that are the same for several, where it can come again."""
    if event.cause == "held-up":
        return event.cause, _HELD_UP
    if event.cause == "too-slow":
        told = _RAISED.fullmatch(event.detail)
        return event.cause, f"{told['words'] if told else event.detail}: say a lower --rate"
    return "error", event.detail if event.cause == "error" else f"{event.cause}: {event.detail}"


def _drift(idle_w: Sequence[float]) -> float | None:
    """The greatest difference of two blocks' idle power that follow each other, over the mean."""
    if len(idle_w) < 2:
        return None
    mean = math.fsum(idle_w) / len(idle_w)
    return max(abs(after - before) for before, after in pairwise(idle_w)) / mean if mean > 0 else None


# --- why none was measured -----------------------------------------------------------------------------------------


def unmeasured(run: Run, job: wire.Job | None) -> tuple[str, str]:
    """Status and reason of rows whose job made no energy passes."""
    if run.plan.energy.mode == "none":
        return "not-asked", "not asked for (--energy none)"
    if run.virtual and run.plan.energy.mode == "auto":
        return (
            "virtual",
            "a virtual device's energy stands for nothing real; --energy both makes its passes all the same",
        )
    if 0 < run.analysis_version < _FIRST_VERSION:
        return "not-asked", "this run is of a version that measured latency only"
    if not run.sensors:
        return "no-sensor", "attach a meter and name it in the inventory, or energy is null"
    for status in _STATUSES:
        for name, (found, reason) in run.sensors.items():
            if found == status:
                return status, f"{name}: {reason}"
    why = "the job was never made" if job is None else "the job was made without energy passes"
    return "unknown", why

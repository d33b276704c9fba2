"""The jobs of one plan on its device: built, brought to their end, followed where an agent is still at work, read."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from harness import following, jobs, preflight, store, wire
from harness.child import OnProgress
from harness.errors import DeviceError
from harness.planner import folder, table
from harness.planner.folder import TABLE, TRANSFER, TRIALS, VERIFY, Asked, Begun, Kind, Pair, Sheet
from harness.planner.gains import Compared
from harness.preflight import Ready
from harness.records import Device
from harness.transport import Transport

Told = Mapping[tuple[str, ...], Compared]
_PARTS: dict[Kind, str] = {"isolated": "segments", "in place": "in place", "front": "front"}


@dataclass
class Bench:
    """What measures for one planner: its folder, its device; how long each part took, and whether anything was to be done."""

    own: Path
    device: Device
    line: Transport
    budget_s: float | None
    tell: OnProgress
    measured: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @cached_property
    def begun(self) -> Begun:
        """What was asked when the folder was made."""
        return folder.load_begun(self.own)

    @property
    def asked(self) -> Asked:
        """The words."""
        return self.begun.asked

    @cached_property
    def ready(self) -> Ready:
        """The device, made ready once, when something is to be measured."""
        return preflight.make(self.device, [self.asked.runtime], self.tell, line=self.line)

    def bring(self, own: Path, kind: Kind, pairs: Sequence[Pair]) -> Told:
        """Bring one job to its end, whatever of it is there already, and read what it says."""
        if not folder.is_whole(own, self.asked.runtime):
            self._measure(own, kind, pairs)
        return table.compared(folder.load_sheet(own), table.measured(*self.read(own)))

    def _measure(self, own: Path, kind: Kind, pairs: Sequence[Pair]) -> None:
        ready, runtime = self.ready, self.asked.runtime
        self.measured = True
        with self.timed("build"):
            rows, artifacts = table.make_rows(self.asked, self.device, pairs, self.tell)
        sheet = Sheet(kind, rows)
        if folder.is_begun(own):
            sheet = folder.load_sheet(own)
            folder.require_unmixed(rows, sheet.rows, own)
        folder.save_sheet(own, sheet)
        if not sheet.live:
            return
        job = store.load_job(own, runtime)
        if job is None:
            name = f"plan-{self.begun.stamp}-{own.parent.name}-{own.name}-{secrets.token_hex(2)}"
            job = table.job(name, self.asked, sheet, artifacts, self.device.profile, self.budget_s)
            store.save_job(own, job)
        jobs.bring(ready.line, own, job, artifacts.values(), self.tell, ready.environments[runtime])
        self._ended(own, kind)

    def _ended(self, own: Path, kind: Kind) -> None:
        """Note how long a job was at work, over all its beginnings. Raises DeviceError where it has too few blocks to say much.

        Such a one is set aside: the same command measures it anew, and what it has of the budget may be said then.
        """
        part, reply = _PARTS[kind], store.load_reply(own, self.asked.runtime)
        spent_s = jobs.length_s(store.events(own, self.asked.runtime))
        self.seconds[part] = round(self.seconds.get(part, 0.0) + spent_s, 3)
        if reply is not None and folder.is_too_short(reply):
            folder.set_aside(own)
            name, least = self.device.name, folder.LEAST_BLOCKS
            raise DeviceError(
                f"{name}: {reply.blocks} whole blocks in {spent_s:.0f} s ({part}), {least} are the least",
                "Something else may keep it busy. The same command measures that anew, with a larger --budget for longer.",
            )

    def cut_short(self) -> tuple[str, ...]:
        """Which jobs ended on their budget, and how far they came: their intervals are wider than they might be."""
        own = (*folder.places(self.own, TABLE), *folder.places(self.own, VERIFY))
        ended = ((folder.load_sheet(each).kind, store.load_reply(each, self.asked.runtime)) for each in own)
        return tuple(
            f"{_PARTS[kind]}: {reply.blocks} of {table.blocks(kind)} blocks within the budget; for all: --again, larger --budget"
            for kind, reply in ended
            if reply is not None and reply.blocks < table.blocks(kind)
        )

    def read(self, own: Path) -> tuple[wire.Job | None, Sequence[wire.Event]]:
        """A job and its journal, as far as they came."""
        return read(own, self.asked.runtime)

    def catch_up(self) -> None:
        """Follow an agent that is still at work before anything else happens on these cores."""
        runtime = self.asked.runtime
        for own in (each for part in (TABLE, VERIFY, TRANSFER, TRIALS) for each in folder.places(self.own, part)):
            job = store.load_job(own, runtime)
            if job is not None and not folder.is_whole(own, runtime) and self.line.alive(job):
                self.measured = True
                with jobs.stopped_on_interruption(self.line, job):
                    following.follow(self.line, own, job, self.tell)
                self._ended(own, folder.load_sheet(own).kind)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add what is done meanwhile to the seconds of a part."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[part] = round(self.seconds.get(part, 0.0) + time.monotonic() - began, 3)


def read(own: Path, runtime: str) -> tuple[wire.Job | None, Sequence[wire.Event]]:
    """A job and its journal, as far as they came; no device is asked."""
    found, journals, _ = store.measured(own, [runtime])
    return found[runtime], journals[runtime]


def pairs(own: Path) -> tuple[Pair, ...]:
    """What a job that was begun compares."""
    return tuple(row.pair for row in folder.load_sheet(own).rows)

"""Reading and writing what travels: the door through which everything from a device comes."""

import dataclasses
import json
from typing import Any, Dict, List, Type, TypeVar

from harness import decode as json_decode
from harness.decode import build, require
from harness.errors import WireError
from harness.wire.energy import PassEvent, PassFailedEvent
from harness.wire.events import (
    EndEvent,
    Event,
    FailedEvent,
    ProcessEvent,
    SoakEvent,
    StartEvent,
    StateEvent,
    TuneEvent,
    WaitEvent,
)
from harness.wire.graphs import CeilingsEvent, GraphEvent
from harness.wire.job import Job
from harness.wire.names import VERSION
from harness.wire.plans import IDLE

EVENTS: Dict[str, Type[Event]] = {
    "start": StartEvent,
    "process": ProcessEvent,
    "state": StateEvent,
    "wait": WaitEvent,
    "soak": SoakEvent,
    "tune": TuneEvent,
    "failed": FailedEvent,
    "pass": PassEvent,
    "pass-failed": PassFailedEvent,
    "graph": GraphEvent,
    "ceilings": CeilingsEvent,
    "end": EndEvent,
}
MAX_LINE_BYTES = 16 * 2**20  # one journal line: 200,000 samples with their starts, and room

T = TypeVar("T")


def encode(value: Any) -> str:
    """Write a dataclass of this file as one line of canonical JSON (sorted keys, no spaces, no NaN)."""
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def decode(kind: Type[T], text: str, where: str) -> T:
    """Read `kind` from JSON `text`; `where` names the source in errors. Raises WireError at the first broken rule."""
    return build(kind, parse(text, where), where)


def parse(text: str, where: str) -> Any:
    """Parse JSON of at most MAX_LINE_BYTES characters, with finite, bounded numbers. Raises WireError."""
    return json_decode.parse(text, MAX_LINE_BYTES, where)


def decode_event(line: str, where: str) -> Event:
    """Read one journal line as the event its `kind` says. Raises WireError."""
    value = parse(line, where)
    name = value.get("kind") if isinstance(value, dict) else None
    kind = EVENTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise WireError("%s: kind must be one of %s" % (where, ", ".join(sorted(EVENTS))))
    event = build(kind, value, where)
    if event.v != VERSION:
        raise WireError("%s: journal version %d, this program reads %d" % (where, event.v, VERSION))
    return event


def read_journal(text: str, where: str, first: int = 0) -> List[Event]:
    """Read whole journal lines and check that `seq` runs `first`, `first` + 1, ... A torn last line is left out."""
    lines = text.split("\n")[:-1]
    events = [decode_event(line, "%s line %d" % (where, n)) for n, line in enumerate(lines, first + 1)]
    for n, event in enumerate(events, first):
        if event.seq != n:
            raise WireError("%s line %d: seq must be %d, it is %d" % (where, n + 1, n, event.seq))
    return events


class JournalReader:
    """Reads a job's journal piece by piece, as it grows; every line must belong to the job and follow the one before.

    `seq` runs 0, 1, 2, ...; time may go backwards only where the device has booted anew: at a start whose `boot_id` is
    another one, or unknown.
    """

    def __init__(self, job: Job, where: str) -> None:
        self.job, self.where = job, where
        self.replicates = {case.case_id: case.replicates for case in job.cases}
        self.events = 0
        self._last_t_ns = 0
        self._boot: Any = None

    def read(self, text: str) -> List[Event]:
        """Return the events of the next whole lines. Raises WireError, and then has read nothing of them."""
        found = read_journal(text, self.where, first=self.events)
        last_t_ns, boot = self._last_t_ns, self._boot
        for n, event in enumerate(found, self.events):
            try:
                if isinstance(event, StartEvent):
                    before, boot = boot, event.facts.get("boot_id")
                    last_t_ns = last_t_ns if boot is not None and boot == before else 0
                self._check(n, event, last_t_ns)
            except ValueError as error:
                raise WireError("%s line %d: %s" % (self.where, n + 1, error)) from None
            last_t_ns = event.t_ns
        self.events += len(found)
        self._last_t_ns, self._boot = last_t_ns, boot
        return found

    def _check(self, n: int, event: Event, last_t_ns: int) -> None:
        require(n > 0 or isinstance(event, StartEvent), "a journal must begin with a start", event.kind)
        require(event.t_ns >= last_t_ns, "t_ns must not go back from %d" % last_t_ns, event.t_ns)
        if isinstance(event, StartEvent):
            ours, named = (self.job.run, self.job.job), (event.run, event.job)
            require(named == ours, "run and job must be %s, %s" % ours, named)
        _require_place(event, self.replicates, self.job.protocol.looks[-1])
        _require_asked(event, self.job)


def _require_place(event: Event, replicates: Dict[str, int], most_blocks: int) -> None:
    """Raise ValueError unless an event is about a case, replicate and block that the job has."""
    if isinstance(event, (ProcessEvent, FailedEvent)):
        require(event.case_id in replicates, "case_id must be one of the job's", event.case_id)
        most = replicates[event.case_id]
        require(event.replicate < most, "replicate must be below %d" % most, event.replicate)
    if isinstance(event, (SoakEvent, GraphEvent)) or (isinstance(event, StateEvent) and event.case_id):
        require(event.case_id in replicates, "case_id must be one of the job's", event.case_id)
    if isinstance(event, (ProcessEvent, FailedEvent)) or (
        isinstance(event, (StateEvent, WaitEvent)) and not _beside_passes(event)
    ):
        require(event.block <= most_blocks, "block must be at most %d" % most_blocks, event.block)
    if isinstance(event, EndEvent):
        named = {*event.half_widths, *event.blocks_needed}
        require(named <= set(replicates), "an end must name cases of the job", sorted(named - set(replicates)))


def _beside_passes(event: Event) -> bool:
    """Whether a state or a wait belongs to the energy passes."""
    return bool(getattr(event, "scenario", "") or getattr(event, "energy", False))


def _require_asked(event: Event, job: Job) -> None:
    """Raise ValueError unless an energy pass, or a state or wait beside one, is of those that the job asks for."""
    if not (isinstance(event, (PassEvent, PassFailedEvent)) or _beside_passes(event)):
        return
    plan, block = job.energy, event.block  # type: ignore[attr-defined]
    scenarios = () if plan is None else (IDLE, *plan.scenarios)
    if not isinstance(event, WaitEvent):
        scenario, case_id = event.scenario, event.case_id  # type: ignore[attr-defined]
        require(scenario in scenarios, "scenario must be one that the job asks for", scenario)
        known = {"", *(case.case_id for case in job.cases)}
        require(case_id in known, "case_id must be one of the job's", case_id)
    most = 0 if plan is None else plan.windows
    require(block <= most, "block of a pass must be at most %d" % most, block)

"""Watches the device over a block and beside each of its processes, and writes what it sees into the journal."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from devices.agent import cpu, throttle
from devices.agent.journal import Journal
from devices.agent.state import State, added
from harness import wire
from harness.sensing import Reading, Snapshot


class Watch:
    """Snapshots of a device, written unsynced: the next event that is synced makes them durable."""

    def __init__(self, journal: Journal, effective: Callable[[], Optional[float]]) -> None:
        self.state = State()
        self.journal = journal
        self.effective = effective  # the clock that the last spin saw
        self._names: cpu.Times = {}
        self._began = cpu.moment(self.root)

    @property
    def root(self) -> Path:
        """Where the device's files are."""
        return self.state.root

    def block_begins(self, block: int) -> None:
        """Write the state before a block, and remember who uses the processors."""
        self.note("before", self._clocked(self.state.full()), {"block": block})
        self._names, self._began = cpu.processes(self.root), cpu.moment(self.root)

    def block_ends(self, block: int) -> None:
        """Write the state after a block, with the names of those that used the processors most meanwhile."""
        snapshot = self._clocked(self.state.full())
        seconds = cpu.moment(self.root).t_s - self._began.t_s
        for reading in cpu.busiest(self._names, cpu.processes(self.root), seconds):
            snapshot = added(snapshot, reading)
        self.note("after", snapshot, {"block": block})

    def process(self, where: Dict[str, Any]) -> "Beside":
        """Begin to watch one process; `where` are its case, block, replicate and attempt."""
        return Beside(self, where)

    def note(self, when: str, snapshot: Snapshot, where: Dict[str, Any]) -> None:
        """Write a state event. Raises OSError."""
        readings, reasons = snapshot
        self.journal.append(wire.StateEvent, sync=False, when=when, readings=readings, reasons=reasons, **where)

    def _clocked(self, snapshot: Snapshot) -> Snapshot:
        reading, reason = self.clock()
        return added(snapshot, reading, reason)

    def clock(self) -> Tuple[Reading, str]:
        """The effective clock as a reading, by the last spin."""
        found = self.effective()
        if found is None:
            return ("effective_clock", "cpu", "gauge", "stale", None, "1"), "no spin since the last process"
        return ("effective_clock", "cpu", "gauge", "ok", found, "1"), ""


class Beside:
    """What is seen before, during and after one process."""

    def __init__(self, watch: Watch, where: Dict[str, Any]) -> None:
        self._watch, self._where = watch, where
        self._seen: List[Snapshot] = []
        self._look("before")
        self._before = self._after = cpu.moment(watch.root)

    def during(self) -> None:
        """Look once more while it runs."""
        self._look("during")

    def exited(self) -> None:
        """The process is over: from here on no CPU time is put down to its life."""
        self._after = cpu.moment(self._watch.root)

    def finish(self) -> Tuple[str, ...]:
        """Look a last time, with the effective clock; return the evidence of throttling or sleep over the whole time."""
        self._look("after", self._watch.clock())
        return throttle.evidence(self._seen)

    def usage(self, used: Optional[Dict[str, Any]]) -> Optional[wire.Usage]:
        """What the process used (`used` by its own word), and others meanwhile."""
        return cpu.usage(used, self._before, self._after)

    def _look(self, when: str, more: Optional[Tuple[Reading, str]] = None) -> None:
        snapshot = self._watch.state.brief()
        if more is not None:
            snapshot = added(snapshot, *more)
        self._seen.append(snapshot)
        self._watch.note(when, snapshot, self._where)

"""How a device is doing: snapshots of everything that changes and that it tells, a status and a reason for the rest.

What there is to read is looked up once; a snapshot then only reads it. psutil is left out on purpose (`sensing`).
"""

from pathlib import Path
from typing import Dict, List, Optional, Tuple

from devices.agent import host, thermal, throttle
from harness.sensing import AbsentError, Files, Reading, Snapshot, Source, sysroot, take


class State:
    """What a device tells of itself, moment by moment. A counter that goes backwards is an error once, never negative."""

    def __init__(self, root: Optional[Path] = None) -> None:
        self.root = sysroot() if root is None else root
        self.files = Files()
        finders = (host.sources, thermal.sources, throttle.sources)
        self.sources: List[Source] = [source for find in finders for source in find(self.root, self.files)]
        self._last: Dict[Tuple[str, str], float] = {}

    def full(self) -> Snapshot:
        """Read everything, as at the ends of a block."""
        return self._snapshot(self.sources, keep_unsupported=True)

    def brief(self) -> Snapshot:
        """Read what matters beside a process; what the device does not have is left out: its block tells."""
        return self._snapshot([source for source in self.sources if source.brief], keep_unsupported=False)

    def _snapshot(self, sources: List[Source], keep_unsupported: bool) -> Snapshot:
        self.files.forget()
        taken = [self._checked(*take(source)) for source in sources]
        kept = [each for each in taken if keep_unsupported or each[0][3] != "unsupported"]
        reasons = {"%s %s" % reading[:2]: reason for reading, reason in kept if reason}
        return Snapshot(tuple(reading for reading, _ in kept), reasons)

    def _checked(self, reading: Reading, reason: str) -> Tuple[Reading, str]:
        sensor, scope, kind, _, value, unit = reading
        if kind != "counter" or value is None:
            return reading, reason
        last = self._last.get((sensor, scope), value)
        self._last[sensor, scope] = value
        if value >= last:
            return reading, reason
        return (sensor, scope, kind, "error", None, unit), "went back from %.15g to %.15g" % (last, value)


def added(snapshot: Snapshot, reading: Reading, reason: str = "") -> Snapshot:
    """Return the snapshot with one more reading."""
    reasons = {**snapshot.reasons, **({"%s %s" % reading[:2]: reason} if reason else {})}
    return Snapshot((*snapshot.readings, reading), reasons)


def oom_kills(root: Optional[Path] = None) -> Optional[int]:
    """Return how many processes the kernel has killed for memory since boot, or None."""
    try:
        return Files().field((sysroot() if root is None else root) / "proc/vmstat", "oom_kill")
    except (OSError, AbsentError, ValueError):
        return None

"""Who used the processors between two moments: a process, other processes, other guests of a hypervisor."""

import os
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from devices.agent import host
from harness import wire
from harness.sensing import Files, Reading, UnavailableError, text

_MOST_NAMED = 5
_LEAST_CORES = 0.005  # a process below this is not named
_SLACK_S = 0.1  # ticks of 10 ms, one CPU after the other


class Moment(NamedTuple):
    """Time, CPU seconds of everybody and stolen ones since boot (None where the device does not tell), and our own."""

    t_s: float
    busy_s: Optional[float]
    steal_s: Optional[float]
    own_s: float


def moment(root: Path) -> Moment:
    """Read the clocks now."""
    busy = steal = None
    try:
        files = Files()
        busy, steal = host.busy_seconds(files, root), host.steal_seconds(files, root)
    except (OSError, ValueError, UnavailableError):
        pass
    return Moment(time.monotonic(), busy, steal, time.process_time())


def foreign(before: Moment, after: Moment, child_s: float = 0.0) -> Optional[float]:
    """Cores that others used on average: all CPU time less this process's and its child's; None where it cannot be told.

    So it is where a counter went backwards, and where it did not even hold what we used (a sandbox without counters).
    """
    busy = _rise(before.busy_s, after.busy_s)
    own = after.own_s - before.own_s + child_s
    if busy is None or busy + _SLACK_S < own / 2 or after.t_s <= before.t_s:
        return None
    return max(0.0, busy - own) / (after.t_s - before.t_s)


def stolen(before: Moment, after: Moment) -> Optional[float]:
    """Cores that a hypervisor withheld on average, or None."""
    rise = _rise(before.steal_s, after.steal_s)
    return None if rise is None or after.t_s <= before.t_s else rise / (after.t_s - before.t_s)


def _rise(before: Optional[float], after: Optional[float]) -> Optional[float]:
    return None if before is None or after is None or after < before else after - before


def usage(used: Optional[Dict[str, Any]], before: Moment, after: Moment) -> Optional[wire.Usage]:
    """Join what a process said of itself (`worker.used`) with what others used meanwhile; None if it said nothing."""
    if used is None:
        return None
    counted = {name: used[name] for name in ("cpu_ns", "switches_voluntary", "switches_involuntary", "major_faults")}
    others = foreign(before, after, counted["cpu_ns"] / 1e9)
    return wire.Usage(**counted, migrations=used["migrations"], foreign_cpu=others, steal=stolen(before, after))


# --- by name -------------------------------------------------------------------------------------------------------

Times = Dict[Tuple[int, str], Tuple[str, int]]  # (pid, start time) -> name and ticks of CPU time


def processes(root: Path) -> Times:
    """CPU times of all processes that live now, without this one and its children."""
    own, found = os.getpid(), {}
    for folder in root.glob("proc/[0-9]*"):
        name, _, rest = (text(folder / "stat") or "").partition("(")[2].rpartition(")")
        fields = rest.split()
        if len(fields) > 19 and own not in (int(folder.name), int(fields[1])):
            found[int(folder.name), fields[19]] = (name, int(fields[11]) + int(fields[12]))
    return found


def busiest(before: Times, after: Times, seconds: float) -> List[Reading]:
    """Readings of the five names that used most between; who came and went in between is not seen."""
    ticks: Dict[str, int] = {}
    for key, (name, count) in after.items():
        ticks[name] = ticks.get(name, 0) + max(0, count - before.get(key, (name, 0))[1])
    scale = 1 / (os.sysconf("SC_CLK_TCK") * max(seconds, 1e-3))
    most = sorted(ticks.items(), key=lambda item: -item[1])[:_MOST_NAMED]
    named = [(name, count * scale) for name, count in most if count * scale >= _LEAST_CORES]
    return [("foreign_process", name, "gauge", "ok", cores, "cores") for name, cores in named]

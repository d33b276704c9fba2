"""A calibrated spin: fixed work, timed before and after each measured process, to notice contention and slow clocks.

sysfs may lie about the clock and cannot see a neighbour on the same cores; the time of fixed work sees both. The work
is SHA-256 over a fixed buffer, which releases the GIL, where the case computes: in as many threads, on the CPUs of its
option `cpus`; a neighbour elsewhere does not disturb it.

What a spin takes at best is a property of the device and outlives a job, in `workdir/spin.json`, with the rounds of work
it belongs to: a neighbour who is there for a whole job is noticed too, as that job never comes near the best.
Processes are then contended, each measured at most `attempts` times. But a device may also have become slower for good
(another clock policy, another microcode). Nothing tells the two apart but time: a best that three jobs in a row, each
over its whole length, did not come near is forgotten for the best of the third. Removing the file begins anew.
"""

import contextlib
import hashlib
import json
import platform
import threading
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from devices.agent import pinning
from devices.agent.journal import now_ns, replace_file
from harness.wire import Place

_BUFFER = bytes(range(256)) * 256  # 64 KiB: in the first- or second-level cache of every device
_FIRST_TRIES = 5
_SETTLE_NS = 2_000_000_000  # how long to wait for a quiet moment at the beginning of a job
_PATIENCE = 5  # spins to wait for a quiet moment before a process: cheaper than a process that is contended
_MOST_MISSED = 3  # jobs in a row that may miss a stored best


class Memory:
    """The best spins of a device over all its jobs, for one CPU, Python and length of spin (`seconds`).

    `rounds`: the work that they belong to, None when nothing is known. `best`: ns by place (`2`, `2 on 0,1` in the file).
    `missed`: the jobs in a row that did not come near it. A file that is damaged or of another make counts as nothing known.
    """

    def __init__(self, path: Path, cpu: Optional[str], seconds: float) -> None:
        self.path = path
        self.key = "%s, Python %s, %g s" % (cpu, platform.python_version(), seconds)
        self.rounds: Optional[int] = None
        self.best: Dict[Place, int] = {}
        self.missed: Dict[Place, int] = {}
        self._file: Dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            self._file = dict(json.loads(path.read_text(encoding="utf-8")))
            known = self._file[self.key]
            self.best = {Place.parse(place): int(best) for place, best in known["best_ns"].items()}
            self.missed = {Place.parse(place): int(missed) for place, missed in known["missed"].items()}
            self.rounds = int(known["rounds"])

    def learn(self, rounds: int, seen: Dict[Place, int], tolerance: float) -> None:
        """Take in what a whole job has seen at best, by place, and write it down. Raises OSError."""
        if rounds != self.rounds:
            self.best, self.missed = {}, {}
        for place, best in seen.items():
            stored = self.best.get(place, best)
            self.missed[place] = self.missed.get(place, 0) + 1 if best > stored * (1 + tolerance) else 0
            if best < stored or place not in self.best or self.missed[place] >= _MOST_MISSED:
                self.best[place], self.missed[place] = best, 0
        self.rounds = rounds
        self._file[self.key] = {"rounds": rounds, "best_ns": _texts(self.best), "missed": _texts(self.missed)}
        replace_file(self.path, json.dumps(self._file))


class Spinner:
    """Times the spin, and keeps the device's best by place. `rounds` is the fixed work, over the whole job.

    `best` begins with what is known from before; `seen` holds the best of its own spins.
    """

    def __init__(self, rounds: int, best: Dict[Place, int], tolerance: float) -> None:
        self.rounds = rounds
        self.best = dict(best)
        self.seen: Dict[Place, int] = {}
        self.tolerance = tolerance
        self._last: Optional[Tuple[Place, int]] = None

    def settle(self, place: Place) -> bool:
        """Find a quiet moment: spin a few times, and on until one is near the best, for 2 s at most; whether one was."""
        end = now_ns() + _SETTLE_NS
        for _ in range(_FIRST_TRIES):
            self.after(place)
        while self.slow(self.seen[place], place) and now_ns() < end:
            self.after(place)
        return not self.slow(self.seen[place], place)

    def before(self, place: Place) -> int:
        """Time in ns of a spin before a process; the one after the previous process serves if it was alike and not slow."""
        last, self._last = self._last, None
        if last is not None and last[0] == place and not self.slow(last[1], place):
            return last[1]
        for _ in range(_PATIENCE):
            elapsed = self.after(place)
            if not self.slow(elapsed, place):
                break
        return elapsed

    def forget(self) -> None:
        """Let time pass: the last spin tells nothing of now."""
        self._last = None

    def after(self, place: Place) -> int:
        """Time in ns of a spin now. Raises NotPinnedError."""
        elapsed = spin(self.rounds, place)
        self.seen[place] = min(elapsed, self.seen.get(place, elapsed))
        self.best[place] = min(elapsed, self.best.get(place, elapsed))
        self._last = (place, elapsed)
        return elapsed

    def effective(self) -> Optional[float]:
        """The clock that the last spin saw, as a fraction of the best seen (1); None when there was none just before."""
        return None if self._last is None else self.best[self._last[0]] / self._last[1]

    def slow(self, elapsed: int, place: Place) -> bool:
        """Whether a spin took longer than the device's best by more than the tolerance (a fraction)."""
        return elapsed > self.best[place] * (1 + self.tolerance)


def _texts(numbers: Dict[Place, int]) -> Dict[str, int]:
    return {str(place): number for place, number in numbers.items()}


def calibrate(seconds: float) -> int:
    """Return the rounds of work that take about `seconds` in one thread, from the fastest of a few short spins."""
    rounds = 8
    fastest = min(_spin(rounds, 1) for _ in range(_FIRST_TRIES))
    return max(1, int(seconds * 1e9 * rounds / fastest))


def spin(rounds: int, place: Place) -> int:
    """Do the work in each thread of a place; return the wall time in ns until the last is done. Raises NotPinnedError."""
    with pinning.kept_on(place.cpus):
        return _spin(rounds, place.threads)


def _spin(rounds: int, threads: int) -> int:
    helpers = [threading.Thread(target=work, args=(rounds,)) for _ in range(threads - 1)]
    start = now_ns()
    for helper in helpers:
        helper.start()
    work(rounds)
    for helper in helpers:
        helper.join()
    return now_ns() - start


def work(rounds: int) -> None:
    """Do the work of a spin."""
    digest = hashlib.sha256()
    for _ in range(rounds):
        digest.update(_BUFFER)

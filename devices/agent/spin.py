"""A calibrated spin: fixed work, timed before and after each measured process, to notice contention and slow clocks.

sysfs may lie about the clock and cannot see a neighbour on the same cores; the time of fixed work sees both. The work
is SHA-256 over a fixed buffer, which releases the GIL, in as many threads as the case uses.
"""

import hashlib
import threading
from typing import Dict, Optional, Tuple

from devices.agent.journal import now_ns

_BUFFER = bytes(range(256)) * 256  # 64 KiB: in the first- or second-level cache of every device
_FIRST_TRIES = 5
_PATIENCE = 5  # spins to wait for a quiet moment before a process: cheaper than a process that is contended


class Spinner:
    """Times the spin, and keeps the device's best by thread count. `rounds` is the fixed work, over the whole job."""

    def __init__(self, rounds: int, best: Dict[int, int], tolerance: float) -> None:
        self.rounds = rounds
        self.best = dict(best)
        self.tolerance = tolerance
        self._last: Optional[Tuple[int, int]] = None

    def settle(self, threads: int) -> None:
        """Find a first best for this thread count."""
        for _ in range(_FIRST_TRIES):
            self.after(threads)

    def before(self, threads: int) -> int:
        """Time in ns of a spin before a process; the one after the previous process serves if it was alike and not slow."""
        last, self._last = self._last, None
        if last is not None and last[0] == threads and not self.slow(last[1], threads):
            return last[1]
        for _ in range(_PATIENCE):
            elapsed = self.after(threads)
            if not self.slow(elapsed, threads):
                break
        return elapsed

    def after(self, threads: int) -> int:
        """Time in ns of a spin now."""
        elapsed = spin(self.rounds, threads)
        self.best[threads] = min(elapsed, self.best.get(threads, elapsed))
        self._last = (threads, elapsed)
        return elapsed

    def slow(self, elapsed: int, threads: int) -> bool:
        """Whether a spin took longer than the device's best by more than the tolerance (a fraction)."""
        return elapsed > self.best[threads] * (1 + self.tolerance)


def calibrate(seconds: float) -> int:
    """Return the rounds of work that take about `seconds` in one thread, from the fastest of a few short spins."""
    rounds = 8
    fastest = min(spin(rounds, 1) for _ in range(_FIRST_TRIES))
    return max(1, int(seconds * 1e9 * rounds / fastest))


def spin(rounds: int, threads: int) -> int:
    """Do the work in each of `threads` threads and return the wall time in ns until the last is done."""
    helpers = [threading.Thread(target=_work, args=(rounds,)) for _ in range(threads - 1)]
    start = now_ns()
    for helper in helpers:
        helper.start()
    _work(rounds)
    for helper in helpers:
        helper.join()
    return now_ns() - start


def _work(rounds: int) -> None:
    digest = hashlib.sha256()
    for _ in range(rounds):
        digest.update(_BUFFER)

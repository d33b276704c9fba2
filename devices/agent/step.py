"""A step of load on every core, with the sensors of power read meanwhile: how each answers is for the controller to say.

idle 8 s | every core at work 10 s | idle 8 s
"""

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, List

from devices.agent import lock, sampler, spin
from devices.agent.journal import now_ns

IDLE_S, LOAD_S, AFTER_S = 8.0, 10.0, 8.0
_ROUNDS = 50  # of the spin's work between two looks at the clock: a few ms


def step(workdir: Path, meters: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Do it, holding the device; returns {"traces", "unopened", "load_ns"}. Raises BusyError, OSError."""
    workdir.mkdir(parents=True, exist_ok=True)
    fd = lock.acquire(workdir / "lock")
    try:
        lock.sign(fd, "check", "sensors", os.getpid(), Path(sys.argv[0]).name)
        with sampler.Sampling(meters, IDLE_S + LOAD_S + AFTER_S) as sampling:
            time.sleep(IDLE_S)
            load_ns = _load(LOAD_S)
            time.sleep(AFTER_S)
        return {**sampling.told(), "load_ns": load_ns}
    finally:
        os.close(fd)


def _load(seconds: float) -> List[int]:
    """Work on every core; return when it began and ended, by the monotonic clock in ns."""
    begins = now_ns()
    ends = begins + int(seconds * 1e9)
    workers = [threading.Thread(target=_work_until, args=(ends,)) for _ in os.sched_getaffinity(0)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [begins, now_ns()]


def _work_until(ends: int) -> None:
    while now_ns() < ends:
        spin.work(_ROUNDS)

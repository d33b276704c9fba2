"""A neighbour: a load that comes and goes, for measuring under. `python -m benchmarks.load` until it is ended.

On every core a process spins for 1 to 4 seconds, then sleeps for 2 to 12, by its own seeded random numbers. It ends with
whoever started it, however that ends.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

ON_S, OFF_S = (1.0, 4.0), (2.0, 12.0)
_PR_SET_PDEATHSIG = 1


@contextmanager
def neighbour() -> Iterator[None]:
    """Run the load beside the block."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.load", str(os.getpid())])
    try:
        yield
        if process.poll() is not None:
            raise RuntimeError(f"the load ended by itself, with {process.returncode}: nothing was measured beside it")
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Spin on every core, on and off, until the parent is gone or ends us."""
    _die_with_parent(int(sys.argv[1]) if len(sys.argv) > 1 else os.getppid())
    workers = [multiprocessing.Process(target=_come_and_go, args=(n,), daemon=True) for n in range(os.cpu_count() or 1)]
    for worker in workers:
        worker.start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # daemons end with us
    for worker in workers:
        worker.join()


def _come_and_go(seed: int) -> None:
    _die_with_parent(os.getppid())
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    chance = random.Random(seed)
    while True:
        until = time.monotonic() + chance.uniform(*ON_S)
        while time.monotonic() < until:
            sum(range(10_000))
        time.sleep(chance.uniform(*OFF_S))


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


if __name__ == "__main__":
    main()

"""Ctrl-C for threads: Python interrupts the main thread alone, so it tells the others, and what they wait for is ended.

Each thread hears of an interruption once, as the main thread does of each Ctrl-C: what it does then to put things in
order (ask an agent to stop, write a record) may wait in peace.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_endings: dict[object, Callable[[], None]] = {}
_heard = threading.local()
_rung = threading.Event()


def interrupt() -> None:
    """Interrupt every thread that waits or comes to wait, and end what is registered to be ended."""
    with _lock:
        _rung.set()
        endings = tuple(_endings.values())
    for end in endings:
        end()


def interrupted() -> bool:
    """Whether the process is being interrupted."""
    return _rung.is_set()


def pause(seconds: float) -> None:
    """Sleep. Raises KeyboardInterrupt as soon as the process is interrupted, once in each thread."""
    if getattr(_heard, "rung", None) is _rung:
        time.sleep(seconds)
    elif _rung.wait(seconds):
        _heard.rung = _rung
        raise KeyboardInterrupt


@contextmanager
def ended_by(end: Callable[[], None]) -> Iterator[None]:
    """Have `end` called, from the interrupting thread, if the process is interrupted before the block ends; at once if it is."""
    token = object()
    with _lock:
        _endings[token] = end
        late = _rung.is_set()
    try:
        if late:
            end()
        yield
    finally:
        with _lock:
            del _endings[token]


def clear() -> None:
    """Forget an interruption, once all who were interrupted have ended: a process may outlive it, as tests do."""
    global _rung
    with _lock:
        _rung = threading.Event()

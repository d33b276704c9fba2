"""This machine, of which one row at a time makes use: ladders and artifacts are made here, and some devices are this machine.

Who comes first is served first, so that a device that is this machine does not keep the others from being prepared.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from harness import interrupt
from harness.child import OnProgress, Progress

_LOOK_S = 1.0


class Machine:
    """A queue of those who want this machine for themselves."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._queue: deque[object] = deque()

    @contextmanager
    def mine(self, tell: OnProgress) -> Iterator[None]:
        """Have this machine alone within the block, when it is one's turn. Raises KeyboardInterrupt while it waits."""
        ticket = object()
        with self._change:
            self._queue.append(ticket)
        try:
            self._wait(ticket, tell)
            yield
        finally:
            with self._change:
                self._queue.remove(ticket)
                self._change.notify_all()

    def _wait(self, ticket: object, tell: OnProgress) -> None:
        with self._change:
            if self._queue[0] is not ticket:
                tell(Progress("waiting: another row is prepared, or measured on this machine"))
            while self._queue[0] is not ticket:
                self._change.wait(_LOOK_S)
                interrupt.pause(0)

"""Read meters from here while a job is followed: a thread for each, the clocks compared in between.

It begins with the first sign of energy passes in the journal, not before: latencies are measured without. Exchanges of clocks
are made by whoever follows, in groups at the beginning and at the end. Between them there is a single one a minute: when a
window is open cannot be known here, so it may fall into one, and one line to a process that sleeps is the least there is.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, Self

from harness import clocks, content, interrupt, sensing, wire
from harness.errors import HarnessError
from harness.meters.record import (
    ChannelLine,
    ClockLine,
    GapLine,
    Line,
    ReadingLine,
    SessionLine,
    UnaskedLine,
    UnopenedLine,
)

EXCHANGE_S = 60.0
_AGAIN_S = 5.0  # after which a meter that could not be opened, or a clock that did not answer, is tried again
_ENDING_S = (0.3, 3.0)  # for a thread between two readings, and for one whose meter was closed under it
_LEAST_S = 0.02  # between two readings that gave nothing

Write = Callable[[Line], None]


class Reader:
    """The meters of a job, by sensor with options. A context: whatever ends it ends the threads.

    `write` keeps a line and may be called by any thread; `clock` opens a channel to the device's clock.
    """

    def __init__(
        self,
        sensors: Mapping[str, Mapping[str, Any]],
        write: Callable[[], AbstractContextManager[Write]],
        clock: Callable[[], AbstractContextManager[clocks.Echo]],
    ) -> None:
        self.sensors, self._open_record, self._open_clock = sensors, write, clock
        self._kept, self._channel = ExitStack(), ExitStack()
        self._echo: clocks.Echo | None = None
        self._threads: list[_Meter] = []
        self._write: Write = _nowhere
        self._due_s = math.inf
        self._groups = self._failures = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def at_work(self) -> bool:
        """Whether it reads."""
        return bool(self._threads)

    def tick(self, passes: bool) -> None:
        """Begin once there are energy passes; then compare clocks where it is time to, in a group over a new channel."""
        if passes and self.sensors and not self.at_work:
            self._begin()
        elif time.monotonic() >= self._due_s:
            self._compare(1 if self._echo is not None else clocks.GROUP)

    def end(self) -> None:
        """The passes are over: compare clocks for the last time, and stop."""
        if self.at_work and not self._compare(clocks.GROUP):
            self._compare(clocks.GROUP)  # the old channel may long be gone
        self._stop()

    def _begin(self) -> None:
        self._kept.enter_context(interrupt.ended_by(self._hurry))
        self._write = self._kept.enter_context(self._open_record())
        boot = sensing.text(sensing.sysroot() / "proc/sys/kernel/random/boot_id")
        self._write(SessionLine(boot or "", time.monotonic_ns()))
        numbers = _Numbers(self._write)
        self._threads = [_Meter(name, options, self._write, numbers) for name, options in self.sensors.items()]
        for thread in self._threads:
            thread.start()
        self._compare(clocks.GROUP)

    def _compare(self, count: int) -> bool:
        """Exchange times `count` times; what goes wrong is kept as such, and tried again soon over another channel.

        Returns whether it went well.
        """
        try:
            echo = self._echo = self._echo or self._channel.enter_context(self._open_clock())
            for _ in range(count):
                done = echo.exchange()
                times = (done.t0_ns, done.t1_ns, done.t2_ns, done.t3_ns)
                self._write(ClockLine(self._groups, done.boot, times))
            self._groups += 1
            self._due_s, self._failures = time.monotonic() + EXCHANGE_S, 0
            return True
        except HarnessError as error:
            self._groups += 1  # what came of this group stays one
            self._write(UnaskedLine(time.monotonic_ns(), error.message[:1000]))
            self._let_go()
            self._due_s = time.monotonic() + min(EXCHANGE_S, _AGAIN_S * 2**self._failures)  # each is a process there
            self._failures += 1
            return False

    def _let_go(self) -> None:
        self._echo = None
        self._channel.close()

    def _hurry(self) -> None:
        """Tell the threads to end, from whichever thread."""
        for thread in self._threads:
            thread.ending.set()

    def _stop(self) -> None:
        """End the threads, wait for them, and close what they wrote to: a thread that its meter holds writes no more."""
        self._hurry()
        for thread in self._threads:
            thread.finish()
        self._threads, self._due_s = [], math.inf
        self._let_go()
        self._kept.close()


def _nowhere(line: Line) -> None:
    """Keep nothing: it has not begun."""


class _Numbers:
    """The numbers of a session's channels; a meter that is opened again has its channels' old ones."""

    def __init__(self, write: Write) -> None:
        self._write, self._known, self._lock = write, dict[wire.Channel, int](), threading.Lock()

    def of(self, channel: wire.Channel) -> int:
        with self._lock:
            if channel not in self._known:
                self._known[channel] = len(self._known)
                self._write(ChannelLine(self._known[channel], channel))
            return self._known[channel]


class _Meter(threading.Thread):
    """One meter: opened, read at its period until told to end, opened again where it failed."""

    def __init__(self, sensor: str, options: Mapping[str, Any], write: Write, numbers: _Numbers) -> None:
        super().__init__(name=f"meter {sensor}", daemon=True)
        self.sensor, self.options, self._write, self._numbers = sensor, options, write, numbers
        self.ending = threading.Event()
        self._open, self._closing = ExitStack(), threading.Lock()
        self._numbered: list[int] = []
        self._last_ns: dict[int, int] = {}

    def run(self) -> None:
        while not self.ending.is_set():
            try:
                session = self._open.enter_context(_opened(self.sensor, self.options))
                self._numbered = [self._numbers.of(channel) for channel in session.channels]
                self._read(session)
            except (Exception, SystemExit) as error:  # a sensor's code may be anybody's: it must not end a run
                self._failed(error)
            finally:
                self._close()
            self.ending.wait(_AGAIN_S)

    def finish(self) -> None:
        """Wait for the end; a meter that waits for its next line is closed under it."""
        self.join(_ENDING_S[0])
        if self.is_alive():
            self._close()
            self.join(_ENDING_S[1])

    def _close(self) -> None:
        with self._closing:
            opened, self._open = self._open, ExitStack()
        try:
            opened.close()
        except (Exception, SystemExit) as error:
            self._failed(error)

    def _read(self, session: Any) -> None:
        due_s = time.monotonic()
        while not self.ending.is_set():
            began = time.monotonic_ns()
            taken = list(session.read())
            ended = time.monotonic_ns()
            if self.ending.is_set():  # it may have been closed under the reading
                return
            for each in taken:
                self._keep(each, began, ended)
            due_s = max(due_s + session.period_s, time.monotonic() + (0 if taken else _LEAST_S))
            self.ending.wait(max(0.0, due_s - time.monotonic()))

    def _keep(self, taken: sensing.Taken, began: int, ended: int) -> None:
        n = self._numbered[taken.channel]
        t_ns = taken.t_ns or (began + ended) // 2
        status, reason = taken.status, taken.reason
        if t_ns < self._last_ns.get(n, 0):
            status, reason, t_ns = "error", "the meter's time went back", self._last_ns[n]
        elif status == "ok" and (taken.value is None or not abs(taken.value) <= wire.MAX_VALUE):
            status, reason = "error", f"{taken.value} is no reading"
        self._last_ns[n] = t_ns
        if status == "ok" and taken.value is not None:
            took = 2 * max(0, min(t_ns - began, ended - t_ns))  # a time from the midst of a read is known no better
            self._write(ReadingLine(n, t_ns, float(taken.value), took))
        else:
            self._write(GapLine(n, t_ns, status, reason[:1000]))

    def _failed(self, error: BaseException) -> None:
        """Keep what went wrong: as a gap of the channels, or of the meter as a whole where none is known."""
        if self.ending.is_set():  # it was closed under its reading
            return
        status, reason = _said(error)
        now = time.monotonic_ns()
        for n in self._numbered:
            self._write(GapLine(n, now, status, reason))
        if not self._numbered:
            self._write(UnopenedLine(self.sensor, now, status, reason))


def _opened(sensor: str, options: Mapping[str, Any]) -> AbstractContextManager[Any]:
    opened: AbstractContextManager[Any] = content.load("sensor", sensor).open(options)
    return opened


def _said(error: BaseException) -> tuple[str, str]:
    """Status and reason of what a meter raised."""
    if isinstance(error, HarnessError):
        return "error", error.message[:1000]
    if isinstance(error, sensing.AbsentError):
        return "unsupported", str(error)[:1000]
    if isinstance(error, PermissionError):
        return "permission", str(error)[:1000]
    if isinstance(error, OSError | sensing.UnavailableError | ValueError):
        return "error", str(error)[:1000]
    return "error", f"{type(error).__name__}: {error}"[:1000]

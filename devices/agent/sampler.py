"""The sampler: a process that reads the sensors of a job while an energy pass runs beside it.

Each sensor is opened, read and closed in a thread of its own, at the period that it asks for. The window's process rules it
over two pipes: it is told when all are open, says when to read ("go"), is told once the first readings are in, and says
when the sampler has to stop ("end"). So it does when that process dies: the end of the pipe is the end of the sampling.

    window -> sampler   b"g", later b"e" or the end of the file
    sampler -> window   {"opened": n}, later {"update_s": s}, a line each

A line of a journal is bounded, so all traces of a pass together are: readings are taken more rarely where they would be too
many, and cease, with a gap that says so, where that was not enough. Of like gaps in a row the first and the last are kept.

Paced inferences come in a strict beat, and a sensor that tells the power of a moment, read in the same beat or in a simple
fraction of it, would see the same part of each: every reading of a window the work, or every one the pause behind it. So a
sensor is read in a period, up to half as long again as it asks for, that comes as evenly as possible at all parts of the beat.
"""

import contextlib
import json
import os
import threading
from dataclasses import asdict
from typing import Any, Dict, List, Optional, Sequence

from devices.agent import pinning, worker
from devices.agent.journal import now_ns
from harness import wire
from harness.sensing import AbsentError, Taken, UnavailableError

_PATIENCE_S = 8.0  # for sensors to open, and for their first readings
_LAST_S = 3.0  # for the last reading, and to close
_MOST_READINGS = 300_000  # in a pass, over all channels: about 12 MB of a line
_MOST_CHANNELS, _MOST_GAPS, _MOST_WORDS = 64, 1000, 300
_MOST_PERIOD_S = 3600.0
_UNOPENED = "it was not open after %g s" % _PATIENCE_S
_BEATS = 51  # over so many beats a step between two must not come to a whole number


def sample(request: Dict[str, Any]) -> Dict[str, Any]:
    """Read the meters until the pipe `go` ends; returns {"traces", "unopened", "cpus"}, the CPUs "" where it was not pinned."""
    cpus = _pinned(request["cpus"])
    sampling = Sampling(request["meters"], request["expected_s"], request["rate_hz"])
    opened = sampling.open()
    with os.fdopen(request["go"], "rb", 0) as go, os.fdopen(request["ack"], "wb", 0) as ack:
        _tell(ack, {"opened": opened})
        if go.read(1):
            _tell(ack, {"update_s": sampling.begin()})
            go.read(1)
    sampling.end()
    return {**sampling.told(), "cpus": cpus}


class Sampling:
    """Sensors that are read, each in a thread, inside the block; `meters` as in a request, for about `expected_s`.

    `rate_hz`: of what goes on meanwhile in a beat, 0 where there is none.
    """

    def __init__(self, meters: Sequence[Dict[str, Any]], expected_s: float, rate_hz: float = 0.0) -> None:
        self._readers = [Reader(each["sensor"], each["options"]) for each in meters]
        self._expected_s, self._rate_hz = expected_s, rate_hz

    def __enter__(self) -> "Sampling":
        self.open()
        self.begin()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.end()

    def open(self) -> int:
        """Open all, as far as that can be done in 8 s; returns how many are."""
        for reader in self._readers:
            reader.start()
        _all([reader.opened for reader in self._readers], _PATIENCE_S)
        return sum(reader.channels != () for reader in self._readers)

    def begin(self) -> float:
        """Let all read; returns the longest time between two updates (s) once the first readings are in, or after 8 s."""
        _pace(self._readers, self._expected_s, self._rate_hz)
        for reader in self._readers:
            reader.go.set()
        _all([reader.begun for reader in self._readers], _PATIENCE_S)
        return max((reader.update_s for reader in self._readers), default=0.0)

    def end(self) -> None:
        """Let each read once more and close, for 3 s at most."""
        for reader in self._readers:
            reader.end()
        _all([reader.over for reader in self._readers], _LAST_S)

    def told(self) -> Dict[str, Any]:
        """Return {"traces", "unopened"} as a `wire.PassEvent` has them."""
        traces = [trace for reader in self._readers for trace in reader.traces()]
        return {"traces": traces, "unopened": {each.sensor: each.refused for each in self._readers if each.refused}}


def _pinned(cpus: str) -> str:
    try:
        if cpus:
            pinning.pin({wire.CPUS: cpus})
        return cpus
    except pinning.NotPinnedError:
        return ""


def _all(events: List[threading.Event], limit_s: float) -> None:
    """Wait until all are set, or the time is over."""
    end = now_ns() + int(limit_s * 1e9)
    for event in events:
        event.wait(max(0.0, (end - now_ns()) / 1e9))


def _tell(ack: Any, words: Dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # who asked is gone: the other pipe says so, too
        ack.write((json.dumps(words) + "\n").encode())


def _pace(readers: List["Reader"], expected_s: float, rate_hz: float = 0.0) -> None:
    """Let all read more rarely where they would take more readings than a pass may hold, and out of step with a beat."""
    periods = [reader.period_s or reader.update_s or 0.01 for reader in readers]
    wanted = sum(len(reader.channels) / period for reader, period in zip(readers, periods)) * expected_s
    for reader in readers:
        reader.period_s = off_beat(reader.period_s * max(1.0, wanted / _MOST_READINGS), rate_hz)
        reader.most = _MOST_READINGS // sum(len(each.channels) for each in readers) if reader.channels else 0


def off_beat(period_s: float, rate_hz: float) -> float:
    """Return the period, from this one to half as much again, whose multiples fall most evenly upon a beat of `rate_hz`.

    That is the one whose number of beats is farthest from all simple fractions: the greatest min over q of q |q x - whole|.
    """
    if not period_s * rate_hz:
        return period_s

    def evenness(beats: float) -> float:
        return min(q * abs(q * beats - round(q * beats)) for q in range(1, _BEATS))

    return max((period_s * (1 + n / 200) for n in range(101)), key=lambda each: evenness(each * rate_hz))


class Reader(threading.Thread):
    """Reads one sensor. `refused`: "status: reason" where it could not be opened."""

    def __init__(self, sensor: str, options: Dict[str, Any]) -> None:
        super().__init__(daemon=True)  # a sensor that hangs must not keep the process alive
        self.sensor, self._options = sensor, options
        self.channels: Any = ()
        self.period_s, self.update_s, self.most = 0.0, 0.0, 0
        self.refused = ""
        self.opened, self.go, self.begun, self.over = (threading.Event() for _ in range(4))
        self._stop_reading = threading.Event()
        self._kept: List[_Kept] = []

    def run(self) -> None:
        """Open, wait for the word, read until the end and once more, close."""
        try:
            with worker.load_part("sensors", self.sensor).open(self._options) as session:
                self._take_over(session)
                self.opened.set()
                self.go.wait()
                if not self.most and not self._stop_reading.is_set():  # the others did not wait for it
                    raise UnavailableError(_UNOPENED)
                self._read_on(session)
        except BaseException as error:  # this thread's own: nobody interrupts it from outside
            self._refuse(error)
        finally:
            for event in (self.opened, self.begun, self.over):
                event.set()

    def end(self) -> None:
        """Let it read once more, and close."""
        self._stop_reading.set()
        self.go.set()

    def traces(self) -> List[Dict[str, Any]]:
        """Return what was read of each channel, and that a read has not come back, where it has not."""
        if not self.opened.is_set():
            self.refused = self.refused or "error: " + _UNOPENED
        if not self.over.is_set():
            for kept in self._kept:
                kept.gap("stale", "a read did not come back before the pass was over")
        return [kept.trace() for kept in self._kept]

    def _take_over(self, session: Any) -> None:
        channels = tuple(session.channels)
        if not channels or len(channels) > _MOST_CHANNELS or not all(isinstance(c, wire.Channel) for c in channels):
            raise ValueError("its file gives no channels, or more than %d" % _MOST_CHANNELS)
        if not 0 <= session.period_s <= _MOST_PERIOD_S:
            raise ValueError("its file gives a period of %r s" % session.period_s)
        self._kept = [_Kept(channel) for channel in channels]
        self.period_s, self.update_s = float(session.period_s), max(channel.update_s for channel in channels)
        self.channels = channels

    def _refuse(self, error: BaseException) -> None:
        """Keep why it could not be opened, or what went wrong at its closing."""
        if not self.channels:
            self.refused = "%s: %s" % (_status(error), _plain(_words(error)))
        for kept in self._kept:
            kept.gap(_status(error), _words(error))

    def _read_on(self, session: Any) -> None:
        following = now_ns()
        while not self._stop_reading.is_set():
            self._read(session)
            self.begun.set()
            following = max(now_ns(), following + int(self.period_s * 1e9))  # what was missed is not made up for
            self._stop_reading.wait(max(0.0, (following - now_ns()) / 1e9))
        if self.begun.is_set():
            self._read(session)

    def _read(self, session: Any) -> None:
        """Take one reading; whatever a sensor's file raises is a gap of all its channels."""
        before = now_ns()
        try:
            found = session.read()
            middle = (before + now_ns()) // 2
            for taken in found:
                if not 0 <= taken.channel < len(self._kept):
                    raise UnavailableError("its file gives a reading of a channel %r" % taken.channel)
                self._kept[taken.channel].add(taken, middle, self.most)
        except BaseException as error:
            for kept in self._kept:
                kept.gap(_status(error), _words(error))


class _Kept:
    """What has been read of a channel so far."""

    def __init__(self, channel: wire.Channel) -> None:
        self.channel = channel
        self.t_ns: List[int] = []
        self.values: List[float] = []
        self.gaps: List[wire.Gap] = []

    def add(self, taken: Taken, middle_ns: int, most: int) -> None:
        """Keep a reading, or why there is none."""
        t_ns = taken.t_ns or middle_ns
        if not 0 < t_ns <= now_ns():
            self.gap("error", "it gave a time of another clock")
        elif taken.value is None or taken.status != "ok":
            self.gap(taken.status, taken.reason, t_ns)
        elif isinstance(taken.value, bool) or not abs(taken.value) <= wire.MAX_VALUE:  # nan is not, either
            self.gap("error", "it gave %r" % taken.value, t_ns)
        elif self.t_ns and t_ns < self.t_ns[-1]:
            self.gap("error", "it gave a time before that of its last reading", t_ns)
        elif len(self.t_ns) >= most:
            self.gap("error", "more than %d readings, more are not kept" % most, t_ns)
        else:
            self.t_ns.append(int(t_ns))
            self.values.append(float(taken.value))

    def gap(self, status: str, reason: str, t_ns: Optional[int] = None) -> None:
        """Keep a gap; of like ones in a row with no reading between, the first and the last."""
        status = status if status in wire.STATUSES[1:] else "error"
        new = wire.Gap(now_ns() if t_ns is None else int(t_ns), status, _plain(reason) or "no reason was given")
        last = self.t_ns[-1] if self.t_ns else 0
        alike = [gap for gap in self.gaps[-2:] if (gap.status, gap.reason) == (status, new.reason) and gap.t_ns >= last]
        if len(alike) == 2 or len(self.gaps) >= _MOST_GAPS:
            self.gaps[-1] = new
        else:
            self.gaps.append(new)

    def trace(self) -> Dict[str, Any]:
        """Return it as a `wire.Trace` has it; a thread that hangs may still add to what this was made of."""
        count = len(self.values)
        gaps = [asdict(gap) for gap in self.gaps]
        return {"channel": asdict(self.channel), "t_ns": self.t_ns[:count], "values": self.values[:count], "gaps": gaps}


def _status(error: BaseException) -> str:
    if isinstance(error, (AbsentError, FileNotFoundError, NotADirectoryError)):
        return "unsupported"
    return "permission" if isinstance(error, PermissionError) else "error"


def _plain(reason: str) -> str:
    """What a sensor says, in a line of bounded length that moves no cursor."""
    return "".join(each if each.isprintable() else " " for each in str(reason)[:_MOST_WORDS]).strip()


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return "%s: %s" % (error.filename, error.strerror) if error.filename else error.strerror
    return str(error) or type(error).__name__

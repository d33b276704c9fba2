"""Shared by `command` and `controller_command`: readings that a program of the user's prints, one a line or one a run."""

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple, Union

from harness import wire
from harness.decode import require
from harness.sensing import AbsentError, Taken, UnavailableError

if TYPE_CHECKING:
    from devices.sensors import _child, _counting, _lines, _options, _outcome
else:
    import _child
    import _counting
    import _lines
    import _options
    import _outcome

OPTIONS: Dict[str, str] = {  # a literal: the inventory reads it without running this file
    "program": "the program and its arguments, a list of words; no shell reads them",
    "unit": "what its numbers are in: W, mW, uW, J, mJ, uJ, Wh, mWh or kWh",
    "scope": "what is measured: rail, gpu, package, package_dram, module, board_partial, dc_input or wall",
    "kind": "instant_power (the default for W), averaged_power, or energy_counter (the default for J)",
    "average_s": "over how long each value of averaged_power is a mean, s",
    "mode": "stream (the default: it prints a line per reading) or poll (it is run once per reading)",
    "period_s": "how often a line comes (stream, default 0.5) or it is run (poll, default 1), s",
    "key": "where its lines are JSON: the path of the number, such as output.power",
    "resolution": "the number's smallest step, in `unit`",
    "start_s": "how long it may take until its first line, s (default 1.5)",
    "stall_s": "after how long one and the same value means that the meter hangs, s (default: never)",
}
_KINDS = {"W": ("instant_power", "averaged_power"), "J": ("energy_counter",)}
_LEAST_PATIENCE_S, _PATIENCE_PERIODS = 5.0, 10.0
_WAIT_S = 0.5  # that a read waits for a line, so that whoever reads can stop
_BURST, _BURST_AFTER_S = 2, 1.0  # lines at once after a silence: they lay in a buffer, and their times are not known


class Setup(NamedTuple):
    """Options that were checked."""

    channel: wire.Channel
    program: Tuple[str, ...]
    unit: str
    key: str
    poll: bool
    period_s: float
    start_s: float
    stall_s: float

    @property
    def patience_s(self) -> float:
        """How long a reading may take."""
        return max(_LEAST_PATIENCE_S, _PATIENCE_PERIODS * self.period_s)


def checked(sensor: str, options: Mapping[str, Any]) -> Setup:
    """Check options. Raises ValueError with option, rule and value."""
    _options.known(options, OPTIONS)
    unit = _options.choice(options, "unit", _lines.UNITS)
    poll = _options.choice(options, "mode", ("stream", "poll"), "stream") == "poll"
    period_s = _options.number(options, "period_s", 1.0 if poll else 0.5, 0.001, 3600.0)
    return Setup(
        channel=_channel(sensor, options, unit, period_s if poll or "period_s" in options else 0.0),
        program=_program(options),
        unit=unit,
        key=_options.text(options, "key") if "key" in options else "",
        poll=poll,
        period_s=period_s,
        start_s=_options.number(options, "start_s", 1.5, 0.1, 600.0),
        stall_s=_options.number(options, "stall_s", float("inf"), 1.0, float("inf")),
    )


def _channel(sensor: str, options: Mapping[str, Any], unit: str, update_s: float) -> wire.Channel:
    ours, scale = _lines.UNITS[unit]
    scope = _options.choice(options, "scope", wire.SCOPES)
    kind = _options.choice(options, "kind", _KINDS[ours], _KINDS[ours][0])
    average_s = _options.number(options, "average_s", 0.0, 0.0, 3600.0)
    require(
        (average_s > 0) == (kind == "averaged_power"),
        "option average_s belongs to kind averaged_power alone",
        average_s,
    )
    resolution = _options.number(options, "resolution", 0.0, 0.0, 1e9) * scale
    return wire.Channel(sensor, "value", scope, kind, True, update_s, resolution, average_s)


def _program(options: Mapping[str, Any]) -> Tuple[str, ...]:
    words = options.get("program")
    rule = "option program must be a list of words, such as [/usr/bin/meter, --watts]; no shell reads them"
    listed = isinstance(words, (list, tuple)) and 0 < len(words) <= 1000
    require(listed and all(isinstance(word, str) and "\0" not in word for word in words or ()), rule, words)
    named: Tuple[str, ...] = tuple(words or ())
    require(bool(named[0].strip()), rule, words)
    return named


def probed(sensor: str, options: Mapping[str, Any]) -> Tuple[str, str]:
    """Run the program until it has given one reading; return a status and its reason, of a wrong option too."""

    def look() -> Tuple[str, str]:
        setup = checked(sensor, options)
        with opened(sensor, options) as session:
            taken = session.first()
        said = "%s of %s, now " % (setup.channel.kind.replace("_", " "), setup.channel.scope)
        value = "" if taken.value is None else "%s%.6g %s" % (said, taken.value, setup.channel.unit)
        return taken.status, value or taken.reason

    return _outcome.probed(look)


@contextlib.contextmanager
def opened(sensor: str, options: Mapping[str, Any]) -> "Iterator[Union[Stream, Poll]]":
    """Give a session; the program has ended when it is left. Raises as a sensor's `open` does."""
    setup = checked(sensor, options)
    guard = _child.Guard()
    try:
        session = Poll(setup, guard) if setup.poll else Stream(setup, guard)
        try:
            yield session
        finally:
            session.close()
    finally:
        guard.end()


class _Session:
    """What both ways of reading share."""

    def __init__(self, setup: Setup, guard: _child.Guard) -> None:
        self.channels = (setup.channel,)
        self.setup, self._guard = setup, guard
        self._counter, self._stall = _counting.Counter(), _counting.Stall()

    def _start(self) -> _child.Child:
        """Start the program. Raises AbsentError, PermissionError, UnavailableError."""
        try:
            return _child.Child(self.setup.program, self._guard)
        except OSError as error:
            said = _child.why(error, self.setup.program)
            if isinstance(error, PermissionError):
                raise PermissionError(said) from None
            raise (AbsentError if isinstance(error, FileNotFoundError) else UnavailableError)(said) from None

    def _judge(self, line: bytes, t_ns: int = 0) -> Taken:
        try:
            value = _lines.value(line, self.setup.unit, self.setup.key)
        except ValueError as error:
            return _gap("error", str(error), t_ns)
        channel = self.channels[0]
        fell = self._counter.judge(value, channel.unit) if channel.kind == "energy_counter" else ""
        if fell:
            return _gap("error", fell, t_ns)
        same_s = self._stall.seconds((value,), t_ns or time.monotonic_ns())
        if same_s > self.setup.stall_s:
            return _gap("stale", "the program has said the same for %.0f s: look after the meter" % same_s, t_ns)
        return Taken(0, value, t_ns=t_ns)

    def _died(self, child: _child.Child, code: int) -> Taken:
        how = "was ended by signal %d" % -code if code < 0 else "ended with code %d" % code
        half = "; half a line was its last: %s" % _lines.shown(child.half.decode("utf-8", "replace"))
        said = "%s %s%s; its last words: %s" % (
            self.setup.program[0],
            how,
            half if child.half.strip() else "",
            child.words(),
        )
        return _gap("error", said)


class Stream(_Session):
    """A program that runs all the time. A read gives every line that has come, with its time, and waits 0.5 s for one."""

    period_s = 0.0

    def __init__(self, setup: Setup, guard: _child.Guard) -> None:
        super().__init__(setup, guard)
        self._began = self._heard = time.monotonic()
        self._started = self._over = False
        self._child = self._start()

    def read(self) -> Sequence[Taken]:
        """Return what has come; nothing where a line is not due yet."""
        lines = self._child.take(_WAIT_S)
        if lines:
            self._heard, self._started = time.monotonic(), True
            return [self._line(line) for line in lines]
        if self._child.silent:
            return [self._ended()]
        silence_s = time.monotonic() - self._heard
        if silence_s <= self.setup.patience_s + (0 if self._started else self.setup.start_s):
            return []
        return [_gap("stale", "%s has printed no line for %.1f s" % (self.setup.program[0], silence_s))]

    def first(self) -> Taken:
        """Wait for the first reading, as long as it may take to start and a period."""
        wait_s = self.setup.start_s + self.setup.period_s
        lines = self._child.take(wait_s)
        if lines:
            return self._line(lines[0])
        if self._child.silent:
            return self._ended()
        said = "%s printed no line within %.1f s: it must flush each (stdbuf -oL), or needs a longer start_s"
        return _gap("stale", said % (self.setup.program[0], wait_s))

    def close(self) -> None:
        """End the program."""
        self._child.end()

    def _line(self, line: _child.Line) -> Taken:
        if line.together >= _BURST and line.silence_s > _BURST_AFTER_S:
            said = "%d lines came at once after %.1f s: the program must flush each line (stdbuf -oL does it for some)"
            return _gap("error", said % (line.together, line.silence_s), line.t_ns)
        return self._judge(line.data, line.t_ns)

    def _ended(self) -> Taken:
        """Say that the program is gone; every time but the first after a wait, for it is read again at once."""
        if self._over:
            time.sleep(_WAIT_S)
        self._over = True
        return self._died(self._child, self._child.ended())


class Poll(_Session):
    """A program that is run for each reading."""

    def __init__(self, setup: Setup, guard: _child.Guard) -> None:
        super().__init__(setup, guard)
        self.period_s = setup.period_s
        self._lock = threading.Lock()
        self._running: List[_child.Child] = []
        self._closed = False

    def read(self) -> Sequence[Taken]:
        """Run the program once; the reading's time is the middle of its run."""
        try:
            return [self._run(self.setup.patience_s)]
        except _outcome.FAILURES as error:
            return [_gap(*_outcome.of(error))]

    def first(self) -> Taken:
        """Run it once, for at most `start_s` and a period. Raises as starting it does."""
        return self._run(self.setup.start_s + self.setup.period_s)

    def close(self) -> None:
        """End the run at work, if there is one, and begin none any more."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for child in running:
            child.end()

    def _run(self, wait_s: float) -> Taken:
        with self._lock:
            if self._closed:
                raise UnavailableError("the session has been closed")
            child = self._start()
            self._running.append(child)
        try:
            whole = child.whole(wait_s)
            code = child.ended() if whole else child.end()
        finally:
            child.end()
            with self._lock:
                self._running.remove(child)
        if not whole:
            return _gap("stale", "%s did not end within %.1f s" % (self.setup.program[0], wait_s))
        return self._only(child, code)

    def _only(self, child: _child.Child, code: int) -> Taken:
        """Judge the one line that a run may print; it is whole without an end where the program ended well."""
        if code:
            return self._died(child, code)
        lines = [line.data for line in child.take(0.0)] + [child.half]
        said = [line for line in lines if line.strip()]
        if len(said) != 1:
            return _gap(
                "error", "%s printed %d lines where one reading is asked for" % (self.setup.program[0], len(said))
            )
        return self._judge(said[0])


def _gap(status: str, reason: str, t_ns: int = 0) -> Taken:
    return Taken(0, None, status, reason, t_ns)

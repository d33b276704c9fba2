"""What is kept of a controller's meters, one JSON object a line, and the traces it comes to.

    {"kind": "session", "boot", "t_ns"}            a controller began to read; its clock is another one after it has booted
    {"kind": "channel", "n", "channel"}            the n-th channel of the session
    {"kind": "reading", "n", "t_ns", "value", "took_ns"}
    {"kind": "gap", "n", "t_ns", "status", "reason"}
    {"kind": "unopened", "sensor", "t_ns", "status", "reason"}
    {"kind": "clock", "group", "boot", "t_ns": [t0, t1, t2, t3]}       an exchange of times (`harness/clocks.py`)
    {"kind": "unasked", "t_ns", "reason"}                              a device's clock that could not be asked

Times are the controller's CLOCK_MONOTONIC in ns, t1 and t2 the device's. `took_ns`: how long the reading took, in whose midst it
is taken to be; next to nothing where a line of the meter's came at a moment. Lines are only appended; a killed controller loses
the last at most.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from harness import decode
from harness.clocks import Alignment, Exchange, UnalignedError, align
from harness.errors import StoreError, WireError
from harness.records import RemoteTrace
from harness.wire import MAX_READINGS, Channel, Gap, Trace

VERSION = 1
_MOST_CHARACTERS = 2**16  # of a line
_SLOW, _SLOW_NS = 4.0, 50_000_000
"""A reading that took so many times as long as usual, and longer than this, is none: nobody knows when it was taken."""


@dataclass(frozen=True)
class SessionLine:
    """A controller began to read; `boot` is its own."""

    boot: str
    t_ns: int


@dataclass(frozen=True)
class ChannelLine:
    """The n-th channel of a session."""

    n: int
    channel: Channel


@dataclass(frozen=True)
class ReadingLine:
    """What a channel gave, in its unit."""

    n: int
    t_ns: int
    value: float
    took_ns: int


@dataclass(frozen=True)
class GapLine:
    """A reading that gave no number."""

    n: int
    t_ns: int
    status: str
    reason: str


@dataclass(frozen=True)
class UnopenedLine:
    """A meter that could not be opened: no channel of it is known."""

    sensor: str
    t_ns: int
    status: str
    reason: str


@dataclass(frozen=True)
class ClockLine:
    """One exchange of times; `boot` is the device's."""

    group: int
    boot: str
    t_ns: tuple[int, int, int, int]


@dataclass(frozen=True)
class UnaskedLine:
    """A device's clock that could not be asked."""

    t_ns: int
    reason: str


Line = SessionLine | ChannelLine | ReadingLine | GapLine | UnopenedLine | ClockLine | UnaskedLine
_KINDS: Mapping[str, type[Any]] = {
    "session": SessionLine,
    "channel": ChannelLine,
    "reading": ReadingLine,
    "gap": GapLine,
    "unopened": UnopenedLine,
    "clock": ClockLine,
    "unasked": UnaskedLine,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def encode(line: Line) -> bytes:
    """Return a line as it is kept, its end included."""
    value = {"v": VERSION, "kind": _NAMES[type(line)], **asdict(line)}
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def whole_bytes(data: bytes) -> int:
    """Return how many bytes of a record are whole: all but a last line that was torn, or was never JSON."""
    end = data.rfind(b"\n") + 1
    last = data.rfind(b"\n", 0, max(0, end - 1)) + 1
    try:
        decode.parse(data[last:end].decode("utf-8", "replace") or "{}", _MOST_CHARACTERS, "")
    except WireError:
        return last
    return end


def read(data: bytes, where: str) -> list[Line]:
    """Read a record; a torn last line is left out. Raises StoreError with the place for any other that breaks the format."""
    text = data[: whole_bytes(data)].decode("utf-8", "replace")
    lines = [_decoded(line, f"{where} line {number}") for number, line in enumerate(text.split("\n")[:-1], 1)]
    if lines and not isinstance(lines[0], SessionLine):
        raise StoreError(f"{where} line 1: a record must begin with a session", _GO_ON)
    return lines


_GO_ON = "Remove the file: what its meters said is lost, nothing else is."


def _decoded(text: str, where: str) -> Line:
    try:
        value = decode.parse(text, _MOST_CHARACTERS, where)
        value = value if isinstance(value, dict) else {}
        version, kind = value.pop("v", None), str(value.pop("kind", ""))
        if isinstance(version, int) and version > VERSION:
            raise StoreError(f"{where}: version {version} is of a newer program, this one reads {VERSION}", "Update.")
        if version != VERSION or kind not in _KINDS:
            raise WireError(f"{where}: v must be {VERSION} and kind one of {', '.join(_KINDS)}")
        line: Line | None = _reading(value) if kind == "reading" else None
        return line or cast(Line, decode.build(_KINDS[kind], value, where))
    except WireError as error:
        raise StoreError(f"{error.message}: damaged", _GO_ON) from None


def _reading(value: Mapping[str, Any]) -> ReadingLine | None:
    """A reading that keeps all rules, without a look at type hints: nearly all lines are one. None: `build` says why not."""
    n, t_ns, number, took_ns = (value.get(key) for key in ("n", "t_ns", "value", "took_ns"))
    if len(value) != 4 or not type(n) is type(t_ns) is type(took_ns) is int or type(number) is not float:
        return None
    return (
        ReadingLine(n, t_ns, number, took_ns) if 0 <= min(n, t_ns, took_ns) <= max(n, t_ns, took_ns) < 2**63 else None
    )


# --- from lines to traces ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """The traces of a record on the device's clock, one for each channel and session; and what gave none, with why.

    `unread`: "status: reason" by sensor.
    """

    traces: tuple[RemoteTrace, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)


def found(lines: Sequence[Line], where: str) -> Found:
    """Return what the lines of a record come to. Raises StoreError for lines that contradict each other."""
    traces: list[RemoteTrace] = []
    unread: dict[str, str] = {}
    for session in _sessions(lines):
        unread |= {line.sensor: f"{line.status}: {line.reason}" for line in session if isinstance(line, UnopenedLine)}
        try:
            traces += _traces(session)
        except UnalignedError as error:
            said = [line.reason for line in session if isinstance(line, UnaskedLine)][-1:]
            why = ". ".join([f"error: its times cannot be put on the device's clock: {error}", *said])
            unread |= {line.channel.sensor: why for line in session if isinstance(line, ChannelLine)}
        except (ValueError, KeyError) as error:
            raise StoreError(f"{where}: damaged: its lines contradict each other: {error}", _GO_ON) from None
    read_after_all = {remote.trace.channel.sensor for remote in traces}
    return Found(tuple(traces), {sensor: why for sensor, why in unread.items() if sensor not in read_after_all})


def _sessions(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """The lines of each session."""
    session: list[Line] = []
    for line in lines:
        if isinstance(line, SessionLine) and session:
            yield session
            session = []
        session.append(line)
    if session:
        yield session


def _traces(session: Sequence[Line]) -> Iterator[RemoteTrace]:
    """The traces of a session. Raises UnalignedError, ValueError, KeyError."""
    channels = {line.n: line.channel for line in session if isinstance(line, ChannelLine)}
    readings: dict[int, list[ReadingLine]] = {n: [] for n in channels}
    gaps: dict[int, list[GapLine]] = {n: [] for n in channels}
    for line in session:
        if isinstance(line, ReadingLine):
            readings[line.n].append(line)
        elif isinstance(line, GapLine):
            gaps[line.n].append(line)
    if channels:
        clock = align(_groups(session))
        for n, channel in channels.items():
            yield from _pieces(channel, readings[n], gaps[n], clock)


def _groups(session: Sequence[Line]) -> list[list[Exchange]]:
    groups: dict[int, list[Exchange]] = {}
    for line in session:
        if isinstance(line, ClockLine):
            groups.setdefault(line.group, []).append(Exchange(line.boot, *line.t_ns))
    return [groups[number] for number in sorted(groups)]


def _pieces(
    channel: Channel, readings: Sequence[ReadingLine], gaps: Sequence[GapLine], clock: Alignment
) -> Iterator[RemoteTrace]:
    """A channel's traces, of as many readings as one may have."""
    usual_ns = statistics.median(line.took_ns for line in readings) if readings else 0
    most_ns = max(_SLOW * usual_ns, _SLOW_NS)
    kept = [line for line in readings if line.took_ns <= most_ns]
    missed = [Gap(clock.device_ns(line.t_ns), line.status, line.reason) for line in gaps]
    missed += [
        Gap(clock.device_ns(line.t_ns), "stale", f"the answer took {line.took_ns / 1e9:.2g} s: it may be as old")
        for line in readings
        if line.took_ns > most_ns
    ]
    missed.sort(key=lambda gap: gap.t_ns)
    for start in range(0, max(len(kept), len(missed), 1), MAX_READINGS):
        piece, end = kept[start : start + MAX_READINGS], start + MAX_READINGS
        times = tuple(clock.device_ns(line.t_ns) for line in piece)
        trace = Trace(channel, times, tuple(line.value for line in piece), tuple(missed[start:end]))
        yield RemoteTrace(trace, _bound_s(piece, clock), clock.boot or None)


def _bound_s(readings: Sequence[ReadingLine], clock: Alignment) -> float:
    """By how much the times may be off: the clocks, and half of what a reading took."""
    return max((clock.bound_ns(line.t_ns) + line.took_ns / 2 for line in readings), default=0.0) / 1e9

"""NVIDIA's tegrastats, run as a child and read line by line: where the files of the power chips cannot be read.

Lines of JetPack 4 to 7.2. Of `VDD_IN 4093mW/4463mW/4832mW` only the first number counts: the others are mean and
greatest since tegrastats started. The line's date is local time in whole seconds, so each is stamped as it comes.
That a number is the mean over the interval is an assumption (NVIDIA does not say); steps are those seen in lines.
Totals and scopes as for `ina3221`; NC is no rail. The child is ended by its own number: `tegrastats --stop` is never
called, it would end somebody else's.

    sensors:
      tegrastats: {total: [VDD_IN], interval_ms: 200}
"""

import re
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from harness import sensing, wire

if TYPE_CHECKING:
    from devices.sensors import _child, _hwmon, _jetson, _lines, _options, _probing
else:
    import _child
    import _hwmon
    import _jetson
    import _lines
    import _options
    import _probing

WINDOW_S = (20.0, 60.0)
LEAD_S = 1.5  # the longest interval, and half a second
REPLACES: Tuple[str, ...] = ("ina3221",)
OPTIONS = {
    "total": "rails whose sum is the module's total (default: as the module's rails tell)",
    "program": "tegrastats, where it is neither /usr/bin/tegrastats nor on PATH",
    "interval_ms": "time between two lines, ms, from 50 to 1000 (default 200)",
}
FIRST_S = 1.5  # for the first line, beyond the interval
# A name, then present/mean or present/mean/greatest, all with mW or (JetPack 4) all without. `RAM 1903/3964MB` is none.
_RAIL = re.compile(
    r"(?<!\S)([A-Z][A-Z0-9_]{0,63}) ([0-9]{1,7})(mW)?/[0-9]{1,7}(?(3)mW)(?:/[0-9]{1,7}(?(3)mW))?(?!\S)", re.ASCII
)
_STEP_W = {"VDD_IN": 0.04}  # seen on Orin Nano and NX
_OTHER_STEP_W = 0.1  # seen on AGX Orin


def probe(options: Mapping[str, Any]) -> Tuple[str, str]:
    """Return status and reason; with ok: the rails."""
    return _probing.probe(open, options)


@contextmanager
def open(options: Mapping[str, Any]) -> Iterator["Session"]:
    """Start tegrastats and give a session; it is ended with it.

    Raises ValueError for an option, AbsentError where there is no tegrastats or no total, PermissionError, OSError,
    UnavailableError where it says nothing that can be read.
    """
    _options.known(options, OPTIONS)
    total = _jetson.total_option(options)
    interval = _options.whole(options, "interval_ms", 200, 50, 1000)
    guard = _child.Guard()
    try:
        child = _child.Child([_program(options), "--interval", str(interval)], guard)
        try:
            yield Session(child, _first(child, interval / 1e3), total, interval / 1e3)
        finally:
            child.end()
    finally:
        guard.end()


def rails(text: str) -> Dict[str, int]:
    """Return the rails of a line, mW, as they are now; {} where it is no line of tegrastats.

    A rail that stands there twice is left out: nothing says which is which. So is NC.
    """
    found = [(match.group(1), int(match.group(2))) for match in _RAIL.finditer(text)]
    names = [name for name, _ in found]
    return {name: power for name, power in found if names.count(name) == 1 and name != _jetson.NOT_CONNECTED}


def _program(options: Mapping[str, Any]) -> str:
    """Return the program's path. Raises AbsentError."""
    usual = str(sensing.sysroot() / "usr/bin/tegrastats")
    named = _options.text(options, "program", "") if options.get("program") is not None else ""
    tried = [named] if named else [usual, "tegrastats"]
    for each in tried:
        path = shutil.which(each)
        if path:
            return path
    raise sensing.AbsentError(
        "no program %s here; say where it is: `program: /path/to/tegrastats`" % " or ".join(tried)
    )


def _first(child: _child.Child, interval_s: float) -> Dict[str, int]:
    """Wait for the first line with rails. Raises UnavailableError."""
    end, last, over = time.monotonic() + interval_s + FIRST_S, "", False
    while time.monotonic() < end and not over:
        over = child.silent  # before its last lines are taken
        for line in child.take(max(end - time.monotonic(), 0)):
            last = line.data.decode("utf-8", "replace")
            found = rails(last)
            if found:
                return found
    if over:
        child.ended()  # until then not all of its words are here
    said = "it said %s" % _lines.shown(last) if last else child.words()
    raise sensing.UnavailableError("tegrastats gave no line with rails (%s)" % said)


class Session:
    """Lines as they come; `read` waits for the next one."""

    period_s = 0.0

    def __init__(self, child: _child.Child, first: Mapping[str, int], total: Sequence[str], interval_s: float) -> None:
        chosen = _jetson.choose(total, list(first))
        self._rails = [chosen, *((name,) for name in first if (name,) != chosen)]
        self.channels = tuple(_channel(names, interval_s, names == chosen) for names in self._rails)
        self._child = child
        self._interval_s = interval_s
        self._still = _hwmon.Still()

    def describe(self) -> str:
        """Tell the channels in words."""
        parts = ", ".join(names[0] for names in self._rails[1:])
        total = self.channels[0]
        return "%s: %s; every %.0f ms%s" % (
            total.scope,
            total.name,
            self._interval_s * 1e3,
            "; parts: " + parts if parts else "",
        )

    def read(self) -> List[sensing.Taken]:
        """Wait for lines and return what they say; a gap where none comes, or it is no line of tegrastats."""
        lines = self._child.take(5 * self._interval_s + 0.5)
        if not lines:
            return self._nothing()
        following = [line.t_ns for line in lines[1:]] + [0]
        return [each for line, next_ns in zip(lines, following) for each in self._line(line, line.t_ns == next_ns)]

    def _nothing(self) -> List[sensing.Taken]:
        if not self._child.silent:
            return self._gap("stale", "no line for %.1f s" % (5 * self._interval_s + 0.5), 0)
        time.sleep(self._interval_s)  # whoever reads in a loop is not to spin
        return self._gap("error", "tegrastats ended with %d (%s)" % (self._child.ended(), self._child.words()), 0)

    def _line(self, line: _child.Line, held_back: bool) -> List[sensing.Taken]:
        """What one line gives. Of lines that come at once only the last one's time is known."""
        if held_back:
            return self._gap("stale", "the line came late, together with the next one", line.t_ns)
        text = line.data.decode("utf-8", "replace")
        found = rails(text)
        if not found:
            return self._gap("error", "not a line of tegrastats: " + _lines.shown(text), line.t_ns)
        status, reason = self._still.judge(tuple(sorted(found.items())), line.t_ns)
        if status != "ok":
            return self._gap(status, reason, line.t_ns)
        return [self._taken(place, found, line.t_ns) for place in range(len(self._rails))]

    def _taken(self, place: int, found: Mapping[str, int], t_ns: int) -> sensing.Taken:
        missing = [name for name in self._rails[place] if name not in found]
        if missing:
            reason = "no %s in the line, or twice; it has %s" % (", ".join(missing), ", ".join(found))
            return sensing.Taken(place, None, "error", reason, t_ns)
        value = sum(found[name] for name in self._rails[place]) / 1e3
        status, reason = _hwmon.judged(self.channels[place], value)
        return sensing.Taken(place, value if status == "ok" else None, status, reason, t_ns)

    def _gap(self, status: str, reason: str, t_ns: int) -> List[sensing.Taken]:
        return [sensing.Taken(place, None, status, reason, t_ns) for place in range(len(self.channels))]


def _channel(names: Sequence[str], interval_s: float, total: bool) -> wire.Channel:
    step = sum(_STEP_W.get(name, _OTHER_STEP_W) for name in names)
    scope = _jetson.scope(names) if total else "rail"
    name = "+".join(names)
    return wire.Channel("tegrastats", name, scope, "averaged_power", total, interval_s, step, interval_s)

"""Shared by meters between the wall and the device: what they say, as energy in J and power in W, or why there is none."""

import contextlib
import decimal
import math
from typing import TYPE_CHECKING, Any, Callable, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

from harness import wire
from harness.sensing import AbsentError, Taken, UnavailableError

if TYPE_CHECKING:
    from devices.sensors import _counting, _outcome
else:
    import _counting
    import _outcome

PERIOD_S = 1.0
_STALL_S = 60.0  # at least; longer where a counter's steps or its updates are
_STALL_STEPS = 3.0


class Seen(NamedTuple):
    """What a meter said at a moment (monotonic). `energy` gives J, `power` W; both raise what `_outcome` knows.

    `off`: it says that its output is off.
    """

    t_ns: int
    energy: Callable[[], float]
    power: Callable[[], float]
    off: bool = False


class Steps(NamedTuple):
    """How often a meter has new values (s), and their smallest steps in J and W."""

    update_s: float
    energy_j: float
    power_w: float
    energy_update_s: float


class Session:
    """A meter that is asked once a second."""

    period_s = PERIOD_S

    def __init__(self, sensor: str, host: str, look: Callable[[], Seen], steps: Steps) -> None:
        self.channels = (
            wire.Channel(sensor, "energy", "wall", "energy_counter", True, steps.energy_update_s, steps.energy_j),
            wire.Channel(sensor, "power", "wall", "instant_power", True, steps.update_s, steps.power_w),
        )
        self._host, self._look, self._steps = host, look, steps
        self._counter, self._stall = _counting.Counter(), _counting.Stall()

    def read(self) -> Sequence[Taken]:
        """Return energy and power, or why they are not to be had."""
        try:
            return self._judged(self._look())
        except _outcome.FAILURES as error:
            return self._gaps(*_outcome.of(error))

    def _judged(self, seen: Seen) -> Sequence[Taken]:
        read = [_outcome.taken(0, seen.energy), _outcome.taken(1, seen.power)]
        energy, power = (each.value for each in read)
        if seen.off and not power:
            said = "%s: the meter's output is off, so nothing behind it has power: switch it on"
            return self._gaps("error", said % self._host, seen.t_ns)
        same_s = self._stall.seconds((energy, power), seen.t_ns)
        if power and same_s > self._limit_s(power):
            said = "%s has said the same for %.0f s though there is power: restart the meter"
            return self._gaps("stale", said % (self._host, same_s), seen.t_ns)
        fell = "" if energy is None else self._counter.judge(energy, "J")
        if fell:
            read[0] = Taken(0, None, "error", "%s: %s" % (self._host, fell))
        return [each._replace(t_ns=seen.t_ns) for each in read]

    def _limit_s(self, power: float) -> float:
        """After how long the same answer means that the meter hangs: a steady power may well move no coarse counter."""
        slow_s = max(self._steps.energy_update_s, self._steps.energy_j / power)
        return max(_STALL_S, _STALL_STEPS * slow_s)

    def _gaps(self, status: str, reason: str, t_ns: int = 0) -> List[Taken]:
        return [Taken(index, None, status, reason, t_ns) for index in range(len(self.channels))]


def probed(opened: Callable[[], "contextlib.AbstractContextManager[Session]"]) -> Tuple[str, str]:
    """Ask the meter; return a status and its reason. ok needs one channel; a wrong option is told too."""

    def look() -> Tuple[str, str]:
        with opened() as session:
            read = session.read()
        told = [
            "%s %.6g %s" % (channel.name, each.value, channel.unit)
            for channel, each in zip(session.channels, read)
            if each.value is not None
        ]
        missing = [each for each in read if each.value is None]
        if not told:
            return missing[0].status, missing[0].reason
        return "ok", "wall: " + ", ".join(told) + "".join("; " + each.reason for each in missing)

    return _outcome.probed(look)


@contextlib.contextmanager
def opened(sensor: str, host: str, look: Callable[[], Seen], steps: Callable[[], Steps]) -> Iterator[Session]:
    """Ask once, so that what is not there is told at once, and give a session. Raises as a sensor's `open` does."""
    look()
    yield Session(sensor, host, look, steps())


def number(fields: Mapping[str, Any], key: str, host: str, scale: float = 1.0) -> float:
    """Return a number of at least 0 from what a meter said, times `scale`. Raises AbsentError, UnavailableError."""
    if key not in fields:
        raise AbsentError("%s tells no %s: it does not measure it" % (host, key))
    return plain(fields[key], key, host) * scale


def plain(value: Any, key: str, host: str) -> float:
    """Return a value that is a finite number of at least 0. Raises UnavailableError for anything else, null too."""
    if value is None:
        raise UnavailableError("%s says that %s is null: the meter cannot measure now" % (host, key))
    if not isinstance(value, decimal.Decimal):
        raise UnavailableError(
            "%s gives %s as no number: its firmware is another than what is known here" % (host, key)
        )
    found = float(value)
    if not math.isfinite(found):
        raise UnavailableError("%s gives %s as no finite number" % (host, key))
    if found < 0:
        raise UnavailableError(
            "%s gives a negative %s: turn the meter's sides round, or reset its counters" % (host, key)
        )
    return found


def section(fields: Mapping[str, Any], key: str, host: str) -> Mapping[str, Any]:
    """Return an object within what a meter said. Raises AbsentError where it is missing."""
    found = fields.get(key)
    if not isinstance(found, dict):
        raise AbsentError("%s tells no %s: it has no power meter, or another firmware" % (host, key))
    return found

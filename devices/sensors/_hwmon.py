"""Shared by sensors that are files of the kernel's hwmon and iio: chips by name and bus address, rails, their readings."""

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from harness import sensing, wire

if TYPE_CHECKING:
    from devices.sensors import _probing
else:
    import _probing

STALL_S, STALL_READINGS = 4.0, 20  # equal to the last digit for so long: converters are never that quiet
"""Shorter than the shortest window: a pass opens its sensors anew, and one that always stands still must be seen in each."""
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_SHUNT_UV = 163_840  # the greatest voltage over a shunt that these chips can tell, uV
_AMPERE_MA = 100_000  # the greatest current that is believed where the shunt is not known, mA
_AGREE_W, _AGREE = 0.5, 10.0  # within what, and within what factor, power must agree with voltage times current


class Chip(NamedTuple):
    """One chip. `address` ("1-0040": bus, address) is the same at every boot; the number of its hwmon folder is not."""

    name: str
    address: str
    folder: Path


class Rail(NamedTuple):
    """What one pair of inputs of a chip measures: power as a file of `unit_w` watts a count, or voltage (mV), current (mA).

    `most_mv`: the greatest voltage that the chip can tell. `shunt_uohm`, `update_s`: 0 where they are not known.
    """

    name: str
    address: str
    volt: Path
    curr: Path
    power: Optional[Path] = None
    unit_w: float = 1e-6
    most_mv: int = 32_760
    shunt_uohm: int = 0
    update_s: float = 0.0

    @property
    def full_name(self) -> str:
        """Bus address and name: unmistakable."""
        return self.address + "/" + self.name


def chips(names: Iterable[str]) -> List[Chip]:
    """Return the chips whose `name` is one of `names`, each once, by address."""
    root, wanted = sensing.sysroot(), set(names)
    found: Dict[str, Chip] = {}
    folders = list((root / "sys/class/hwmon").glob("hwmon*"))
    for name in sorted(wanted):
        folders += (root / "sys/bus/i2c/drivers" / name).glob("*/hwmon/hwmon*")
    for folder in sorted(folders):
        name = sensing.text(folder / "name") or ""
        if name in wanted:
            found.setdefault(os.path.realpath(str(folder)), Chip(name, _address(folder), folder))
    return sorted(found.values(), key=lambda chip: (chip.address, chip.name))


def _address(folder: Path) -> str:
    """The name of the device behind a hwmon folder, or of the folder that the kernel would put it into."""
    device = folder / "device"
    real = Path(os.path.realpath(str(device if device.exists() else folder)))
    return real.name if device.exists() else (real.parent.parent.name if real.parent.name == "hwmon" else real.name)


def integer(path: Path) -> int:
    """Return the whole number in a file. Raises OSError, UnavailableError where it holds anything else."""
    text = sensing.slurp(path).decode("utf-8", "replace").strip("\0\n\r\t ")
    if not _WHOLE.fullmatch(text):
        raise sensing.UnavailableError("%s holds no whole number, but %.60r" % (path, text))
    return int(text)


def optional(path: Path) -> Optional[int]:
    """Return the whole number in a file, None where there is none that can be read."""
    try:
        return integer(path)
    except (OSError, sensing.UnavailableError):
        return None


def update_s(chip: Chip) -> float:
    """Return how often a chip's values become new ones, s; 0: it does not say."""
    return max(optional(chip.folder / "update_interval") or 0, 0) / 1000


def watts(rail: Rail) -> Tuple[float, Tuple[int, ...]]:
    """Read a rail: W, and the numbers that it comes from. Raises OSError, UnavailableError.

    Each file waits for the chip's next conversion, so voltage and current are of different ones: the voltage is read
    before and after the current, and its mean is that of the middle.
    """
    if rail.power is not None:
        count = integer(rail.power)
        return count * rail.unit_w, (count,)
    before, current, after = _volt(rail), _current(rail), _volt(rail)
    return (before + after) / 2 * current / 1e6, (before, current, after)


def product(rail: Rail) -> Tuple[int, int]:
    """Return voltage (mV) and current (mA) of a rail, read once. Raises OSError, UnavailableError."""
    return _volt(rail), _current(rail)


def _volt(rail: Rail) -> int:
    value = integer(rail.volt)
    if not 0 <= value <= rail.most_mv:
        raise sensing.UnavailableError("%s is %d: no millivolts, those end at %d" % (rail.volt, value, rail.most_mv))
    return value


def _current(rail: Rail) -> int:
    value = integer(rail.curr)
    most = _SHUNT_UV * 1000 // rail.shunt_uohm if rail.shunt_uohm > 0 else _AMPERE_MA
    if abs(value) > most:
        raise sensing.UnavailableError("%s is %d: no milliamperes, those end at %d" % (rail.curr, value, most))
    return value


def check_unit(rail: Rail) -> None:
    """Refuse a power file that does not agree with voltage times current: it is told in another unit than it should be.

    Raises UnavailableError, OSError. Where voltage or current cannot be read, there is nothing to hold it against.
    """
    if rail.power is None or not (rail.volt.exists() and rail.curr.exists()):
        return
    voltage, current = product(rail)
    told, expected = abs(watts(rail)[0]), abs(voltage * current / 1e6)
    low, high = sorted((told, expected))
    if high - low > _AGREE_W and high > low * _AGREE:
        raise sensing.UnavailableError(
            "%s says %g W, but voltage times current is %g W: not the unit that it should be"
            % (rail.power, told, expected)
        )


class Session:
    """Rails read one after the other; each channel is the sum of some of them, those of the total come first."""

    def __init__(self, groups: Sequence[Tuple[wire.Channel, Tuple[Rail, ...]]], words: str, period_s: float) -> None:
        self.channels = tuple(channel for channel, _ in groups)
        self.period_s = period_s
        self._groups = groups
        self._words = words
        self._still = [Still(channel.update_s) for channel, _ in groups]

    def describe(self) -> str:
        """Tell the channels in words."""
        return self._words

    def read(self) -> List[sensing.Taken]:
        """Read every rail once; a channel with a rail that does not answer is a gap. Blocks for about 10 ms per file."""
        seen: Dict[Rail, _Seen] = {}
        return [self._taken(place, seen) for place in range(len(self._groups))]

    def _taken(self, place: int, seen: Dict[Rail, "_Seen"]) -> sensing.Taken:
        channel, rails = self._groups[place]
        for rail in rails:
            if rail not in seen:
                seen[rail] = _see(rail)
        mine = [seen[rail] for rail in rails]
        t_ns = (mine[0].begin_ns + mine[-1].end_ns) // 2
        for each in mine:
            if each.value is None:
                return sensing.Taken(place, None, each.status, each.reason, t_ns)
        value = sum(each.value or 0.0 for each in mine)
        status, reason = judged(channel, value)
        if status == "ok":
            status, reason = self._still[place].judge(tuple(each.raw for each in mine), t_ns)
        return sensing.Taken(place, value if status == "ok" else None, status, reason, t_ns)


def judged(channel: wire.Channel, value: float) -> Tuple[str, str]:
    """Return status and reason of a number: what runs a program draws power, so a total of 0 was not measured."""
    if channel.total and value <= 0:
        return "error", "%s is %g W: a board that answers draws more than nothing" % (channel.name, value)
    return "ok", ""


class _Seen(NamedTuple):
    value: Optional[float]
    raw: Tuple[int, ...]
    status: str
    reason: str
    begin_ns: int
    end_ns: int


def _see(rail: Rail) -> _Seen:
    begin = time.monotonic_ns()
    value: Optional[float] = None
    raw: Tuple[int, ...] = ()
    status, reason = "ok", ""
    try:
        value, raw = watts(rail)
    except PermissionError as error:
        status, reason = "permission", _probing.denied(error)
    except (OSError, sensing.UnavailableError) as error:  # ENODATA: a channel that was switched off, for one
        status, reason = "error", "%s: %s" % (rail.name, error)
    return _Seen(value, raw, status, reason, begin, time.monotonic_ns())


class Still:
    """Notices numbers that have not changed for longer than a converter's noise lets them, which is new every `update_s`."""

    def __init__(self, update_s: float = 0.0) -> None:
        self._limit_s = max(STALL_S, STALL_READINGS * update_s)
        self._last: object = None
        self._since_ns = 0
        self._count = 0

    def judge(self, raw: object, t_ns: int) -> Tuple[str, str]:
        """Return status and reason of the numbers read at `t_ns`: stale where they are the same for too long."""
        if raw != self._last:
            self._last, self._since_ns, self._count = raw, t_ns, 0
        self._count += 1
        still_s = (t_ns - self._since_ns) / 1e9
        if still_s >= self._limit_s and self._count >= STALL_READINGS:
            return "stale", "the same numbers for %.0f s: nothing is measured any more" % still_s
        return "ok", ""

"""An x86 processor's own energy counters (RAPL), by way of the kernel's powercap files.

Scope `package`: cores, caches, integrated graphics and memory controller of all sockets; `package_dram` where every socket
counts its memory too. Parts are one socket's package and memory. Never added: `core` and `uncore` (parts of the package),
`psys` (on laptops it contains the package, on others it is wrong), `intel-rapl-mmio` (the same energy by another way). Not
in it: a graphics card, disks, fans, the supply's loss; on most desktops and laptops memory neither. AMD's processors answer
by the same files, from a model of theirs rather than a measurement.

Since Linux 5.10 only root may read the counters (they leak secrets to a patient reader); `probe` says the command that
opens them until the next reboot. They wrap every few minutes to hours at a known value; see `_accumulator.py`.

    sensors:
      rapl: {}
"""

import contextlib
import functools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

from harness import wire
from harness.sensing import AbsentError, Taken, UnavailableError, slurp, sysroot, text

if TYPE_CHECKING:
    from devices.sensors import _accumulator, _options, _outcome
else:
    import _accumulator
    import _options
    import _outcome

WINDOW_S = (5.0, 20.0)
OPTIONS: Dict[str, str] = {"period_s": "how often the counters are read, s: from 0.05 to 10, else 0.1"}

_MOST_W = 2000.0  # of one package or its memory: several times what the largest may take, for a moment
_STEP_J = 1e-6  # the files count in uJ
_COUNTS = 2**32  # values of the counter behind a file: its range over this is its true step
_UPDATE_S = 1e-3
_LOOK_S, _LOOKS = 0.02, 10


class Zone(NamedTuple):
    """A counter: `name` is what the kernel calls it, with its package before `dram`."""

    name: str
    folder: Path

    @property
    def counter(self) -> Path:
        """Its file."""
        return self.folder / "energy_uj"

    def steps(self) -> int:
        """Return the counter, uJ. Raises OSError, UnavailableError."""
        return _whole(self.counter)

    def range_steps(self) -> int:
        """Return where the counter wraps, uJ. Raises OSError, UnavailableError."""
        return _whole(self.folder / "max_energy_range_uj")


def probe(options: Mapping[str, Any]) -> Tuple[str, str]:
    """Return a status and its reason, after two readings."""
    return _outcome.probed(lambda: _look(options))


def _look(options: Mapping[str, Any]) -> Tuple[str, str]:
    with open(options) as session:
        first, start_ns = session.read()[0], time.monotonic_ns()
        if first.status != "ok":
            return first.status, first.reason
        for _ in range(_LOOKS):
            time.sleep(_LOOK_S)
            last, elapsed_s = session.read()[0], (time.monotonic_ns() - start_ns) * 1e-9
            if last.value is not None and first.value is not None and last.value > first.value:
                power_w = (last.value - first.value) / elapsed_s
                return "ok", "%s: %s, about %.1f W" % (session.channels[0].scope, session.channels[0].name, power_w)
    return "stale", "the counters do not move: a virtual machine may show some that nobody keeps"


@contextlib.contextmanager
def open(options: Mapping[str, Any]) -> Iterator["Session"]:
    """Give a session. Raises AbsentError, PermissionError, UnavailableError, ValueError."""
    _options.known(options, OPTIONS)
    period_s = _options.number(options, "period_s", 0.1, 0.05, 10.0)
    packages, memories = _zones(sysroot() / "sys/class/powercap")
    _require_readable([*packages, *memories])
    alive = len(memories) == len(packages) and all(map(_moves, memories))
    yield Session("package_dram", [*packages, *memories], period_s) if alive else Session("package", packages, period_s)


class Session:
    """The sum of all counters of the scope, then each by itself where there are several."""

    def __init__(self, scope: str, zones: Sequence[Zone], period_s: float) -> None:
        self.period_s = period_s
        self._zones = zones
        ranges = [zone.range_steps() for zone in zones]
        self._sums = [_accumulator.Accumulator(zone.name, _STEP_J, _MOST_W, most) for zone, most in zip(zones, ranges)]
        steps_j = [most * _STEP_J / _COUNTS for most in ranges]
        total = wire.Channel(
            "rapl", " + ".join(zone.name for zone in zones), scope, "energy_counter", True, _UPDATE_S, sum(steps_j)
        )
        parts = [
            wire.Channel("rapl", zone.name, "rail", "energy_counter", False, _UPDATE_S, step_j)
            for zone, step_j in zip(zones, steps_j)
        ]
        self.channels: Tuple[wire.Channel, ...] = (total, *(parts if len(parts) > 1 else ()))

    def read(self) -> Sequence[Taken]:
        """Return the energy of each channel, J, over all wraps; a sum only where every counter gave a number."""
        parts = [_outcome.taken(n, functools.partial(self._energy, n - 1)) for n in range(1, len(self._zones) + 1)]
        failed = next((part for part in parts if part.value is None), None)
        if failed is not None:
            total = Taken(0, None, failed.status, failed.reason)
        else:
            total = Taken(0, sum(part.value for part in parts if part.value is not None))
        return [total, *(parts if len(parts) > 1 else ())]

    def _energy(self, n: int) -> float:
        return self._sums[n].energy(self._zones[n].steps(), time.monotonic_ns())


def _zones(top: Path) -> Tuple[List[Zone], List[Zone]]:
    """The packages, and the memory of those that count it. Raises AbsentError."""
    folders = sorted(top.glob("intel-rapl:*"))
    names = {folder.name: text(folder / "name") for folder in folders}
    if folders and not any(names.values()):
        raise AbsentError("%s is hidden from here, by a container for one: measure outside of it" % folders[0])
    packages = [folder for folder in folders if (names[folder.name] or "").startswith("package-")]
    if not packages:
        raise AbsentError(
            "this processor or virtual machine has no RAPL (%s/intel-rapl:*); on a computer of its own with an x86 "
            "processor, sudo modprobe intel_rapl_msr may bring it" % top
        )
    memories: List[Zone] = []
    for folder in packages:
        inner = {path.name: path for path in (*folder.glob(folder.name + ":*"), *top.glob(folder.name + ":*"))}
        dram = sorted(name for name in inner if text(inner[name] / "name") == "dram")
        memories += [Zone("%s dram" % names[folder.name], inner[name]) for name in dram]
    return [Zone(str(names[folder.name]), folder) for folder in packages], memories


def _require_readable(zones: Sequence[Zone]) -> None:
    denied = [str(zone.counter) for zone in zones if _denied(zone.counter)]
    if denied:
        raise PermissionError(
            "only root may read this processor's energy counters; to open them until the next reboot: sudo chmod a+r "
            + " ".join(denied)
        )


def _denied(path: Path) -> bool:
    try:
        os.close(os.open(str(path), os.O_RDONLY))
    except PermissionError:
        return True
    except OSError:
        pass  # said by the reading
    return False


def _moves(zone: Zone) -> bool:
    """Whether a counter of memory is kept: some processors show one that stands still."""
    first = zone.steps()
    for _ in range(_LOOKS):
        time.sleep(_LOOK_S)
        if zone.steps() != first:
            return True
    return False


def _whole(path: Path) -> int:
    said = slurp(path).decode("ascii", "replace").strip()
    if not said.isdigit():
        raise UnavailableError("%s holds %.40r, no whole number" % (path, said))
    return int(said)

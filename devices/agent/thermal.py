"""Temperatures, cooling devices and fans, from /sys/class/thermal and hwmon."""

from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional

from harness.sensing import Files, Source, UnavailableError, absent, number, take, text

_THERMAL = "sys/class/thermal"
_CONSTANT = "pmic"  # NVIDIA's zone of that name says 100 degC at all times
_COLDEST = -200.0  # degC; a zone that is powered down says -256


def sources(root: Path, files: Files) -> Iterator[Source]:
    """Each zone's temperature, each cooling device's state, each fan's speed."""
    yield from zones(root, files)
    cooling = _named(sorted((root / _THERMAL).glob("cooling_device*")))
    for scope, device in cooling.items():
        yield Source("cooling_state", scope, "gauge", "1", number(files, device / "cur_state"))
        yield Source("cooling_state_max", scope, "gauge", "1", number(files, device / "max_state"), brief=False)
    for fan in sorted((root / "sys/class/hwmon").glob("hwmon*/fan*_input")):
        scope = "%s %s" % (text(fan.parent / "name") or fan.parent.name, fan.name[: -len("_input")])
        yield Source("fan_speed", scope, "gauge", "rpm", number(files, fan))


def zones(root: Path, files: Files) -> List[Source]:
    """Each thermal zone's temperature; the one reading of a device without a zone is unsupported."""
    found = _named(sorted((root / _THERMAL).glob("thermal_zone*")))
    nothing = absent("temperature", "machine", "gauge", "degC", "no thermal zone below %s" % (root / _THERMAL))
    reads = {scope: _degrees(files, zone / "temp") for scope, zone in found.items()}
    return [Source("temperature", scope, "gauge", "degC", read) for scope, read in reads.items()] or [nothing]


def hottest(root: Path) -> Optional[float]:
    """Return the hottest zone's temperature now, in degC, or None where no zone gives one."""
    values = [take(source)[0][4] for source in zones(root, Files()) if not source.scope.lower().startswith(_CONSTANT)]
    return max((value for value in values if value is not None), default=None)


def _degrees(files: Files, path: Path) -> Callable[[], float]:
    raw = number(files, path)

    def read() -> float:
        value = raw() / 1000
        if value < _COLDEST:
            raise UnavailableError("%s says %g degC: the zone is powered down" % (path, value))
        return value

    return read


def _named(folders: List[Path]) -> Dict[str, Path]:
    """Folders by what their `type` calls them, and by their own name too where several are called alike."""
    types = [text(folder / "type") or folder.name for folder in folders]
    return {
        kind if types.count(kind) == 1 else "%s %s" % (kind, folder.name): folder
        for kind, folder in zip(types, folders)
    }

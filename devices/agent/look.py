"""What this device is and how it stands, at this moment: nothing is made, nothing is waited for."""

import importlib
import os
import pkgutil
import re
import shutil
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from devices.agent import facts, host, lock, thermal, throttle, worker
from harness.sensing import Files, Reading, Snapshot, Source, sysroot, take, text

_SINCE_BOOT = {16: "under-voltage", 17: "clock capped", 18: "throttled", 19: "soft temperature limit"}
_FAN_PROFILES = ("var/lib/nvfancontrol/status", "etc/nvfancontrol.conf")  # what is in force, what is in force at boot


def look(workdir: str, options: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
    """Say it, with what the sensors say to their `options`.

    `clock_ns` is read last, so that whoever asked knows it to be no older than the answer's way back.
    """
    root, folder = sysroot(), Path(workdir).expanduser().absolute()
    usage = shutil.disk_usage(str(_there(folder)))
    return {
        "facts": facts.read(root),
        "workdir": str(folder),
        "free_bytes": usage.free,
        "total_bytes": usage.total,
        "writable": _writable(folder),
        "holder": lock.holder(folder / "lock"),
        "memory_available_bytes": _memory_available(root),
        "throttling": _throttling(root),
        "fan": _fan(root),
        "sensors": _sensors(options or {}),
        "clock_ns": time.time_ns(),
    }


def _there(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _writable(folder: Path) -> Any:
    """True, or why nothing can be written into the workdir; one that is not there yet is to be made."""
    place = _there(folder)
    if not place.is_dir():
        return "%s is not a folder" % place
    if os.statvfs(str(place)).f_flag & os.ST_RDONLY:
        return "it lies on a file system that is mounted read-only"
    if not os.access(str(place), os.W_OK | os.X_OK):
        return "%s belongs to another user and cannot be written" % place
    return True


def _memory_available(root: Path) -> Any:
    taken = [take(source)[0] for source in host.sources(root, Files()) if source.sensor == "memory_available"]
    return next((int(value) for _, _, _, _, value, _ in taken if value is not None), None)


# --- throttling and fans -------------------------------------------------------------------------------------------


def _throttling(root: Path) -> Dict[str, Any]:
    """What slows the device down now, what has since it was started, and why that is not known where it is not."""
    taken = [take(source) for source in throttle.sources(root, Files())]
    reasons = {"%s %s" % reading[:2]: reason for reading, reason in taken if reason}
    now = Snapshot(tuple(reading for reading, _ in taken), reasons)
    readable = any(reading[3] == "ok" for reading in now.readings)
    return {
        "now": list(throttle.evidence((now,))),
        "since_boot": [sign for reading in now.readings for sign in _since_boot(reading)],
        "reasons": reasons,
        "readable": readable,
    }


def _since_boot(reading: Reading) -> Iterator[str]:
    """A Raspberry Pi's bits that stay until it is started anew, a Jetson's counted events; x86 counts harmless ones too."""
    sensor, scope, _, _, value, _ = reading
    if sensor == "throttle_bits" and value is not None:
        yield from (word for bit, word in _SINCE_BOOT.items() if int(value) >> bit & 1)
    if sensor == "overcurrent_events" and value:
        yield "%d over-current events (%s)" % (value, scope)


def _fan(root: Path) -> Dict[str, Any]:
    """The profile that rules the fan (a Jetson's), what each is driven with (pwm, 0 to 255), how fast each turns (rpm)."""
    names = (re.search(r"FAN(?:_DEFAULT)?_PROFILE[:\s]+(\w+)", text(root / file) or "") for file in _FAN_PROFILES)
    pwm = {_chip(file): text(file) for file in sorted((root / "sys/class/hwmon").glob("hwmon*/pwm[0-9]"))}
    fans = [source for source in thermal.sources(root, Files()) if source.sensor == "fan_speed"]
    return {
        "profile": next((found.group(1) for found in names if found), None),
        "pwm": {name: int(value) for name, value in pwm.items() if value and value.isdigit()},
        "speed_rpm": _values(fans),
    }


def _chip(file: Path) -> str:
    return "%s %s" % (text(file.parent / "name") or file.parent.name, file.name)


def _values(sources: List[Source]) -> Dict[str, float]:
    taken = (take(source)[0] for source in sources)
    return {scope: value for _, scope, _, _, value, _ in taken if value is not None}


# --- sensors -------------------------------------------------------------------------------------------------------


def _sensors(options: Dict[str, Any]) -> Dict[str, Dict[str, str]]:
    """Whether each sensor that came with the agent can be read here, and why not, as its file says itself."""
    try:
        folders = list(importlib.import_module("devices.sensors").__path__)
    except ModuleNotFoundError:
        return {}
    names = sorted(module.name for module in pkgutil.iter_modules(folders) if not module.name.startswith("_"))
    probed = {name: _probed(name, options.get(name) or {}) for name in names}
    return {name: dict(zip(("status", "reason"), told)) for name, told in probed.items() if told is not None}


def _probed(name: str, options: Dict[str, Any]) -> Optional[Tuple[str, str]]:
    """What a sensor says of itself, None where it is the controller that reads it.

    Whatever its file raises is its own fault, and no reason not to hear the others.
    """
    try:
        sensor = worker.load_part("sensors", name)
        if getattr(sensor, "WHERE", "device") != "device":
            return None
        status, reason = sensor.probe(options)
        return str(status), str(reason)
    except (Exception, SystemExit) as error:
        return "error", "%s: %s" % (type(error).__name__, error)

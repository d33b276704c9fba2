"""What the device is (facts) and how it is doing (state), from /proc and /sys. A missing file is a status, never a 0."""

import os
import platform
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from devices.agent.journal import clock_resolution_ns

Reading = Tuple[str, str, str, str, Optional[float], str]  # sensor, scope, kind, status, value, unit

_CPUFREQ = "sys/devices/system/cpu/cpufreq"
_THERMAL = "sys/class/thermal"


def facts(root: Path = Path("/")) -> Dict[str, Any]:
    """Return what stays: machine, kernel, CPU, memory, boot, clock, Python. A fact that cannot be had is null."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libc": "-".join(platform.libc_ver()),
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)),
        "cpu": _cpu_name(root),
        "board": _text(root / "proc/device-tree/model"),
        "memory_bytes": _memory_bytes(root, "MemTotal"),
        "clock_resolution_ns": clock_resolution_ns(),
        "boot_id": _text(root / "proc/sys/kernel/random/boot_id"),
        "governors": sorted({_text(file) for file in root.glob(_CPUFREQ + "/policy*/scaling_governor")} - {None}),
    }


def readings(root: Path = Path("/")) -> List[Reading]:
    """Return what changes: load, memory, stolen time, swapping, clocks, temperatures. Status: ok, unsupported, error."""
    return [*_host(root), *_clocks(root), *_temperatures(root)]


def oom_kills(root: Path = Path("/")) -> Optional[int]:
    """Return how many processes the kernel has killed for memory since boot, or None."""
    return _field(root / "proc/vmstat", "oom_kill")


def _host(root: Path) -> Iterator[Reading]:
    ticks = os.sysconf("SC_CLK_TCK")
    vmstat = root / "proc/vmstat"
    yield _read("load_average_1min", "machine", "gauge", "1", lambda: float(_words(root / "proc/loadavg")[0]))
    yield _read("memory_available", "machine", "gauge", "B", lambda: _memory_bytes(root, "MemAvailable"))
    yield _read("cpu_steal", "machine", "counter", "s", lambda: int(_words(root / "proc/stat")[8]) / ticks)
    for name in ("pswpin", "pswpout", "pgmajfault", "oom_kill"):
        yield _read(name, "machine", "counter", "1", lambda key=name: _field(vmstat, key))  # type: ignore[misc]


def _clocks(root: Path) -> Iterator[Reading]:
    policies = sorted(root.glob(_CPUFREQ + "/policy*"))
    if not policies:
        yield ("cpu_clock", "cpu", "gauge", "unsupported", None, "Hz")
    for policy in policies:
        file = policy / "scaling_cur_freq"
        yield _read("cpu_clock", policy.name, "gauge", "Hz", lambda path=file: int(_words(path)[0]) * 1000.0)  # type: ignore[misc]


def _temperatures(root: Path) -> Iterator[Reading]:
    zones = sorted(root.glob(_THERMAL + "/thermal_zone*"))
    if not zones:
        yield ("temperature", "machine", "gauge", "unsupported", None, "degC")
    for zone in zones:
        scope = _text(zone / "type") or zone.name
        yield _read("temperature", scope, "gauge", "degC", lambda path=zone / "temp": int(_words(path)[0]) / 1000)  # type: ignore[misc]


def _read(sensor: str, scope: str, kind: str, unit: str, get: Callable[[], Optional[float]]) -> Reading:
    try:
        value = get()
    except FileNotFoundError:
        return (sensor, scope, kind, "unsupported", None, unit)
    except PermissionError:
        return (sensor, scope, kind, "permission", None, unit)
    except (OSError, ValueError, IndexError):  # a power-gated zone answers EAGAIN, a strange kernel another format
        return (sensor, scope, kind, "error", None, unit)
    return (sensor, scope, kind, "unsupported" if value is None else "ok", value, unit)


def _words(path: Path) -> List[str]:
    return path.read_text().split()


def _field(path: Path, key: str) -> Optional[int]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [key]), None)


def _memory_bytes(root: Path, key: str) -> Optional[int]:
    kibibytes = _field(root / "proc/meminfo", key + ":")
    return None if kibibytes is None else kibibytes * 1024


def _text(path: Path) -> Optional[str]:
    try:
        return path.read_text().strip("\0\n ")
    except OSError:
        return None


def _cpu_name(root: Path) -> Optional[str]:
    """Return the CPU's name: `model name` on x86, implementer and part on Arm (where there is no name)."""
    fields: Dict[str, str] = {}
    for line in (_text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    arm = "implementer %s part %s" % (fields.get("CPU implementer"), fields.get("CPU part"))
    return fields.get("model name") or (arm if "CPU part" in fields else None)

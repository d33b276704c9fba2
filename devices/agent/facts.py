"""What a device is, as far as it stays while a job runs. A fact that cannot be had is null."""

import os
import platform
import re
import struct
import sys
import sysconfig
from pathlib import Path
from typing import Any, Dict, List, Optional

from devices.agent import thermal
from devices.agent.journal import clock_resolution_ns
from devices.agent.sensing import Files, distinct, sysroot, text

_CPU = "sys/devices/system/cpu"
_ENVIRONMENT = re.compile(r"(OMP|KMP|GOMP|MKL|OPENBLAS|MALLOC)_[A-Z_]+|LD_PRELOAD|LD_BIND_NOW")


def read(root: Optional[Path] = None) -> Dict[str, Any]:
    """Return machine, kernel, CPU, memory, clocks, boot, storage, Python."""
    root = sysroot() if root is None else root
    return {**_machine(root), **_system(root), **_cpu(root), **_clocks(root), **_memory(root), **_board(root)}


def _machine(root: Path) -> Dict[str, Any]:
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libc": "-".join(platform.libc_ver()),
        "bits": struct.calcsize("P") * 8,  # of the userland: a 64-bit kernel may run a 32-bit one
        "platform": sysconfig.get_platform(),
        "implementation": sys.implementation.name,
        "executable": os.path.realpath(sys.executable),
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)),
        "affinity": sorted(os.sched_getaffinity(0)),
        "clock_resolution_ns": clock_resolution_ns(),
        "environment": {key: value for key, value in sorted(os.environ.items()) if _ENVIRONMENT.fullmatch(key)},
    }


def _system(root: Path) -> Dict[str, Any]:
    release = dict(line.partition("=")[::2] for line in (text(root / "etc/os-release") or "").splitlines())
    return {
        "boot_id": text(root / "proc/sys/kernel/random/boot_id"),
        "kernel_build": text(root / "proc/version"),
        "cmdline": text(root / "proc/cmdline"),
        "os": (release.get("PRETTY_NAME") or "").strip("\"'") or None,
        "os_image": (text(root / "etc/nv_tegra_release") or "").split("\n")[0] or text(root / "etc/rpi-issue"),
        "aslr": text(root / "proc/sys/kernel/randomize_va_space"),
        "perf_event_max_sample_rate": text(root / "proc/sys/kernel/perf_event_max_sample_rate"),
        "irqbalance": _runs(root, "irqbalance"),
    }


def _runs(root: Path, name: str) -> Optional[bool]:
    found = distinct(root.glob("proc/[0-9]*/comm"))
    return name in found if found else None


def _cpu(root: Path) -> Dict[str, Any]:
    fields: Dict[str, str] = {}
    for line in (text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    arm = "implementer %s part %s" % (fields.get("CPU implementer"), fields.get("CPU part"))
    cpu = root / _CPU
    return {
        "cpu": fields.get("model name") or (arm if "CPU part" in fields else None),
        "cpu_features": fields.get("flags") or fields.get("Features"),
        "cpus_online": text(cpu / "online"),
        "cpus_isolated": text(cpu / "isolated"),
        "cpus_nohz_full": text(cpu / "nohz_full"),
        "cpuset": text(root / "sys/fs/cgroup/cpuset.cpus.effective"),
        "smt": text(cpu / "smt/control"),
        "smt_active": text(cpu / "smt/active"),
        "idle_states": _idle_states(cpu),
    }


def _idle_states(cpu: Path) -> Optional[Dict[str, bool]]:
    """Which idle states the first CPU may enter, by name; None where the kernel has none."""
    states = sorted(cpu.glob("cpu0/cpuidle/state*"))
    return {text(state / "name") or state.name: text(state / "disable") == "0" for state in states} or None


def _clocks(root: Path) -> Dict[str, Any]:
    def of(name: str) -> List[str]:
        return distinct((root / _CPU / "cpufreq").glob("policy*/" + name))

    def hertz(name: str) -> List[int]:
        return sorted(int(value) * 1000 for value in of(name) if value.isdigit())

    no_turbo, boost = text(root / _CPU / "intel_pstate/no_turbo"), text(root / _CPU / "cpufreq/boost")
    return {
        "governors": of("scaling_governor"),
        "clock_drivers": of("scaling_driver"),
        "energy_performance_preferences": of("energy_performance_preference"),
        "clock_min_hz": hertz("scaling_min_freq"),
        "clock_max_hz": hertz("scaling_max_freq"),
        "turbo": no_turbo == "0" if no_turbo is not None else boost == "1" if boost is not None else None,
    }


def _memory(root: Path) -> Dict[str, Any]:
    def kibibytes(key: str) -> Optional[int]:
        try:
            return Files().field(root / "proc/meminfo", key) * 1024
        except Exception:
            return None

    return {
        "memory_bytes": kibibytes("MemTotal:"),
        "swap_bytes": kibibytes("SwapTotal:"),
        "huge_pages": text(root / "sys/kernel/mm/transparent_hugepage/enabled"),
    }


def _board(root: Path) -> Dict[str, Any]:
    return {
        "board": text(root / "proc/device-tree/model"),
        "supply_max_ma": _big_endian(root / "proc/device-tree/chosen/power/max_current"),
        "root_device": _root_device(root),
        "hottest_degc": thermal.hottest(root),
    }


def _big_endian(path: Path) -> Optional[int]:
    """A cell of the device tree (4 bytes); the Raspberry Pi 5 tells there what its supply can give, in mA."""
    try:
        return int.from_bytes(path.read_bytes()[:4], "big")
    except OSError:
        return None


def _root_device(root: Path) -> Optional[str]:
    """What the root file system is on: its device and kind (SD, MMC, nvme, ssd, disk), or the file system's type."""
    mounts = [line.split() for line in (text(root / "proc/mounts") or "").splitlines()]
    found = [words for words in mounts if len(words) > 2 and words[1] == "/"]
    if not found:
        return None
    device, _, kind = found[-1][:3]
    if not device.startswith("/dev/"):
        return kind
    name = device[len("/dev/") :]
    disk = re.sub(r"(?<=\d)p\d+$" if re.match(r"nvme|mmcblk", name) else r"\d+$", "", name)
    block = root / "sys/class/block" / disk
    rotates = {"1": "disk", "0": "ssd"}.get(text(block / "queue/rotational") or "")
    made = "nvme" if name.startswith("nvme") else text(block / "device/type") if name.startswith("mmc") else rotates
    return "%s (%s)" % (name, made or kind)

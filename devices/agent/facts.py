"""What a device is, as far as it stays while a job runs. A fact that cannot be had is null."""

import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from devices.agent import thermal
from devices.agent.journal import clock_resolution_ns
from harness import nvml, wire
from harness.sensing import Files, distinct, sysroot, text

_CPU = "sys/devices/system/cpu"
_TREES = ("proc/device-tree", "sys/firmware/devicetree/base")  # the same tree; some kernels and containers lack one
_NVPMODEL_LIMIT_S = 5.0
# JetPack by L4T release (jetson_stats' tables), the longest that fits; one that is not here is known by its first number.
_JETPACKS = {
    "32.7": "4.6",
    "35": "5",
    "35.4.1": "5.1.2",
    "35.6": "5.1.4 to 5.1.6",
    "36": "6",
    "36.3": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5": "6.2.2",
    "38": "7",
    "38.2": "7.0",
    "38.4": "7.1",
    "39": "7",
    "39.2": "7.2",
}
_ENVIRONMENT = re.compile(r"(OMP|KMP|GOMP|MKL|OPENBLAS|MALLOC)_[A-Z_]+|LD_PRELOAD|LD_BIND_NOW")


def read(root: Optional[Path] = None) -> Dict[str, Any]:
    """Return machine, kernel, CPU, memory, clocks, boot, storage, Python, power mode, NVIDIA GPUs."""
    root = sysroot() if root is None else root
    parts = (_machine, _system, _release, _cpu, _clocks, _memory, _board)
    told = {key: value for part in parts for key, value in part(root).items()}
    return {**told, **_power_mode(), "gpus": _gpus()}


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


def _release(root: Path) -> Dict[str, Any]:
    """Whose system it is: NVIDIA's L4T with its JetPack, the Raspberry Pi OS image by its date."""
    found = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", text(root / "etc/nv_tegra_release") or "")
    image = re.match(r"Raspberry Pi reference (\S+)", text(root / "etc/rpi-issue") or "")
    l4t = ".".join(found.groups()).rstrip(".") if found else None
    return {"l4t": l4t, "jetpack": jetpack(l4t) if l4t else None, "raspberry_pi_os": image.group(1) if image else None}


def jetpack(l4t: str) -> Optional[str]:
    """Return the JetPack version that an L4T release belongs to, or None for one that is not known."""
    words = l4t.split(".")
    fits = (_JETPACKS.get(".".join(words[:count])) for count in range(len(words), 0, -1))
    return next(filter(None, fits), None)


def _runs(root: Path, name: str) -> Optional[bool]:
    found = distinct(root.glob("proc/[0-9]*/comm"))
    return name in found if found else None


def _cpu(root: Path) -> Dict[str, Any]:
    fields: Dict[str, str] = {}
    for line in (text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    parts = zip(_each(root, "CPU implementer"), _each(root, "CPU part"))
    arm = "implementer %s part %s" % (fields.get("CPU implementer"), fields.get("CPU part"))
    cpu = root / _CPU
    return {
        "cpu": fields.get("model name") or (arm if "CPU part" in fields else None),
        "cpu_parts": sorted({"%s %s" % pair for pair in parts}),  # of Arm cores, of which there may be two kinds
        "cpu_features": fields.get("flags") or fields.get("Features"),
        "cpus_online": text(cpu / "online"),
        "cpus_isolated": text(cpu / "isolated"),
        "cpus_nohz_full": text(cpu / "nohz_full"),
        "cpuset": text(root / "sys/fs/cgroup/cpuset.cpus.effective"),
        "smt": text(cpu / "smt/control"),
        "smt_active": text(cpu / "smt/active"),
        "idle_states": _idle_states(cpu),
    }


def processor(root: Optional[Path] = None) -> Optional[str]:
    """Return the names of the cores as compilers know them, else what the kernel calls the processor; None: nothing."""
    told = _cpu(root or sysroot())
    return " and ".join(wire.core_names(told["cpu_parts"])) or told["cpu"]


def _each(root: Path, key: str) -> List[str]:
    """What each core says behind `key`, in /proc/cpuinfo."""
    lines = (line.partition(":") for line in (text(root / "proc/cpuinfo") or "").splitlines())
    return [value.strip() for name, _, value in lines if name.strip() == key]


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
        "board": _tree(root, "model"),
        "compatible": [name for name in (_tree(root, "compatible") or "").split("\0") if name],
        "serial": _tree(root, "serial-number") or next(iter(_each(root, "Serial")), None),
        "supply_max_ma": _big_endian(root, "chosen/power/max_current"),
        "root_device": _root_device(root),
        "hottest_degc": thermal.hottest(root),
    }


def _tree(root: Path, name: str) -> Optional[str]:
    """A text of the device tree, without the NUL that ends it."""
    return next(filter(None, (text(root / tree / name) for tree in _TREES)), None)


def _power_mode() -> Dict[str, Any]:
    """What `nvpmodel -q` says is in force; its reason where there is nothing to say."""
    mode, reason = _queried(shutil.which("nvpmodel"))
    return {"power_mode": mode, "power_mode_reason": reason}


def _queried(program: Optional[str]) -> Tuple[Optional[str], str]:
    """Ask it, whose errors and warnings are no modes: an ordinary user gets some beside the answer."""
    if program is None:
        return None, "nvpmodel is not there"
    try:
        done = subprocess.run([program, "-q"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_NVPMODEL_LIMIT_S)
    except (OSError, subprocess.SubprocessError) as error:
        return None, "nvpmodel -q: %s" % error
    said = done.stdout.decode("utf-8", "replace")
    found = re.search(r"^NV Power Mode:[ \t]*(\S+)", said, re.MULTILINE)
    words = " ".join((said + " " + done.stderr.decode("utf-8", "replace")).split())
    return (found.group(1), "") if found else (None, "nvpmodel -q says no mode: %s" % (words[:200] or "nothing"))


def _gpus() -> List[Dict[str, Optional[str]]]:
    """NVIDIA's GPUs with driver and compute capability, as far as each can be asked; a Jetson's tells little."""
    return [
        {"name": nvml.name(gpu), "driver": nvml.driver(gpu), "compute_capability": _capability(gpu)}
        for gpu in nvml.gpus()
    ]


def _capability(gpu: nvml.Gpu) -> Optional[str]:
    age = nvml.capability(gpu)
    return "%d.%d" % age if age else None


def _big_endian(root: Path, name: str) -> Optional[int]:
    """A cell of the device tree (4 bytes); the Raspberry Pi 5 tells there what its supply can give, in mA."""
    for tree in _TREES:
        try:
            return int.from_bytes((root / tree / name).read_bytes()[:4], "big")
        except OSError:
            pass
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

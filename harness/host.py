"""What this machine is, as far as what is compiled for it depends on it: a cache may be shared with another one."""

from __future__ import annotations

import functools
import hashlib
import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# What compilers tell processors apart by, on x86 and on ARM; clocks, counts and microcode change with nothing that they emit.
_TELLING = {
    *("vendor_id", "cpu family", "model", "model name", "stepping", "flags"),
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features"),
}


def arch() -> str:
    """Return the architecture, as the kernel names it: `x86_64`, `aarch64`."""
    return platform.machine()


@functools.cache
def processor() -> str:
    """Return the processor's model and a hash of that and of all its instruction sets: machines that differ have two words."""
    return told(_CPUINFO.read_text(encoding="utf-8", errors="replace") if _CPUINFO.is_file() else "")


def told(cpuinfo: str) -> str:
    """Return the same of what a kernel says in /proc/cpuinfo; of a machine without one, what Python knows."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    facts = {(key.strip(), " ".join(sorted(value.split()))) for key, _, value in lines if key.strip() in _TELLING}
    models = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    name = models[0] if models else platform.processor() or arch()
    described = "\n".join(f"{key}: {value}" for key, value in sorted(facts)) or platform.platform()
    return f"{name} {hashlib.sha256(f'{arch()} {described}'.encode()).hexdigest()[:12]}"

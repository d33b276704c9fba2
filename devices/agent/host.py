"""Load, memory, stolen time, swapping and clocks of the machine: its /proc, and /sys of its processors."""

import os
import time
from pathlib import Path
from typing import Iterator

from harness.sensing import Files, Source, UnavailableError, absent, number

_CPUFREQ = "sys/devices/system/cpu/cpufreq"
_MOST_POLICIES = 8  # beside a process, more clocks than these are told by their extremes
_TRIES, _TOGETHER_NS = 10, 1_000_000  # two clocks read within a millisecond
_BUSY, _STEAL = (1, 2, 3, 6, 7), 8  # /proc/stat: user (with guests), nice, system, irq, softirq; steal


def sources(root: Path, files: Files) -> Iterator[Source]:
    """Everything of the machine that changes."""
    yield from _load(root, files)
    yield from _memory(root, files)
    yield from _clocks(root, files)
    for device in sorted((root / "sys/class/devfreq").glob("*")):  # a Jetson's GPU and memory, for one
        yield Source("device_clock", device.name, "gauge", "Hz", number(files, device / "cur_freq"))
    yield Source("suspended", "machine", "gauge", "s", suspended_s)


def cpu_seconds(files: Files, root: Path, *columns: int) -> float:
    """Return CPU seconds in columns of the first line of /proc/stat. Raises OSError, UnavailableError, ValueError."""
    words = files.words(root / "proc/stat")
    if words[:1] != ["cpu"] or len(words) < 9:
        raise UnavailableError("%s does not begin with the times of all CPUs" % (root / "proc/stat"))
    return sum(int(words[column]) for column in columns) / os.sysconf("SC_CLK_TCK")


def busy_seconds(files: Files, root: Path) -> float:
    """CPU seconds that somebody used since boot, guests included, stolen time not."""
    return cpu_seconds(files, root, *_BUSY)


def steal_seconds(files: Files, root: Path) -> float:
    """CPU seconds that a hypervisor gave to others since boot."""
    return cpu_seconds(files, root, _STEAL)


def suspended_s() -> float:
    """How long the device has slept since boot, in s: CLOCK_MONOTONIC stands still then, CLOCK_BOOTTIME goes on.

    Raises UnavailableError when this process was interrupted between the two clocks again and again.
    """
    for _ in range(_TRIES):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if time.clock_gettime_ns(time.CLOCK_MONOTONIC) - before < _TOGETHER_NS:
            return max(0, boot - before) / 1e9
    raise UnavailableError("the two clocks could not be read together")


def _load(root: Path, files: Files) -> Iterator[Source]:
    loadavg = root / "proc/loadavg"
    for column, name in enumerate(("load_average_1min", "load_average_5min", "load_average_15min")):
        read = lambda at=column: float(files.words(loadavg)[at])  # noqa: E731
        yield Source(name, "machine", "gauge", "1", read, brief=column == 0)
    yield Source("runnable", "machine", "gauge", "1", lambda: int(files.words(loadavg)[3].split("/")[0]))
    yield Source("cpu_busy", "machine", "counter", "s", lambda: busy_seconds(files, root))
    yield Source("cpu_steal", "machine", "counter", "s", lambda: steal_seconds(files, root))


def _memory(root: Path, files: Files) -> Iterator[Source]:
    meminfo, vmstat = root / "proc/meminfo", root / "proc/vmstat"
    for sensor, key in (("memory_available", "MemAvailable:"), ("swap_free", "SwapFree:")):
        read = lambda at=key: files.field(meminfo, at) * 1024  # noqa: E731
        yield Source(sensor, "machine", "gauge", "B", read)
    for sensor in ("pswpin", "pswpout", "pgmajfault", "oom_kill"):
        read = lambda at=sensor: files.field(vmstat, at)  # noqa: E731
        yield Source(sensor, "machine", "counter", "1", read, brief=sensor != "oom_kill")


def _clocks(root: Path, files: Files) -> Iterator[Source]:
    """Of each policy what is asked of the hardware (`cpu_clock`) and, where it tells, what it does."""
    policies = sorted((root / _CPUFREQ).glob("policy*"))
    if not policies:
        yield absent("cpu_clock", "cpu", "gauge", "Hz", "no cpufreq policy below %s" % (root / _CPUFREQ))
    few = len(policies) <= _MOST_POLICIES
    for policy in policies:
        scaling, hardware = policy / "scaling_cur_freq", policy / "cpuinfo_cur_freq"
        yield Source("cpu_clock", policy.name, "gauge", "Hz", number(files, scaling, 1000.0), few)
        if hardware.exists():
            yield Source("cpu_clock_hardware", policy.name, "gauge", "Hz", number(files, hardware, 1000.0), few)
    if not few:
        reads = [number(files, policy / "scaling_cur_freq", 1000.0) for policy in policies]
        for scope, extreme in (("lowest", min), ("highest", max)):
            read = lambda of=extreme: of(each() for each in reads)  # noqa: E731
            yield Source("cpu_clock", scope, "gauge", "Hz", read)

"""Hardware counters of this process and its threads, per inference, by `perf_event_open`.

The system call and not the `perf` command: boards seldom have the command, it must fit the kernel, and it would count the
load of the network with its inferences. Counted is user space alone, which `perf_event_paranoid` up to 2 permits.
A counter that shared its register with others is scaled by its share of the time, as perf does.
"""

import ctypes
import errno
import os
import platform
import struct
import time
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

_HARDWARE, _SOFTWARE = 0, 1
EVENTS: Dict[str, Tuple[int, int]] = {  # perf's name -> type and number of linux/perf_event.h
    "instructions": (_HARDWARE, 1),
    "cycles": (_HARDWARE, 0),
    "cache-references": (_HARDWARE, 2),
    "cache-misses": (_HARDWARE, 3),
    "branch-misses": (_HARDWARE, 5),
    "page-faults": (_SOFTWARE, 2),
}
_CALLS = {"x86_64": 298, "aarch64": 241, "armv7l": 364, "armv8l": 364, "riscv64": 241}  # perf_event_open
_DISABLED, _INHERIT, _NO_KERNEL, _NO_HYPERVISOR = 1 << 0, 1 << 1, 1 << 5, 1 << 6
_SIZE = 112  # of struct perf_event_attr, version 5: every kernel since 4.1 knows it
_TIMES = 1 | 2  # PERF_FORMAT_TOTAL_TIME_ENABLED, _RUNNING
_ENABLE, _DISABLE = 0x2400, 0x2401  # ioctl
_PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
_LEAST = 10  # inferences


class Counters:
    """Counters of the calling thread and of every thread that begins after it; at rest until `per_inference`."""

    def __init__(self) -> None:
        self.files: Dict[str, int] = {}
        self.reasons: Dict[str, str] = {}
        for name, (kind, number) in EVENTS.items():
            try:
                self.files[name] = _open(kind, number)
            except OSError as error:
                self.reasons[name] = _cause(error)

    def per_inference(
        self, infer: Callable[[], object], seconds: float
    ) -> Tuple[Dict[str, Optional[float]], Dict[str, str]]:
        """Run for so long, at least 10 inferences after one to warm up; return each counter, null with its reason."""
        infer()
        self._switch(_ENABLE)
        count, end = 0, time.monotonic() + seconds
        while count < _LEAST or time.monotonic() < end:
            infer()
            count += 1
        self._switch(_DISABLE)
        values: Dict[str, Optional[float]] = dict.fromkeys(EVENTS)
        for name, file in self.files.items():
            counted = scaled(os.read(file, 24))
            values[name] = None if counted is None else counted / count
            if counted is None:
                self.reasons[name] = "it never had a register of the CPU to count in: too many counters at once"
        return values, dict(self.reasons)

    def _switch(self, request: int) -> None:
        import fcntl

        for file in self.files.values():
            fcntl.ioctl(file, request, 0)


def scaled(read: bytes) -> Optional[float]:
    """Return what was read of a counter (value, ns enabled, ns running) for the whole time; None where it never ran."""
    value, enabled, running = struct.unpack("=QQQ", read)
    return value * enabled / running if running else None


def attributes(kind: int, number: int) -> bytes:
    """Return a `struct perf_event_attr`: disabled, inherited by later threads, user space alone."""
    flags = _DISABLED | _INHERIT | _NO_KERNEL | _NO_HYPERVISOR
    begin = struct.pack("=IIQQQQQ", kind, _SIZE, number, 0, 0, _TIMES, flags)
    return begin.ljust(_SIZE, b"\0")


def _open(kind: int, number: int) -> int:
    """Raises OSError, ENOSYS where this processor's number of the call is not known here."""
    call = _CALLS.get(platform.machine())
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    library: Any = ctypes.CDLL(None, use_errno=True)
    here = ctypes.c_char_p(attributes(kind, number))
    file = library.syscall(ctypes.c_long(call), here, 0, -1, -1, ctypes.c_ulong(0))
    if file < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(file)


def _cause(error: OSError) -> str:
    """Say why a counter is not to be had, and what helps."""
    if error.errno in (errno.EACCES, errno.EPERM):
        level = _PARANOID.read_text().strip() if _PARANOID.exists() else "unknown"
        return "not permitted: %s is %s; `sudo sysctl kernel.perf_event_paranoid=2` permits it" % (_PARANOID, level)
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
        return "this machine has no such counter (a virtual machine without a PMU, or a kernel without its driver)"
    if error.errno == errno.ENOSYS:
        return "this kernel has no perf_event_open, or its number on %s is not known here" % platform.machine()
    return "perf_event_open: %s" % error.strerror

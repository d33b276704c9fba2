"""One agent at a time on a device: `flock` on `workdir/lock`, its holder's name written in it.

The kernel frees the lock when its holder dies, however it dies; what stands in the file of a free lock means nothing.
This is the device's side; the controller's own reader (`transport.Local.holder`) keeps to the same file.
"""

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any, Dict, Optional

from harness.errors import DeviceError

_PATIENCE_S = 1.0  # somebody who only looks holds the lock for microseconds; a killed holder's lock is freed as fast


def acquire(path: Path) -> int:
    """Take the lock and return its open descriptor, inherited by a fork. Raises DeviceError naming the holder."""
    fd = os.open(str(path), os.O_RDWR | os.O_CREAT, 0o644)
    end = time.monotonic() + _PATIENCE_S
    while not _try(fd, fcntl.LOCK_EX):
        if time.monotonic() > end:
            text = _read(fd)
            os.close(fd)
            raise busy(path, text)
        time.sleep(0.02)
    os.ftruncate(fd, 0)
    return fd


def sign(fd: int, run: str, job: str, pid: int, agent: str) -> None:
    """Write the holder's name into a lock that is held; `agent` is the file name of its bundle."""
    os.pwrite(fd, json.dumps({"run": run, "job": job, "pid": pid, "agent": agent}).encode(), 0)


def holder(path: Path) -> Optional[Dict[str, Any]]:
    """Return who holds the lock ({} if it has not signed yet), or None when it is free."""
    if not path.exists():
        return None
    fd = os.open(str(path), os.O_RDONLY)
    try:
        return None if _try(fd, fcntl.LOCK_SH) else _read(fd)
    finally:
        os.close(fd)


def busy(path: Path, name: Dict[str, Any]) -> DeviceError:
    """The error for a lock that another holds."""
    who = "run %s (job %s, pid %s)" % (name["run"], name["job"], name["pid"]) if name else "another agent"
    return DeviceError("the device is busy: %s is held by %s" % (path, who), "Wait for it, or stop that run.")


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(fd: int) -> Dict[str, Any]:
    try:
        value = json.loads(os.pread(fd, 4096, 0).decode())
        return {key: value[key] for key in ("run", "job", "pid", "agent")}
    except (ValueError, KeyError, TypeError):
        return {}

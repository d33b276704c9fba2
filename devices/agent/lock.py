"""One agent at a time on a device: a lease on `workdir/lock`, its holder's name and a heartbeat written in it.

The lease is a `flock`: the kernel ends it when its holder dies, however it dies; what stands in the file of a free lock
means nothing. The heartbeat is for those who cannot ask the kernel, because they only see the file (over SSH): while it
goes on, the holder lives. This is the device's side; the controller's readers (`transport`) keep to the same file.
"""

import fcntl
import json
import os
import threading
import time
from pathlib import Path
from typing import Any, Dict, Optional

from harness.errors import BusyError

BEAT_S = 5.0
_PATIENCE_S = 1.0  # somebody who only looks holds the lock for microseconds; a killed holder's lock is freed as fast
_NAME = ("run", "job", "agent")  # what a holder has signed with at least, beside its process id
_LONGEST = 200  # characters of a word in a signature
_MOST_PID = 2**31


def acquire(path: Path) -> int:
    """Take the lock and return its open descriptor, inherited by a fork. Raises BusyError naming the holder."""
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


def sign(fd: int, run: str, job: str, pid: int, agent: str, owner: str = "") -> None:
    """Write the holder's name into a lock that is held; `agent` is the file name of its bundle, `owner` who asked."""
    name = {"run": run, "job": job, "pid": pid, "agent": agent, "owner": _printable(owner), "since": int(time.time())}
    _write(fd, name, 0)
    threading.Thread(target=_beat, args=(fd, name), daemon=True).start()


def holder(path: Path) -> Optional[Dict[str, Any]]:
    """Return who holds the lock ({} if it has not signed yet, or not as agents sign), or None when it is free."""
    if not path.exists():
        return None
    fd = os.open(str(path), os.O_RDONLY)
    try:
        return None if _try(fd, fcntl.LOCK_SH) else _read(fd)
    finally:
        os.close(fd)


def busy(path: Path, name: Dict[str, Any]) -> BusyError:
    """The error for a lock that another holds."""
    who = "another agent"
    if name:
        who = "run %s of %s (job %s, pid %s)" % (name["run"], name.get("owner"), name["job"], name["pid"])
    return BusyError(
        "the device is busy: %s is held by %s" % (path, who),
        "Wait for it (--wait), or end that run (--steal).",
    )


def _beat(fd: int, name: Dict[str, Any]) -> None:
    """Count up in the file, every few seconds, as long as this process lives."""
    beat = 0
    while True:
        time.sleep(BEAT_S)
        beat += 1
        _write(fd, name, beat)


def _write(fd: int, name: Dict[str, Any], beat: int) -> None:
    """The text is as long at every beat: whoever reads meanwhile finds one object, old or new."""
    os.pwrite(fd, json.dumps({**name, "beat": "%08d" % beat}).encode(), 0)


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(fd: int) -> Dict[str, Any]:
    try:
        value = json.loads(os.pread(fd, 4096, 0).decode())
    except (ValueError, RecursionError):
        return {}
    return value if _is_signature(value) else {}


def _is_signature(value: Any) -> bool:
    """Whether it is of the types that agents sign with: the file is anybody's to write, and its process id is killed."""
    if not isinstance(value, dict):
        return False
    words = [value.get("owner", ""), *(value.get(key) for key in _NAME)]
    pid = value.get("pid")
    return all(map(_is_plain, words)) and type(pid) is int and 0 < pid < _MOST_PID


def _is_plain(word: Any) -> bool:
    return isinstance(word, str) and word.isprintable() and len(word) <= _LONGEST


def _printable(owner: str) -> str:
    """An owner as a signature may hold it: whatever a user is called, the agent can be named and stopped."""
    return "".join(letter if letter.isprintable() else "?" for letter in owner)[:_LONGEST]

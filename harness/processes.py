"""A child process and all that come of it: found by a mark in their environment, weighed, and ended (Linux: /proc).

A mark is inherited, so those that left their parent, its group and its session are found too. Where there is no /proc
nothing is found, and only the child itself can be ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "HARNESS_CHILD"
_PROC = Path("/proc")
_PR_SET_PDEATHSIG = 1
_ROUNDS = 20  # of ending, where those that are ended start others


def marked() -> tuple[str, dict[str, str]]:
    """Return a new mark and the variable by which children inherit it, behind the marks that this process has itself."""
    mark = secrets.token_hex(8)
    return mark, {MARK: f"{os.environ.get(MARK, '')}:{mark}"}


def members(mark: str) -> Iterator[int]:
    """Give the processes that carry a mark, zombies left out."""
    sought = mark.encode()
    for folder in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            if sought in (folder / "environ").read_bytes():
                yield int(folder.name)


def memory_bytes(mark: str) -> int:
    """Return the memory that those with a mark hold by themselves: not the files that they have mapped, which can be dropped."""
    return sum(map(_own_bytes, members(mark)))


def held_bytes() -> int:
    """Return the memory that this process itself holds, in the same sense."""
    return _own_bytes(os.getpid())


def _own_bytes(pid: int) -> int:
    try:
        said = (_PROC / str(pid) / "status").read_text()
    except OSError:
        return 0
    wanted = ("RssAnon:", "RssShmem:")  # in kB
    return 1024 * sum(int(line.split()[1]) for line in said.splitlines() if line.startswith(wanted))


def end(mark: str) -> None:
    """Kill all that carry a mark, until none is left."""
    for _ in range(_ROUNDS):
        found = list(members(mark))
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent, or the thread of it that started this one, ends (Linux)."""
    with contextlib.suppress(OSError, AttributeError):  # elsewhere a child ends when it finds nobody to speak to
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def total_memory_bytes() -> int:
    """Return the memory that this process may use at most: the machine's, or its container's."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # no such container; "max"
            found.append(int(Path(file).read_text()))
    return min(found)


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""What making one artifact may take, and how many are made at a time."""

from __future__ import annotations

import os

from harness import processes
from harness.child import Bounds
from harness.errors import UsageError

LIMIT_S = 900.0  # for one artifact; the slowest that were seen took 45 s
ADVICE = "set HARNESS_BUILD_LIMIT_S (seconds) or HARNESS_BUILD_LIMIT_GB (memory) higher, or name another runtime or precision"
_LIKELY = {"S": LIMIT_S, "GB": 8.0}
_UNITS = {"S": "seconds", "GB": "GB of memory"}
_WORKER_BYTES = 4 * 2**30  # that a converter may well want
_MOST_WORKERS = 4


def of_build(share_of: int) -> Bounds:
    """Return what one artifact may take, of each of `share_of` workers. Raises UsageError for a setting that is no number.

    HARNESS_BUILD_LIMIT_S (900) is in seconds, HARNESS_BUILD_LIMIT_GB in GB of memory, else a worker's part of all that is
    here, and no more than half.
    """
    share = processes.total_memory_bytes() / max(2, share_of)
    return Bounds(_limit("S", LIMIT_S), int(_limit("GB", share / 1e9) * 1e9))


def said() -> dict[str, str]:
    """Return the settings that this user makes, as they stand."""
    names = [f"HARNESS_BUILD_LIMIT_{unit}" for unit in _LIKELY]
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def of_exam(artifact: Bounds) -> Bounds:
    """Return what running an artifact for its accuracy may take, in a process beside the one that made it.

    Half of the silence and half of the memory that this process leaves: it is ended before whoever watches both ends both.
    """
    return Bounds(artifact.seconds / 2, max(0, artifact.memory_bytes - processes.held_bytes()) // 2)


def workers() -> int:
    """Return how many artifacts are made at a time: as many as there are cores, and room for."""
    room = processes.total_memory_bytes() // _WORKER_BYTES
    return max(1, min(processes.cores(), room, _MOST_WORKERS))


def _limit(unit: str, default: float) -> float:
    name = f"HARNESS_BUILD_LIMIT_{unit}"
    said = os.environ.get(name, "")
    try:
        limit = float(said) if said else default
    except ValueError:
        limit = 0.0
    if not 0 < limit < float("inf"):
        hint = f"Say {name}={_LIKELY[unit]:g} ({_UNITS[unit]}), or unset it."
        raise UsageError(f'{name} must be a number above 0, it is "{said}"', hint)
    return limit

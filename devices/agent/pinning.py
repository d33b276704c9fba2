"""The CPUs that a measured process may run on: `--option cpus=2,3`, for every runtime alike."""

import contextlib
import os
from typing import Dict, Iterator

from harness import wire


class NotPinnedError(Exception):
    """The device does not have the CPUs that were asked for, or does not let us have them."""

    cause = "setting-ignored"


def pin(options: Dict[str, str]) -> None:
    """Keep this process, and the threads that it will start, on the CPUs that the options name. Raises NotPinnedError."""
    asked = options.get(wire.CPUS)
    if asked is not None:
        _pin(asked)


@contextlib.contextmanager
def kept_on(cpus: str) -> Iterator[None]:
    """Keep this thread, and those that it starts, on `cpus` inside the block; "" is wherever it is. Raises NotPinnedError."""
    before = os.sched_getaffinity(0)
    try:
        if cpus:
            _pin(cpus)
        yield
    finally:
        if cpus:
            os.sched_setaffinity(0, before)


def possible(cpus: str) -> bool:
    """Whether the device has the CPUs and lets us have them now."""
    with contextlib.suppress(NotPinnedError), kept_on(cpus):
        return True
    return False


def _pin(asked: str) -> None:
    usable = in_force()
    try:
        os.sched_setaffinity(0, {int(number) for number in asked.split(",")})
    except (OSError, ValueError) as error:
        raise NotPinnedError("cpus %s: %s; usable here are %s" % (asked, error, usable)) from None
    if in_force() != asked:  # the kernel leaves out what a container may not use
        raise NotPinnedError("cpus: asked for %s, in force is %s" % (asked, in_force()))


def in_force() -> str:
    """The CPUs that this process may run on, as the kernel says."""
    return ",".join(map(str, sorted(os.sched_getaffinity(0))))

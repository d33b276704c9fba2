"""Shared by sensors: what an error means for a reading, as a status and a reason in words."""

from typing import Callable, Tuple

from harness.sensing import AbsentError, Taken, UnavailableError


class StaleError(Exception):
    """A number that does not change though it must, or that cannot be a measurement: `stale`."""


FAILURES = (OSError, AbsentError, UnavailableError, StaleError)


def of(error: Exception) -> Tuple[str, str]:
    """Return the status and the reason of one of FAILURES."""
    reason = str(error)
    if isinstance(error, OSError) and error.strerror:
        reason = "%s: %s" % (error.filename, error.strerror) if error.filename else error.strerror
    if isinstance(error, AbsentError):
        return "unsupported", reason
    if isinstance(error, StaleError):
        return "stale", reason
    return ("permission" if isinstance(error, PermissionError) else "error"), reason


def taken(channel: int, read: Callable[[], float]) -> Taken:
    """Return a channel's number, or why there is none."""
    try:
        return Taken(channel, read())
    except FAILURES as error:
        return Taken(channel, None, *of(error))


def probed(look: Callable[[], Tuple[str, str]]) -> Tuple[str, str]:
    """Return what `look` says, or what its error means; an option that is wrong is an error too."""
    try:
        return look()
    except ValueError as error:
        return "error", str(error)
    except FAILURES as error:
        return of(error)

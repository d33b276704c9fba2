"""Shared by sensors: what a sensor says of itself, found by opening it and reading once."""

from typing import Any, Callable, ContextManager, Mapping, Tuple

from harness import sensing


def probe(open_: Callable[[Mapping[str, Any]], ContextManager[Any]], options: Mapping[str, Any]) -> Tuple[str, str]:
    """Return status and reason of a sensor whose session tells its channels in words (`describe`). Reads for real, once.

    The status is that of the first channel that is a total. Raises nothing for what a device or an option may do.
    """
    try:
        with open_(options) as session:
            totals = [place for place, channel in enumerate(session.channels) if channel.total]
            taken = {each.channel: each for each in session.read()}
            first = taken[totals[0]]
            return first.status, first.reason or session.describe()
    except sensing.AbsentError as error:
        return "unsupported", str(error)
    except PermissionError as error:
        return "permission", denied(error)
    except (OSError, sensing.UnavailableError, ValueError) as error:
        return "error", str(error)


def denied(error: PermissionError) -> str:
    """Say what may not be read, and the next move."""
    if not error.filename:
        return str(error)
    return "%s: %s. Let this user read it: `sudo chmod a+r %s`" % (error.filename, error.strerror, error.filename)

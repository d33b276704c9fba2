"""A program of yours on the device that prints readings of any meter.

The program runs on the device itself, as the user that the agent runs as, and takes some of its power.

    sensors:
      command: {program: [/usr/local/bin/meter, --watts], unit: W, scope: dc_input}
      command: {program: [meter, --json], mode: poll, period_s: 2, unit: mWh, key: output.energy, scope: wall}

A line is a number with a unit (`12.34 W`, `8123 mW`, `5.2e3 J`) or JSON with `key`. A line in another unit than `unit`
is refused. Traps: a program that does not flush gives its lines in bursts, whose times are not known (`stdbuf -oL meter`
helps many); the least window is that of a meter of 10 Hz: give a slow one longer windows. The program and all that it
started in its process group are ended with the session.
"""

from typing import TYPE_CHECKING, Any, ContextManager, Mapping, Tuple, Union

if TYPE_CHECKING:
    from devices.sensors import _command
else:
    import _command

WINDOW_S = (5.0, 20.0)
OPTIONS = _command.OPTIONS
WHERE = "device"


def probe(options: Mapping[str, Any]) -> Tuple[str, str]:
    """Return a status and its reason: the program has run until it gave one reading."""
    return _command.probed("command", options)


def open(options: Mapping[str, Any]) -> "ContextManager[Union[_command.Stream, _command.Poll]]":
    """Give a session. Raises AbsentError, PermissionError, UnavailableError; ValueError for an option."""
    return _command.opened("command", options)

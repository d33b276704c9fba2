"""A program of yours on this machine that prints readings of a meter wired to the device.

As `command`, but run where `harness` runs: a Joulescope, a Monsoon, an Otii, a laboratory supply. Its times are moved to the
device's clock.

    sensors:
      controller_command: {program: [/usr/local/bin/meter, --watts], unit: W, scope: dc_input}
      controller_command: {program: [meter, --json], mode: poll, period_s: 2, unit: mWh, key: output.energy, scope: wall}

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
WHERE = "controller"


def probe(options: Mapping[str, Any]) -> Tuple[str, str]:
    """Return a status and its reason: the program has run until it gave one reading."""
    return _command.probed("controller_command", options)


def open(options: Mapping[str, Any]) -> "ContextManager[Union[_command.Stream, _command.Poll]]":
    """Give a session. Raises AbsentError, PermissionError, UnavailableError; ValueError for an option."""
    return _command.opened("controller_command", options)

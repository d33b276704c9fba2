"""A meter that is not attached, for the tests of what a device says of its sensors."""

import _bus

from harness.sensing import AbsentError

WINDOW_S = (0.1, 0.3)
OPTIONS = {"port": "where it would be attached"}


def probe(options):
    status, reason = _bus.nothing()
    return status, reason + (" to " + options["port"] if "port" in options else "")


def open(options):
    raise AbsentError(_bus.nothing()[1])

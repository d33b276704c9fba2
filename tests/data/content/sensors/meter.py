"""A meter that is not attached, for the tests of what a device says of its sensors."""

import _bus


def probe():
    return _bus.nothing()


def open(options):
    raise OSError("nothing is attached")

"""A sensor whose own code goes wrong."""

WINDOW_S = (0.1, 0.3)
OPTIONS = {}


def probe(options):
    raise OSError("no such bus")


def open(options):
    raise OSError("no such bus")

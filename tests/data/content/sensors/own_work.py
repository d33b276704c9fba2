"""A meter that sees the work of the process that reads it: 2 J a second, and 3 J for each second of CPU time.

sensors:
  own_work: {}
"""

import contextlib
import time

from harness import wire
from harness.sensing import Taken

WINDOW_S = (0.1, 0.3)
OPTIONS = {}


def probe(options):
    return "ok", "total of its own work"


@contextlib.contextmanager
def open(options):
    yield Session()


class Session:
    period_s = 0.1
    channels = (wire.Channel("own_work", "total", "module", "energy_counter", True, 0.1),)

    def read(self):
        now = time.monotonic_ns()
        return (Taken(0, 2 * now / 1e9 + 3 * time.process_time(), t_ns=now),)

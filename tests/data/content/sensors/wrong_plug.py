"""A plug that the controller reads, with another thing than the device in it: 7 W whatever happens.

sensors:
  wrong_plug: {}
"""

import contextlib
import time

from harness import wire
from harness.sensing import Taken

WHERE = "controller"
WINDOW_S = (0.1, 0.3)
OPTIONS = {}


def probe(options):
    return "ok", "total of a plug"


@contextlib.contextmanager
def open(options):
    yield Session()


class Session:
    period_s = 0.1
    channels = (wire.Channel("wrong_plug", "total", "wall", "instant_power", True, 0.1, 0.1),)

    def read(self):
        now = time.monotonic_ns()
        return (Taken(0, 7.0, t_ns=now),)

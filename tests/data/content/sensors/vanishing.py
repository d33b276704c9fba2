"""A meter that goes away: 10 W for a while, then gaps, or worse.

sensors:
  vanishing: {after_s: 0.5, how: gaps}
"""

import contextlib
import os
import signal
import time

from harness import wire
from harness.sensing import Taken, UnavailableError

WINDOW_S = (0.1, 0.3)
OPTIONS = {"after_s": "for how long it gives numbers, s", "how": "gaps, raise, hang or die"}


def probe(options):
    return "ok", "total, for a while"


@contextlib.contextmanager
def open(options):
    yield Session(options)


class Session:
    channels = (wire.Channel("vanishing", "total", "module", "instant_power", True, 0.005),)
    period_s = 0.005

    def __init__(self, options):
        self.how, self.after_s, self.end = options["how"], options["after_s"], None

    def read(self):
        self.end = self.end or time.monotonic() + self.after_s  # since it was read first
        if time.monotonic() < self.end:
            return (Taken(0, 10.0),)
        if self.how == "raise":
            raise UnavailableError("it was pulled out")
        if self.how == "hang":
            time.sleep(600)
        if self.how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return (Taken(0, None, "error", "it was pulled out"),)

"""A synthetic meter: a wave-form of the monotonic clock, whose true integral a test can compute.

sensors:
  waves: {shape: sine, mean_w: 10, amplitude_w: 5, frequency_hz: 1}
"""

import contextlib
import math
import time

from harness import wire
from harness.sensing import Taken

WINDOW_S = (0.1, 0.3)
LEAD_S = 0.1
OPTIONS = {
    "shape": "constant or sine",
    "mean_w": "mean, W",
    "amplitude_w": "of the sine, W",
    "frequency_hz": "of the sine, Hz",
    "period_s": "how often it is read, s",
    "resolution_w": "smallest step, W",
}


def probe(options):
    return "ok", "total of a wave"


@contextlib.contextmanager
def open(options):
    if options.get("shape", "constant") not in ("constant", "sine"):
        raise ValueError(f"shape must be constant or sine, not {options['shape']!r}")
    yield Session(options)


def power_w(options, t_ns):
    """The wave at a moment, W."""
    swing = 0.0
    if options.get("shape") == "sine":
        turns = math.fmod(t_ns * 1e-9 * options["frequency_hz"], 1)
        swing = options["amplitude_w"] * math.sin(2 * math.pi * turns)
    return options.get("mean_w", 10.0) + swing


class Session:
    def __init__(self, options):
        self.options = options
        self.period_s = options.get("period_s", 0.005)
        self.resolution_w = options.get("resolution_w", 0.0)
        self.channels = (
            wire.Channel("waves", "total", "module", "instant_power", True, self.period_s, self.resolution_w),
        )

    def read(self):
        now = time.monotonic_ns()
        value = power_w(self.options, now)
        if self.resolution_w:
            value = round(value / self.resolution_w) * self.resolution_w
        return (Taken(0, value, t_ns=now),)

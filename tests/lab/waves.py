"""A power chip's files that follow a wave-form whose true integral is known: python waves.py FOLDER LOG, ended by SIGTERM.

FOLDER is that of an INA3221 in a virtual device's /sys. As the chip does, a new voltage and current stand in the files of
channel 1 about every 6.6 ms, in its steps (8 mV; 40 uV over 5 mOhm), and both sag and noise are in them. Power is a sine,
a step now and then, and noise; from one conversion to the next it stays as it is, so that what LOG holds, every moment and
its power unrounded, is the whole truth. A device has this machine's monotonic clock, so times are the device's too.

Files are written in place, with as many characters each time: a reader meets neither an empty file nor half a number.
"""

from __future__ import annotations

import math
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

CYCLE_S = 0.0066  # three conversions of 2 x 1.1 ms
VOLT_LSB_MV, CURRENT_LSB_MA = 8, 8
SOURCE_V, SOURCE_OHM = 5.02, 0.03
ROW = struct.Struct("<qd")  # when, ns; power from then on, W


class Converted(NamedTuple):
    """What the chip makes of a power: millivolts and milliamperes in its steps."""

    millivolts: int
    milliamperes: int


def power_w(at_s: float, noise: float) -> float:
    """The wave at a moment: a sine of 1.2 W around 6.5 W, 0.8 W more for 1.9 of every 4.3 s, noise of 0.03 W."""
    step = at_s % 4.3 < 1.9
    return 6.5 + 1.2 * math.sin(2 * math.pi * 0.73 * at_s) + 0.8 * step + 0.03 * noise


def converted(watts: float) -> Converted:
    """Voltage and current of a supply that sags under this power, rounded as the chip rounds."""
    amperes = (SOURCE_V - math.sqrt(SOURCE_V**2 - 4 * SOURCE_OHM * watts)) / (2 * SOURCE_OHM)
    millivolts = 1e3 * (SOURCE_V - SOURCE_OHM * amperes)
    return Converted(_step(millivolts, VOLT_LSB_MV), _step(1e3 * amperes, CURRENT_LSB_MA))


def _step(value: float, least: int) -> int:
    return round(value / least) * least


def write(folder: Path, log: Path) -> NoReturn:
    """Be the chip until ended; its files may be moved meanwhile."""
    volt, curr = (os.open(folder / name, os.O_WRONLY) for name in ("in1_input", "curr1_input"))
    chance, following = random.Random(0), time.monotonic()
    with log.open("wb") as out:
        while True:
            watts = power_w(time.monotonic(), chance.gauss(0, 1))
            found = converted(watts)
            os.pwrite(volt, b"%04d\n" % found.millivolts, 0)
            os.pwrite(curr, b"%04d\n" % found.milliamperes, 0)
            out.write(ROW.pack(time.monotonic_ns(), watts))
            following = max(time.monotonic(), following + CYCLE_S)  # what was missed is not made up for
            time.sleep(max(0.0, following - time.monotonic()))


@contextmanager
def chip(folder: Path, log: Path) -> Iterator[None]:
    """Files that follow the wave inside the block; then the log is whole."""
    with subprocess.Popen([sys.executable, __file__, str(folder), str(log)]) as process:
        try:
            yield
            assert process.poll() is None, "it ended by itself"
        finally:
            process.terminate()


class Truth:
    """What a wave was, from its log."""

    def __init__(self, log: Path) -> None:
        rows = np.fromfile(log, dtype=[("t_ns", "<i8"), ("watts", "<f8")])
        self.t_ns: npt.NDArray[np.int64] = rows["t_ns"]
        self.watts: npt.NDArray[np.float64] = rows["watts"]
        steps = np.diff(self.t_ns) / 1e9 * self.watts[:-1]
        self._joules = np.concatenate(((0.0,), np.cumsum(steps)))

    def joules(self, start_ns: int, end_ns: int) -> float:
        """The true integral of power over a stretch, J; each power lasts until the next. Raises ValueError outside the log."""
        return self._until(end_ns) - self._until(start_ns)

    def _until(self, t_ns: int) -> float:
        row = int(np.searchsorted(self.t_ns, t_ns, side="right")) - 1
        if not 0 <= row < self.t_ns.size - 1:
            raise ValueError(f"{t_ns} ns is not within the wave")
        return float(self._joules[row] + (t_ns - self.t_ns[row]) / 1e9 * self.watts[row])

    def cycle_s(self) -> float:
        """The median time between two conversions."""
        return float(np.median(np.diff(self.t_ns))) / 1e9


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # closes the log
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))  # a chip waits for no processor
    write(Path(sys.argv[1]), Path(sys.argv[2]))

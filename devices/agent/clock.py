"""The device's clock for whoever asks: a line in, the same line with the device's time back, until nobody asks any more.

Started once and kept: starting a process takes far longer than what is to be known. It sleeps between two lines.
"""

import json
import os
import sys
import time

from harness import sensing

_MOST_BYTES = 64  # of a line: a number


def serve() -> None:
    """Say {"boot_id"}, then for each line that comes "<line> <received> <answered>", monotonic ns, until the input ends."""
    boot = sensing.text(sensing.sysroot() / "proc/sys/kernel/random/boot_id")
    try:
        os.write(1, json.dumps({"boot_id": boot}).encode() + b"\n")
        while True:
            line = sys.stdin.buffer.readline(_MOST_BYTES)
            received = time.monotonic_ns()
            if not line.endswith(b"\n"):  # the end, or no line of ours
                return
            word = line.strip()
            os.write(1, b"%s %d %d\n" % (word, received, time.monotonic_ns()))
    except BrokenPipeError:  # who asked is gone
        return

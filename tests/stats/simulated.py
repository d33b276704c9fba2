"""Processes as a device gives them, simulated."""

import math

import numpy as np

from harness import wire
from harness.stats import Process

PROTOCOL = wire.Protocol()
ALPHA = PROTOCOL.alpha / len(PROTOCOL.looks)


def process(latency_ns, case="a" * 16, block=0, replicate=0, attempt=0):
    return Process(case, block, replicate, attempt, np.atleast_1d(latency_ns))


def simulate(rng, blocks, cases, replicates=3, noise=0.04, drift=0.3, samples=5):
    """Fresh processes of cases with true latencies `cases` (ns, the first is the reference), interleaved in blocks.

    A random walk shared by a block's processes stands for heat and neighbours; each process has an effect of its own;
    samples within a process are autocorrelated and have a long right tail.
    """
    walk = np.cumsum(rng.normal(0, drift / math.sqrt(blocks), blocks))
    made = {name: [] for name in cases}
    for block in range(blocks):
        for number, (name, latency) in enumerate(cases.items()):
            for replicate in range(replicates if number == 0 else 1):
                level = latency * math.exp(walk[block] + rng.normal(0, noise))
                tail = rng.exponential(0.002, samples).cumsum()
                made[name].append(Process(name, block, replicate, 0, level * (1 + tail)))
    return made

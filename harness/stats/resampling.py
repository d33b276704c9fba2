"""Whole blocks drawn again with replacement: what varies together in a block stays together."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from harness.stats.processes import Floats

BLOCKS = 20  # from so many on; with fewer a bootstrap's intervals are too narrow (Student's t instead)


def draws(values: Floats, blocks: int, times: int) -> npt.NDArray[np.int64]:
    """Return how often each of `blocks` blocks is drawn, one row per resample: (times, blocks).

    The seed comes from `values`: equal data give equal intervals, on every machine.
    """
    seed = hashlib.sha256(np.ascontiguousarray(values, dtype="<f8").tobytes()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(seed[:16], "little")))
    drawn = generator.integers(0, blocks, (times, blocks)) + blocks * np.arange(times)[:, None]
    return np.bincount(drawn.ravel(), minlength=times * blocks).reshape(times, blocks)


def medians(values: Floats, counts: npt.NDArray[np.int64]) -> Floats:
    """Return the median of `values` (n), each taken `counts` times: (resamples, n) to (resamples); none is empty."""
    order = np.argsort(values, kind="stable")
    reached, ordered = np.cumsum(counts[:, order], axis=1), values[order]
    total = reached[:, -1:]
    lower, upper = (np.argmax(reached >= rank, axis=1) for rank in ((total + 1) // 2, total // 2 + 1))
    middle: Floats = (ordered[lower] + ordered[upper]) / 2
    return middle

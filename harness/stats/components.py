"""Where the variance of process medians arises: between processes of one block, and between blocks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from harness.records import Components
from harness.stats.processes import Process, last_attempts


def components(processes: Iterable[Process]) -> Components | None:
    """Return the variance components of the log medians of one case (a reference with replicates), last attempts only.

    One-way random-effects analysis of variance with blocks as groups, of unequal sizes r_b if need be:

        process^2 = MS(within),  block^2 = max(0, MS(between) - MS(within)) / r_0,  r_0 = (N - sum r_b^2 / N) / (blocks - 1)

    (Searle, Casella & McCulloch, Variance Components, 1992, 3.6). None below two blocks, or when no block holds two
    processes. Raises ValueError when processes are of several cases.
    """
    counted = last_attempts(processes)
    if len({process.case_id for process in counted}) > 1:
        raise ValueError("variance components need processes of one case")
    blocks: dict[int, list[float]] = defaultdict(list)
    for process in counted:
        blocks[process.block].append(process.log_median)
    sizes, number = np.array([len(values) for values in blocks.values()], dtype=np.float64), len(counted)
    if len(blocks) < 2 or number == len(blocks):
        return None
    means = np.array([np.mean(values) for values in blocks.values()])
    overall = float(sizes @ means) / number
    within = sum(float(np.var(values)) * len(values) for values in blocks.values()) / (number - len(blocks))
    between = float(sizes @ (means - overall) ** 2) / (len(blocks) - 1)
    per_block = (number - float(sizes @ sizes) / number) / (len(blocks) - 1)
    variance = max(0.0, between - within) / per_block
    return Components(math.sqrt(within), math.sqrt(variance), number, len(blocks))

"""Readings of a meter as arithmetic takes them, and what a window came to: joules, or why there are none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness import wire
from harness.stats.processes import Floats


@dataclass(frozen=True)
class Drawn:
    """The energy of a window of `seconds`, J. `bias_j`: at most so far off, with one sign in all windows of a case;
    `quantum_j` and `edge_j`: standard uncertainties of rounding and of the edges; `coverage` a fraction.
    """

    energy_j: float
    seconds: float
    coverage: float
    bias_j: float = 0.0
    quantum_j: float = 0.0
    edge_j: float = 0.0

    @property
    def power_w(self) -> float:
        """Mean power."""
        return self.energy_j / self.seconds


@dataclass(frozen=True)
class Blank:
    """A window without a figure: uncovered, too-short, or what its sensor said (stale, permission, error, unsupported).

    Reasons hold no numbers of one window, so that those of several can be counted.
    """

    status: str
    reason: str
    coverage: float = 0.0


@dataclass(frozen=True, eq=False)
class Readings:
    """A trace for arithmetic. `bound_s`: by how much its times may be off."""

    trace: wire.Trace
    bound_s: float = 0.0

    @cached_property
    def at_ns(self) -> npt.NDArray[np.int64]:
        """Times of the readings."""
        return np.asarray(self.trace.t_ns, dtype=np.int64)

    @cached_property
    def values(self) -> Floats:
        """The readings in the unit of the channel."""
        return np.asarray(self.trace.values, dtype=np.float64)

    @cached_property
    def spacing_s(self) -> float:
        """The median time from one reading to the next; infinite below two."""
        return float(np.median(np.diff(self.at_ns))) / 1e9 if self.at_ns.size > 1 else math.inf

    @property
    def period_s(self) -> float:
        """The nominal period: how often a new value can be expected."""
        return max(self.spacing_s, self.trace.channel.update_s)

"""Means of several quantities over the same examples, and how sure their differences are: in constant memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.compress.ranking import lowest
from harness.errors import TrainError
from harness.records import Choice


class Paired:
    """Running means and covariances of what `names` name, one column each, by batches (Chan, Golub & LeVeque 1979)."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.rows = 0
        self._mean = np.zeros(len(self.names))
        self._products = np.zeros((len(self.names),) * 2)  # of deviations from the mean

    def add(self, values: NDArray[np.float64]) -> None:
        """Take in rows of shape (rows, names)."""
        rows, mean = len(values), values.mean(axis=0)
        apart, total = mean - self._mean, self.rows + rows
        own = values - mean
        self._products += own.T @ own + np.outer(apart, apart) * (self.rows * rows / total)
        self._mean += apart * (rows / total)
        self.rows = total

    @property
    def means(self) -> dict[str, float]:
        """The mean of each. Raises TrainError where one is not finite: the network's weights are not."""
        found = dict(zip(self.names, self._mean.tolist(), strict=True))
        for name, mean in found.items():
            if not math.isfinite(mean):
                raise TrainError(f"{name}: {mean} was measured", "Training diverged; try another --seed or --schedule.")
        return found

    def error(self, one: str, other: str) -> float | None:
        """Standard error of the difference of two means, paired by rows; None below two rows."""
        if self.rows < 2:
            return None
        i, j = self.names.index(one), self.names.index(other)
        products = self._products[i, i] + self._products[j, j] - 2 * self._products[i, j]
        return math.sqrt(max(0.0, products) / (self.rows - 1) / self.rows)


def choose_lowest(measured: Paired, count: int, setting: float | None = None) -> Choice | None:
    """Choose the `count` of least mean, with the standard error of the gap between what goes and what stays."""
    means = measured.means
    ranked = sorted(means, key=lambda name: means[name])
    error = measured.error(ranked[count - 1], ranked[count]) if len(ranked) > count else None
    return lowest(means, count, error, setting)

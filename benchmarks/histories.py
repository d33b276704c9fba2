"""Histories of a lab as nights leave them, simulated, where the truth is known.

A night's value, on the log scale, is

    level + state(night) + spike(night) + error(run)

`state` is the device that night, AR(1), shared in part by all series of a device; `error` the run's own, t with 6 degrees of
freedom; both together have the standard deviation `sd`. A re-run of the same night has the same state, an error of its own,
and only those spikes that last. Where the figures come from: sixteen equal calibration jobs on one machine
(benchmarks/data/noise-*.csv.gz) differ, case by case, by 0.32 % (quiet) and 0.42 % (loaded), 0.14 and 0.33 % of it common to
all cases of the job with a lag-1 autocorrelation of 0.1 and 0.7, the rest with a kurtosis of t with 6 degrees of freedom; one
process in twenty is 15 to 27 % slower as a whole (docs/experiments.md). What a board does from night to night in a room of
its own has not been measured here: hence 0.5, 1 and 2 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
DEVICES = 5


@dataclass(frozen=True)
class World:
    """How nights err: `sd` of a night's value (log), of which the share `within` of the variance is the run's own error.

    `rho`: of the state from night to night; `shared`: the share of its variance common to a device. `spikes`: the share of
    nights that are slower by `spike` on average (exponential), the share `lasting` of them in a re-run too. `missing`: nights
    that did not arrive; `away`: nights on which a device goes away, for `days` on average. `contended`: nights marked so,
    slower as spikes are.
    """

    sd: float = 0.01
    within: float = 0.5
    rho: float = 0.5
    shared: float = 0.5
    spikes: float = 0.01
    spike: float = 0.10
    lasting: float = 0.5
    missing: float = 0.05
    away: float = 0.003
    days: float = 5.0
    contended: float = 0.02
    freedom: float = 6.0

    @property
    def error(self) -> float:
        """Standard deviation of a run's own error: the standard error that it tells of itself."""
        return self.sd * self.within**0.5


@dataclass(frozen=True)
class Year:
    """Log values [series, nights]: of the night's run and of a re-run; NaN where nothing arrived. `usable`: not contended."""

    world: World
    first: Floats
    again: Floats
    usable: Bools
    device: npt.NDArray[np.int64]


def step(nights: int, at: int, size: float) -> Floats:
    """Log levels that rise by the fraction `size` at a night."""
    return np.where(np.arange(nights) >= at, np.log1p(size), 0.0)


def drift(nights: int, at: int, size: float, over: int) -> Floats:
    """Log levels that rise evenly over so many nights to the fraction `size`, and stay; the first night that moves is
    `at`."""
    return np.log1p(size) * np.clip((np.arange(nights) - at + 1) / over, 0.0, 1.0)


def simulate(rng: np.random.Generator, world: World, levels: Floats, devices: int = DEVICES) -> Year:
    """Nights at these log levels [series, nights], series dealt to the devices in turn."""
    shape = levels.shape
    device = np.arange(shape[0]) % devices
    state = _states(rng, world, shape, device, devices)
    spike = np.where(rng.random(shape) < world.spikes, rng.exponential(world.spike, shape), 0.0)
    lasts = spike * (rng.random(shape) < world.lasting)
    contended = rng.random(shape) < world.contended
    first = (
        levels
        + state
        + spike
        + _errors(rng, world, shape)
        + np.where(contended, rng.exponential(world.spike, shape), 0.0)
    )
    gone = (rng.random(shape) < world.missing) | _away(rng, world, shape[1], devices)[device]
    again = levels + state + lasts + _errors(rng, world, shape)
    return Year(world, np.where(gone, np.nan, first), np.where(gone, np.nan, again), ~contended, device)


def _states(
    rng: np.random.Generator, world: World, shape: tuple[int, ...], device: Bools | npt.NDArray[np.int64], devices: int
) -> Floats:
    sd = world.sd * (1 - world.within) ** 0.5
    common, own = (_ar(rng, world.rho, size) for size in ((devices, shape[1]), shape))
    states: Floats = sd * (world.shared**0.5 * common[device] + (1 - world.shared) ** 0.5 * own)
    return states


def _ar(rng: np.random.Generator, rho: float, shape: tuple[int, ...]) -> Floats:
    start = 50  # until the first value is forgotten
    fresh = rng.normal(0, (1 - rho**2) ** 0.5, (shape[0], shape[1] + start))
    series: Floats = lfilter([1], [1, -rho], fresh, axis=1)[:, start:]
    return series


def _errors(rng: np.random.Generator, world: World, shape: tuple[int, ...]) -> Floats:
    scale = world.error / (world.freedom / (world.freedom - 2)) ** 0.5
    errors: Floats = scale * rng.standard_t(world.freedom, shape)
    return errors


def _away(rng: np.random.Generator, world: World, nights: int, devices: int) -> Bools:
    gone = np.zeros((devices, nights), dtype=bool)
    for row, night in zip(*np.nonzero(rng.random(gone.shape) < world.away), strict=True):
        gone[row, night : night + 1 + rng.poisson(world.days)] = True
    return gone

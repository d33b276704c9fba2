"""Is energy right, and do its intervals hold the truth? Wave-forms whose integral is known. `python -m benchmarks.energy`.

Each meter is simulated at its real rate: when its value becomes a new one, over how long it averages, how it rounds, how often
and how unevenly it is read. Its windows are as long as the shortest that its file allows, their phase is random. Power is made
of pulses (the inferences of a paced pass; closed passes have none), of noise that follows itself, of drift from block to
block, of processes that differ; it steps at both edges of a window, as a pass begins and ends in idleness.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from scipy.signal import lfilter

from benchmarks.figures import Figure, table
from devices.agent.sampler import off_beat
from harness import wire
from harness.records import Interval
from harness.stats import Floats
from harness.stats.energy import WINDOWS, Share, interval, net, saving
from harness.stats.readings import Drawn, Readings
from harness.stats.windows import energy

BAR, ACCURATE = 0.93, 0.005
_GRID_S, _LONG_GRID_S = 0.01, 0.1  # of the noise, in windows of less and more than 100 s
_MARGIN_S = 10.0  # how far a pass reaches beyond its window


@dataclass(frozen=True)
class Meter:
    """A sensor: its channel, how often it is read, the window, over how long a new instant value averages (all s).

    `pushed`: it says each new value by itself, at once; `remote`: the controller reads it, which keeps out of no beat;
    `jitter`: of the times of reading, in periods.
    """

    channel: wire.Channel
    poll_s: float
    window_s: float
    conversion_s: float = 0.0
    jitter: float = 0.05
    lead_s: float = 0.5
    pushed: bool = False
    remote: bool = False


def _meter(name: str, scope: str, kind: str, update_s: float, step: float, average_s: float = 0.0) -> wire.Channel:
    return wire.Channel(name, "total", scope, kind, True, update_s, step, average_s)


METERS = {
    "ina3221": Meter(_meter("ina3221", "module", "instant_power", 0.0066, 0.04), 0.02, 5, 0.0066),
    "ina3221, 100 mW": Meter(_meter("ina3221", "module", "averaged_power", 0.0704, 0.1, 0.0704), 0.02, 5),
    "tegrastats": Meter(_meter("tegrastats", "module", "averaged_power", 0.1, 0.04, 0.1), 0.1, 20, pushed=True),
    "pmic": Meter(_meter("pmic", "board_partial", "instant_power", 0.0, 0.0), 0.1, 45, 0.005),
    "nvml counter": Meter(_meter("nvml", "gpu", "energy_counter", 0.1, 0.001), 0.1, 10, lead_s=1.5),
    "nvml average": Meter(_meter("nvml", "gpu", "averaged_power", 0.1, 0.001, 1.0), 0.1, 30, lead_s=1.5),
    "rapl": Meter(_meter("rapl", "package", "energy_counter", 0.001, 6.1e-5), 0.1, 5),
    "shelly counter": Meter(_meter("shelly", "wall", "energy_counter", 1.0, 3.6), 1.0, 300, lead_s=2, remote=True),
    "shelly power": Meter(_meter("shelly", "wall", "instant_power", 1.0, 0.1), 1.0, 300, 1.0, lead_s=2, remote=True),
}


@dataclass(frozen=True)
class World:
    """How power goes, W: idle and active, shares of the level else. `rate_hz` 0: back to back.

    `step`: the device is idle before and behind a window, as in a pass, so that power steps at both edges.
    """

    idle_w: float = 3.0
    active_w: float = 9.0
    rate_hz: float = 0.0
    busy: float = 0.4
    noise: float = 0.03
    rho: float = 0.9
    walk: float = 0.0
    process: float = 0.005
    step: bool = True

    @property
    def mean_w(self) -> float:
        """Mean power of a pass."""
        return self.idle_w + (self.active_w - self.idle_w) * (self.busy if self.rate_hz else 1.0)


WORLDS = {
    "closed": World(),
    "paced 3.7 Hz": World(rate_hz=3.7),
    "paced 10 Hz": World(rate_hz=10),  # in the beat of every meter here
    "paced 31 Hz": World(rate_hz=31),
    "no steps": World(rate_hz=13, step=False),
    "drift": World(walk=0.03),
    "noise": World(noise=0.15, rho=0.98, process=0.02),
    "quiet": World(noise=0.005, rho=0.0, process=0.0),
    "all of it": World(rate_hz=7.3, noise=0.1, rho=0.95, walk=0.03, process=0.02),
}


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass: cumulative energy, J, at any time; the window is [0, length]."""

    world: World
    level: float
    phase: float
    noise: Floats
    length: float
    idle: bool = False
    grid: float = _GRID_S

    @classmethod
    def of(cls, world: World, level: float, length: float, rng: np.random.Generator, *, idle: bool = False) -> Pass:
        grid = _GRID_S if length < 100 else _LONG_GRID_S
        count = int((length + 20) / grid)
        sd = world.noise * (world.idle_w if idle else world.mean_w)
        fresh = rng.normal(0, sd * math.sqrt(1 - world.rho**2), count)
        series = lfilter([1], [1, -world.rho], fresh).clip(
            -0.8 * world.idle_w, 0.8 * world.idle_w
        )  # power is never negative
        noise = np.concatenate(((0.0,), series.cumsum() * grid))
        return cls(world, level, float(rng.random()), noise, length, idle, grid)

    def energy(self, t: Floats) -> Floats:
        """J from 10 s before the window's start to t."""
        world, since = self.world, t + _MARGIN_S
        noisy = np.interp(since, np.arange(self.noise.size) * self.grid, self.noise)
        if self.idle:
            return self.level * world.idle_w * since + noisy
        return self.level * (world.idle_w * since + (world.active_w - world.idle_w) * self._busy(t)) + noisy

    def _busy(self, t: Floats) -> Floats:
        """Seconds of inference until t: back to back or in pulses; none outside the window where power steps at its edges."""
        world = self.world
        inner = np.clip(t, 0, self.length) if world.step else t + _MARGIN_S
        if not world.rate_hz:
            return inner
        turns = inner * world.rate_hz + self.phase
        whole = np.floor(turns)
        return (whole * world.busy + np.minimum(turns - whole, world.busy)) / world.rate_hz


def read(meter: Meter, made: Pass, rng: np.random.Generator) -> Readings:
    """What a meter gives of a pass, from its lead before the window to as much behind it."""
    channel = meter.channel
    poll_s = meter.poll_s if meter.pushed or meter.remote or made.idle else off_beat(meter.poll_s, made.world.rate_hz)
    begin, end = -meter.lead_s - poll_s * rng.random(), made.length + meter.lead_s + poll_s
    count = int((end - begin) / poll_s) + 1
    at = np.sort(begin + poll_s * (np.arange(count) + meter.jitter * rng.random(count)))
    new = at if meter.pushed or not channel.update_s else _updates(at, channel.update_s, rng.random())
    step = channel.resolution or 1e-9
    if channel.kind == "energy_counter":
        values = np.floor(made.energy(new) / step) * step
    else:
        over = channel.average_s or meter.conversion_s
        values = np.round((made.energy(new) - made.energy(new - over)) / over / step) * step
    at_ns = tuple(int(t) for t in (at + 100) * 1e9)
    return Readings(wire.Trace(channel, at_ns, tuple(values.tolist())))


def _updates(at: Floats, update_s: float, phase: float) -> Floats:
    """When the values that are read at these times were new."""
    return (np.floor(at / update_s + phase) - phase) * update_s


def window(meter: Meter, made: Pass, rng: np.random.Generator) -> tuple[Drawn, float]:
    """What is said of a pass's window, and its true energy, J."""
    drawn = energy(read(meter, made, rng), int(100e9), int((100 + made.length) * 1e9))
    if not isinstance(drawn, Drawn):
        raise ValueError(f"{meter.channel.sensor}: {drawn.status}: {drawn.reason}")
    ends = made.energy(np.array((0.0, made.length)))
    return drawn, float(ends[1] - ends[0])


@dataclass(frozen=True)
class Tried:
    """Of one meter in one world: errors of whole figures, and how often intervals held the truth."""

    meter: str
    world: str
    errors: Floats
    gross: float
    net: float
    saving: float
    wide: float

    @property
    def worst(self) -> float:
        """The least coverage."""
        return min(self.gross, self.net, self.saving)


def tried(meter_name: str, world_name: str, tries: int, windows: int = WINDOWS) -> Tried:
    """Make `tries` runs of a case, its reference and idle passes, `windows` of each."""
    meter, world = METERS[meter_name], WORLDS[world_name]
    rng = np.random.default_rng([sorted(METERS).index(meter_name), sorted(WORLDS).index(world_name)])
    runs = [_run(meter, world, windows, rng) for _ in range(tries)]
    errors, held, wide = zip(*runs, strict=True)
    gross, beyond, ratio = np.mean(held, axis=0).tolist()
    return Tried(meter_name, world_name, np.array(errors), gross, beyond, ratio, float(np.median(wide)))


def _run(
    meter: Meter, world: World, windows: int, rng: np.random.Generator
) -> tuple[float, tuple[bool, bool, bool], float]:
    other = replace(world, active_w=world.active_w * 1.1, busy=world.busy * 1.05)
    levels = np.exp(rng.normal(0, world.walk, windows).cumsum())
    shares: dict[str, dict[int, Share]] = {"case": {}, "reference": {}, "idle": {}}
    told = true = 0.0
    for block, level in enumerate(levels):
        for name, each in (("case", world), ("reference", other), ("idle", world)):
            own = level * math.exp(rng.normal(0, world.process)) if name != "idle" else level
            made = Pass.of(each, own, meter.window_s, rng, idle=name == "idle")
            drawn, integral = window(meter, made, rng)
            shares[name][block] = Share.of(drawn, meter.window_s)
            if name == "case":
                told, true = told + drawn.energy_j, true + integral
    level = float(levels.mean())
    seconds = dict.fromkeys(range(windows), 1.0)
    beyond = interval(net(shares["case"], shares["idle"], seconds).values())
    ratio = saving(shares["case"], shares["reference"])
    gross = interval(shares["case"].values())
    holds = (
        _holds(gross, level * world.mean_w),
        _holds(beyond, level * (world.mean_w - world.idle_w)),
        ratio is not None and _within(ratio.low, ratio.high, other.mean_w / world.mean_w),
    )
    wide = (gross.high - gross.low) / 2 / gross.value if gross and gross.high and gross.low else math.nan
    return told / true - 1, holds, wide


def _holds(found: Interval | None, truth: float) -> bool:
    return found is not None and _within(found.low, found.high, truth)


def _within(low: float | None, high: float | None, truth: float) -> bool:
    return low is not None and high is not None and low <= truth <= high


def measure(tries: int = 150) -> list[Figure]:
    """Return the figures of this file, three minutes' work of two idle cores."""
    with ProcessPoolExecutor(2) as pool:
        begun = [pool.submit(tried, meter, world, tries) for meter in METERS for world in WORLDS]
        found = [each.result() for each in begun]
    return [_accuracy(found), *(_coverage(found, what) for what in ("gross", "net", "saving"))]


def _accuracy(found: Sequence[Tried]) -> Figure:
    errors = {m: np.abs(np.concatenate([each.errors for each in found if each.meter == m])) for m in METERS}
    within = {meter: float(np.quantile(each, 0.95)) for meter, each in errors.items()}
    worst = max(within, key=lambda meter: within[meter])
    least = max(found, key=lambda each: float(np.quantile(np.abs(each.errors), 0.95)))
    return Figure(
        f"energy of {WINDOWS} windows of the least length against its true integral: 95 % of figures, all worlds, are within",
        "<= 0.5 %",
        f"{100 * within[worst]:.2f} % (worst: {worst})",
        within[worst] <= ACCURATE,
        ", ".join(f"{meter}: {100 * error:.2f}" for meter, error in within.items())
        + f"; the worst world, {least.world} on {least.meter}: {100 * np.quantile(np.abs(least.errors), 0.95):.2f}"
        + " (pulses that are read at points of time, not averaged, are met by chance; the interval says so)",
    )


def _coverage(found: Sequence[Tried], what: str) -> Figure:
    """The worst world over all meters, or the worst meter over all worlds: either rests on a thousand runs and more."""
    held = {name: _mean(found, what, "world", name) for name in WORLDS}
    held |= {name: _mean(found, what, "meter", name) for name in METERS}
    worst = min(held, key=lambda name: held[name])
    pair = min(found, key=lambda each: float(getattr(each, what)))
    return Figure(
        f"coverage of the 95 % interval of {WINDOWS} windows: {what}",
        ">= 93 %",
        f"{100 * held[worst]:.1f} % (worst: {worst})",
        held[worst] >= BAR,
        ", ".join(f"{name}: {100 * share:.1f}" for name, share in held.items())
        + f"; the worst pair, {pair.meter} in {pair.world}: {100 * float(getattr(pair, what)):.1f}",
    )


def _mean(found: Sequence[Tried], what: str, key: str, name: str) -> float:
    return float(np.mean([getattr(each, what) for each in found if getattr(each, key) == name]))


if __name__ == "__main__":
    print(table(measure()))

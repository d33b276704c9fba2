"""Do the 95 % intervals hold the truth? On synthetic data, where it is known. `python -m benchmarks.coverage`.

A run is simulated as devices behave: a level that all processes of a block share wanders (heat, neighbours); each process
has an effect of its own (layout, clock); some meet a neighbour; inferences follow each other and have a heavy tail. Every
rung of a ladder has the same reference. Intervals come from `harness.stats`, as `harness show` prints them.

The truth of a latency (median, p90) is that of the run: of its blocks as they were, over all processes and inferences that
might have been measured in them. No interval can tell what a device does next week.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from benchmarks.figures import Figure, table
from harness import stats, wire
from harness.records import Estimate, Tail

Floats = npt.NDArray[np.float64]
Cases = Mapping[str, Sequence[stats.Process]]
Intervals = Mapping[str, tuple[float, float]]
Compare = Callable[[Cases, Sequence[stats.Process]], Intervals]
BAR = 0.93
LATENCY_NS = 1e6
PROTOCOL = wire.Protocol()


@dataclass(frozen=True)
class World:
    """How a device errs. Standard deviations on the log scale; `walk` per block, `met` a share of processes."""

    process: float = 0.03
    walk: float = 0.0
    block: float = 0.0
    noise: float = 0.02
    rho: float = 0.0
    met: float = 0.0
    slow: float = 0.0
    longer: float = 1.3  # how much slower a process is that met a neighbour, or has an unlucky memory layout

    def inferences(self, rng: np.random.Generator, shape: tuple[int, ...], samples: int) -> Floats:
        """Log latencies of processes, beyond their block's level: shape + (samples,)."""
        start = 50 if self.rho else 0  # until the first value is forgotten
        fresh = rng.normal(0, self.noise * (1 - self.rho**2) ** 0.5, (*shape, samples + start))
        series: Floats = lfilter([1], [1, -self.rho], fresh, axis=-1)[..., start:]
        series += np.where(rng.random(series.shape) < self.slow, rng.exponential(0.5, series.shape), 0.0)
        own = rng.normal(0, self.process, shape) + np.where(rng.random(shape) < self.met, np.log(self.longer), 0.0)
        return series + own[..., None]

    def levels(self, rng: np.random.Generator, runs: int, blocks: int) -> Floats:
        """Log level of each block: (runs, blocks)."""
        return rng.normal(0, self.walk, (runs, blocks)).cumsum(axis=1) + rng.normal(0, self.block, (runs, blocks))


QUIET = World()
WORLDS = {
    "quiet": QUIET,
    "calm": World(process=0.005),
    "drift": replace(QUIET, walk=0.05),
    "autocorrelation": replace(QUIET, rho=0.9, noise=0.05),
    "outliers": replace(QUIET, met=0.08, slow=0.02),
    "one process in 20": replace(QUIET, met=0.05, longer=1.2),
    "one process in 10": replace(QUIET, met=0.10, longer=1.2),
    "process effects": replace(QUIET, process=0.13, block=0.05),
    "all of it": World(process=0.06, walk=0.03, block=0.03, noise=0.05, rho=0.8, met=0.05, slow=0.02),
}


@dataclass(frozen=True)
class Coverage:
    """How often the intervals of one kind held the truth in one world, and the share of their limits that were not None."""

    world: str
    blocks: int
    held: float
    given: float = 1.0


def measure() -> list[Figure]:
    """Return the figures of this file, three minutes' work of two idle cores."""
    kinds = {
        "median": (medians, 300),
        "p90, order statistics (a limit that n cannot support holds everything)": (tails, 400),
        "speed-up, at every look": (speedups, 300),
        "speed-ups of a ladder of 8 rungs at once, at every look": (ladders, 160),
    }
    with ProcessPoolExecutor(2) as pool:
        begun = {what: [pool.submit(kind, name, tries) for name in WORLDS] for what, (kind, tries) in kinds.items()}
        return [
            _figure(what, [each for one in each_world for each in one.result()]) for what, each_world in begun.items()
        ]


def _figure(what: str, found: Sequence[Coverage]) -> Figure:
    worst = min(found, key=lambda each: each.held)
    rest = ", ".join(f"{each.world} {each.blocks}: {100 * each.held:.1f}{_given(each)}" for each in found)
    said = f"{100 * worst.held:.1f} % (worst: {worst.world}, {worst.blocks} blocks)"
    return Figure(f"coverage of the 95 % interval: {what}", ">= 93 %", said, worst.held >= BAR, rest)


def _given(each: Coverage) -> str:
    return "" if each.given == 1 else f" ({100 * each.given:.0f} % of limits given)"


def medians(name: str, tries: int, counts: Sequence[int] = (3, 8, 20, 36)) -> list[Coverage]:
    """Coverage of the interval of a median, in the world of that name; of a reference's two processes per block."""
    rng, world, found = np.random.default_rng(1), WORLDS[name], []
    alone = np.median(world.inferences(rng, (20_000,), 25), axis=-1)
    for blocks in counts:
        levels = world.levels(rng, tries, blocks)
        logs = levels[..., None] + np.median(world.inferences(rng, (tries, blocks, 2), 25), axis=-1)
        truths = _quantiles(levels, alone, 0.5)
        held = [_holds(_estimate(run[..., None]), truth) for run, truth in zip(logs, truths, strict=True)]
        found.append(Coverage(name, blocks, float(np.mean(held))))
    return found


def tails(name: str, tries: int, counts: Sequence[int] = (3, 8, 16, 36), samples: int = 100) -> list[Coverage]:
    """Coverage of the interval of p90; a limit that n cannot support holds everything."""
    rng, world, found = np.random.default_rng(2), WORLDS[name], []
    alone = replace(world, rho=0).inferences(rng, (1_000_000,), 1)[:, 0]  # one inference does not follow any
    for blocks in counts:
        levels = world.levels(rng, tries, blocks)
        logs = levels[..., None, None] + world.inferences(rng, (tries, blocks, 1), samples)
        truths = _quantiles(levels, alone, 0.9)
        told = [_estimate(run).tails["p90"] for run in logs]
        held = [_holds(tail, truth) for tail, truth in zip(told, truths, strict=True)]
        given = [limit is not None for tail in told for limit in (tail.low, tail.high)]
        found.append(Coverage(name, blocks, float(np.mean(held)), float(np.mean(given))))
    return found


def speedups(name: str, tries: int) -> list[Coverage]:
    """Coverage of a speed-up's interval at all looks together."""

    def intervals(cases: Cases, reference: Sequence[stats.Process]) -> Intervals:
        found = {name: stats.speedup(case, reference, PROTOCOL) for name, case in cases.items()}
        return {name: (one.low, one.high) for name, one in found.items() if one and one.low and one.high}

    return [_compared(name, tries, 1, intervals)]


def ladders(name: str, tries: int, rungs: int = 8) -> list[Coverage]:
    """Coverage of all rungs and all looks together; what is decided is left out of later blocks."""

    def intervals(cases: Cases, reference: Sequence[stats.Process]) -> Intervals:
        return {name: one for name, one in stats.joint(cases, reference, PROTOCOL).items() if one}

    return [_compared(name, tries, rungs, intervals)]


def _compared(name: str, tries: int, rungs: int, intervals: Compare) -> Coverage:
    rng, world, most = np.random.default_rng(3), WORLDS[name], PROTOCOL.looks[-1]
    levels = world.levels(rng, tries, most)[..., None]
    reference = levels + np.median(world.inferences(rng, (tries, most, 3), 15), axis=-1)
    cases = levels + np.median(world.inferences(rng, (tries, most, rungs), 15), axis=-1)
    held = [_ladder_holds(intervals, *run) for run in zip(reference, cases, strict=True)]
    return Coverage(name, most, float(np.mean(held)))


def _ladder_holds(intervals: Compare, reference: Floats, cases: Floats) -> bool:
    """Whether all rungs' intervals hold 1 at all looks; a rung that is narrow enough is measured no more."""
    baseline = _processes("r", reference[..., None])
    rungs = {f"c{n}": _processes(f"c{n}", cases[:, n, None, None]) for n in range(cases.shape[1])}
    until = dict.fromkeys(rungs, PROTOCOL.looks[-1])
    for look in PROTOCOL.looks:
        ours = {name: [p for p in rung if p.block < min(look, until[name])] for name, rung in rungs.items()}
        theirs = [p for p in baseline if p.block < look]
        if not all(low <= 1 <= high for low, high in intervals(ours, theirs).values()):
            return False
        for name, case in ours.items():
            if stats.reach(case, theirs, PROTOCOL).blocks_needed == 0:
                until[name] = min(until[name], look)
    return True


def _processes(case: str, logs: Floats) -> list[stats.Process]:
    """Processes from log latencies of shape (blocks, replicates, samples)."""
    latency = LATENCY_NS * np.exp(logs)
    return [
        stats.Process(case, block, replicate, 0, latency[block, replicate])
        for block in range(logs.shape[0])
        for replicate in range(logs.shape[1])
    ]


def _estimate(logs: Floats) -> Estimate:
    return stats.estimate(_processes("c", logs))


def _holds(interval: Estimate | Tail, truth: float) -> bool:
    low, high = interval.low, interval.high
    return (low is None or low <= truth) and (high is None or truth <= high)


def _quantiles(levels: Floats, alone: Floats, share: float) -> Floats:
    """The quantile of each run: its blocks' levels, and over all processes that might have been measured in them."""
    grid = np.quantile(alone, (np.arange(4000) + 0.5) / 4000)
    return LATENCY_NS * np.exp([np.quantile(np.add.outer(run, grid), share) for run in levels])


if __name__ == "__main__":
    print(table(measure()))

"""What a device can resolve: A/A comparisons and injected slow-downs, as `harness calibrate` measured them. Pure.

Every comparison is judged exactly as a run judges one: paired within blocks, at the same error per look, never against
the A/A floor. What comes out is what users get: how often two equal networks were called different, and how large a
slow-down must be to be found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness import analysis, stats, wire
from harness.records import Plan, Speedup
from harness.stats.processes import by_block

SCHEMA = 1
BLOCKS = 10  # of a job: a planned look of every run
ENOUGH = 0.90  # share of tries in which an effect is found that counts as resolved
STALE_DAYS = 30
IDENTITY = ("machine", "cpu", "board", "kernel", "cpus_usable")  # facts that make it another device
REFERENCE, SAME, PLUS = "reference", "same-", "plus-"  # labels of the yardstick's networks


@dataclass(frozen=True)
class Rate:
    """How often something happened, with its exact 95 % interval (Clopper and Pearson 1934), as fractions."""

    hits: int
    tries: int
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, tries: int) -> Rate:
        """The rate of so many hits; without tries anything is possible: 0 to 1."""
        from scipy.special import betaincinv

        low = float(betaincinv(hits, tries - hits + 1, 0.025)) if hits else 0.0
        high = float(betaincinv(hits + 1, tries - hits, 0.975)) if hits < tries else 1.0
        return cls(hits, tries, low, high)

    @property
    def share(self) -> float | None:
        """Hits over tries."""
        return self.hits / self.tries if self.tries else None


@dataclass(frozen=True)
class Effect:
    """A slow-down that was injected: `added` work and the `measured` slow-down over all jobs, as fractions; what was said of it.

    `found`: called slower. `wrong`: called faster.
    """

    added: float
    measured: float
    found: Rate
    wrong: int


@dataclass(frozen=True)
class Calibration:
    """What a device resolved, when, as what (`facts`), with what brought about (`tune`), and by which protocol.

    `false`: equal networks called faster or slower. `resolution`: the least measured slow-down that, like all larger ones,
    was found in 90 % of tries; None when none was. Standard deviations as fractions: between processes of a block,
    between blocks, between jobs (None below three). `floor` is the median A/A floor, `spin_spread` the 95th percentile of
    the spins over their median, `contended` the share of processes, `failed` how often a network
    was given up, which is then in none of that job's counts.
    """

    device: str
    calibration: str
    created: str
    runtime: str
    versions: Mapping[str, str]
    facts: Mapping[str, Any]
    protocol: Mapping[str, Any]
    jobs: int
    blocks: int
    median_ns: float
    false: Rate
    effects: tuple[Effect, ...]
    resolution: float | None
    process_sd: float | None
    block_sd: float | None
    between_jobs_sd: float | None
    floor: float | None
    half_width: float | None
    spin_spread: float
    contended: float
    threads: int = 1
    tune: tuple[str, ...] = ()
    failed: int = 0
    schema: int = SCHEMA


@dataclass(frozen=True)
class Measured:
    """One job of a calibration with what came back."""

    job: wire.Job
    journal: Sequence[wire.Event]
    reply: wire.Reply


def evaluate(
    device: str, name: str, created: str, measured: Sequence[Measured], tune: tuple[str, ...] = ()
) -> Calibration:
    """Judge every comparison of every job whose reference was measured. Raises ValueError when there is none."""
    _require_alike(measured)
    kept = [(each, job) for each in measured for job in [_Job(each)] if job.reference]
    if not kept:
        raise ValueError("a calibration needs at least one job whose reference was measured")
    jobs, last = [job for _, job in kept], kept[-1][0]
    effects = tuple(_effects(jobs))
    spins = np.array([spin for job in jobs for spin in job.spins], dtype=np.float64)
    processes = [process for job in jobs for group in job.processes.values() for process in group]
    false = [ratio.verdict in ("faster", "slower") for job in jobs for ratio in job.speedups(0)]
    return Calibration(
        device=device,
        calibration=name,
        created=created,
        runtime=last.job.runtime,
        versions=last.reply.versions,
        facts={key: last.reply.facts.get(key) for key in IDENTITY},
        protocol=vars(last.job.protocol),
        jobs=len(jobs),
        blocks=sum(each.reply.blocks for each, _ in kept),
        median_ns=float(np.median([process.median_ns for job in jobs for process in job.reference])),
        false=Rate.of(sum(false), len(false)),
        effects=effects,
        resolution=_resolution(effects),
        process_sd=_pooled([job.components.process for job in jobs if job.components]),
        block_sd=_pooled([job.components.block for job in jobs if job.components]),
        between_jobs_sd=_between(jobs),
        floor=_median([stats.floor_size(job.floor) for job in jobs]),
        half_width=_median([_half_width(ratio) for job in jobs for ratio in job.speedups(0)]),
        spin_spread=float(np.quantile(spins, 0.95) / np.median(spins)) - 1,
        contended=sum(process.contended for process in processes) / len(processes),
        threads=max(case.threads for case in last.job.cases),
        tune=tune,
        failed=sum(len(job.failed) for job in jobs) + len(measured) - len(jobs),
    )


def _require_alike(measured: Sequence[Measured]) -> None:
    """Raise ValueError where jobs were measured on another system, by other versions, or of other networks."""
    for name, of in (
        ("facts", lambda each: {key: each.reply.facts.get(key) for key in IDENTITY}),
        ("versions", lambda each: dict(each.reply.versions)),
        ("networks", lambda each: {case.label: case.artifact.sha256 for case in each.job.cases}),
    ):
        if any(of(each) != of(measured[0]) for each in measured[1:]):
            raise ValueError(f"its jobs were measured with different {name}: they cannot be judged together")


class _Job:
    """The processes of one job by label, without what failed for good, and what the statistics say of them."""

    def __init__(self, measured: Measured) -> None:
        job = measured.job
        self.protocol = job.protocol
        labels = {case.case_id: case.label for case in job.cases}
        failed = {event.case_id for event in measured.journal if isinstance(event, wire.FailedEvent) and event.final}
        self.failed = failed
        found = analysis.processes(job, measured.journal)
        self.processes = {labels[case]: stats.last_attempts(found[case]) for case in found if case not in failed}
        self.reference = self.processes.get(REFERENCE, ())
        self.components = stats.components(self.reference)
        resolution = measured.reply.facts.get("clock_resolution_ns")
        self.resolution_ns = float(resolution) if isinstance(resolution, (int, float)) else 0.0
        self.floor = stats.floor(self.reference, self.protocol, self.resolution_ns)
        events = (event for event in measured.journal if isinstance(event, wire.ProcessEvent))
        self.spins = [spin for event in events for spin in (event.spin_before_ns, event.spin_after_ns)]

    def speedups(self, added: int) -> Iterator[Speedup]:
        """The comparisons with the reference of every network that adds so many percent of work; 0: those of equal work."""
        for label, group in self.processes.items():
            if label != REFERENCE and added_by(label) == added:
                ratio = stats.speedup(group, self.reference, self.protocol, self.resolution_ns)
                if ratio is not None:
                    yield ratio


def added_by(label: str) -> int:
    """The percent of work that a network adds, by its label: `plus-5` and `plus-5-2` add 5, `same-1` nothing."""
    return 0 if label.startswith(SAME) else int(label.removeprefix(PLUS).split("-")[0])


def _effects(jobs: Sequence[_Job]) -> Iterator[Effect]:
    labels = {label for job in jobs for label in job.processes if label.startswith(PLUS)}
    for percent in sorted({added_by(label) for label in labels}):
        ratios = [ratio for job in jobs for ratio in job.speedups(percent)]
        if not ratios:
            continue
        measured = -float(np.mean([math.log(ratio.ratio) for ratio in ratios]))
        found = Rate.of(sum(ratio.verdict == "slower" for ratio in ratios), len(ratios))
        yield Effect(percent / 100, math.expm1(measured), found, sum(ratio.verdict == "faster" for ratio in ratios))


def _resolution(effects: Sequence[Effect]) -> float | None:
    """The least effect from which on all were found often enough."""
    resolved: float | None = None
    for effect in sorted(effects, key=lambda effect: -effect.added):
        if (effect.found.share or 0.0) < ENOUGH:
            break
        resolved = effect.measured
    return resolved


def _between(jobs: Sequence[_Job]) -> float | None:
    """sd between consecutive jobs of the reference's log median; None below three jobs.

    What noise within the jobs explains of it stays in: taken off, few jobs often leave 0, which no device is worth.
    """
    if len(jobs) < 3:
        return None
    return float(np.std([np.mean(list(by_block(job.reference).values())) for job in jobs], ddof=1))


def _half_width(ratio: Speedup) -> float | None:
    return None if ratio.low is None or ratio.high is None else (math.log(ratio.high) - math.log(ratio.low)) / 2


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _pooled(values: Sequence[float]) -> float | None:
    return math.sqrt(float(np.mean(np.square(values)))) if values else None


# --- in words ------------------------------------------------------------------------------------------------------


def quote(found: Calibration, age_s: float) -> str:
    """One sentence: how old, what was called wrongly, what is resolved."""
    false = found.false
    what = f"{false.hits} of {false.tries} A/A comparisons wrong (at most {100 * false.high:.2g} % if independent)"
    tries = next((effect.found for effect in found.effects if effect.measured == found.resolution), None)
    if tries is None or found.resolution is None:
        largest = max((effect.measured for effect in found.effects), default=0.0)
        least = f"the largest slow-down tried, {100 * largest:.2g} %, not found in 90 % of tries"
    else:
        least = (
            f"slow-downs from {100 * found.resolution:.2g} % on found, that one in {tries.hits} of {tries.tries} tries"
        )
    how = f"{found.runtime}, tuned ({', '.join(found.tune)})" if found.tune else found.runtime
    return f"calibrated {_ago(age_s)} ago on {how}: {what}; {least}, of {BLOCKS} blocks"


def unlike(found: Calibration, facts: Mapping[str, Any], versions: Mapping[str, str], age_s: float) -> list[str]:
    """Why a calibration no longer speaks for the device; empty while it does. `facts` may be only what is known."""
    reasons = [
        f"{key} was {found.facts[key]}, is {facts[key]}"
        for key in IDENTITY
        if key in facts and key in found.facts and facts[key] != found.facts[key]
    ]
    reasons += [
        f"{name} was {found.versions[name]}, is {version}"
        for name, version in versions.items()
        if found.versions.get(name, version) != version
    ]
    if age_s > STALE_DAYS * 86_400:
        reasons.append(f"it is older than {STALE_DAYS} days")
    return reasons


def unlike_plan(found: Calibration, plan: Plan) -> list[str]:
    """Why a calibration does not speak for a run of this plan; empty where it does."""
    regime = found.protocol.get("regime", plan.regime)
    pairs = [
        ("tune", ", ".join(found.tune) or "nothing", ", ".join(plan.tune) or "nothing"),
        ("regime", regime, plan.regime),
        ("threads", found.threads, plan.threads),
        ("batch", 1, plan.batch),
        ("precision", "fp32", ", ".join(plan.precisions)),
    ]
    reasons = [f"{name} was {theirs}, is {ours}" for name, theirs, ours in pairs if theirs != ours]
    if found.runtime not in plan.runtimes:
        reasons.append(f"runtime was {found.runtime}, is {', '.join(plan.runtimes)}")
    return reasons


def _ago(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        n = int(seconds // length)
        if n:
            return f"{n} {unit}{'s' * (n > 1)}"
    return "a moment"

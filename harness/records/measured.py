"""What is measured: cases and their rows, estimates, comparisons, findings, jobs, runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from harness.records.asked import Method, Padding, Plan
from harness.records.canonical import digest
from harness.records.energy import Energy, EnergyRecord
from harness.records.executed import Ceilings, Executed, Operation
from harness.records.made import Ladder
from harness.wire import Tuned

Verdict = Literal["faster", "slower", "same", "unclear"]
Severity = Literal["info", "warning", "error"]
Status = Literal["ok", "failed", "skipped"]
RunStatus = Literal["preparing", "measuring", "done", "failed", "interrupted"]
RunState = Literal["stable", "noisy", "throttled", "contended", "fell-back"]


@dataclass(frozen=True)
class Case:
    """Device x artifact x runtime x precision x threads x batch x options: the unit that is measured."""

    device: str
    artifact: str
    runtime: str
    precision: str
    threads: int
    batch: int
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def case_id(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the case as canonical JSON."""
        return digest(asdict(self))[:16]


@dataclass(frozen=True)
class Entry:
    """A row of a ladder as a case: several entries may share one case (and its measurement), each with its own reference.

    `artifact_accuracy` is the artifact's own; None: not asked for, or `no_accuracy` says why it could not be had.
    """

    case: Case
    ladder: str
    method: Method
    rung: int
    variant: str
    reference: str | None
    ops_executed: int | None = None
    failure: str | None = None
    artifact_accuracy: float | None = None
    no_accuracy: str = ""


@dataclass(frozen=True)
class Tail:
    """A tail quantile of the pooled samples, ns: its value, its 95 % order-statistic interval, and a one-sided bound.

    `bound` is LoadGen's: with 99 % confidence the quantile lies below it. Each is None where n is too small for it.
    """

    value: float | None
    low: float | None
    high: float | None
    bound: float | None


@dataclass(frozen=True)
class Estimate:
    """Latency of a case, ns: median of process medians with its 95 % interval; tails, mean and sd of the pooled samples.

    `tails` hold p90, p95 and p99 with their bounds. `lag1` is the median over processes of the lag-1 autocorrelation of
    their inferences; `effective_samples` what the pooled samples are worth as independent ones. None below 3 samples.
    """

    median: float
    low: float | None
    high: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    mean: float
    sd: float | None
    samples: int
    processes: int
    tails: Mapping[str, Tail] = field(default_factory=dict)
    lag1: float | None = None
    effective_samples: float | None = None


@dataclass(frozen=True)
class Speedup:
    """Reference's latency over the case's, paired within blocks, with its 95 % interval (valid at every planned look).

    `joint_low` and `joint_high` are wider: they hold for all rungs of the ladder at once.
    """

    ratio: float
    low: float | None
    high: float | None
    verdict: Verdict | None
    joint_low: float | None = None
    joint_high: float | None = None


@dataclass(frozen=True)
class Limits:
    """The limits of a 95 % interval, in the unit of what it is of."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedAccuracy:
    """Two networks on the same test examples: the difference of their accuracies (a fraction) with its 95 % interval.

    `p`: McNemar's exact test. `gained` examples the one alone has right, `lost` the other alone.
    """

    difference: float
    low: float
    high: float
    p: float
    gained: int
    lost: int


@dataclass(frozen=True)
class Components:
    """Where the variance of log process medians arises, from the reference's replicates: sd as fractions, 0 at least.

    `process`: between processes of one block; `block`: between blocks, beyond that.
    """

    process: float
    block: float
    processes: int
    blocks: int


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of two properties of processes, its p-value, and how many processes."""

    rho: float
    p: float
    processes: int


@dataclass(frozen=True)
class Curve:
    """Latency under a lasting load, from its beginning: seconds, medians of about a second each, the hottest zone then."""

    at_s: tuple[float, ...]
    median_ns: tuple[float, ...]
    hottest_degc: tuple[float | None, ...]
    plateau: bool
    reason: str


@dataclass(frozen=True)
class RunVerdict:
    """One word for a run, and the evidence: the first that applies of fell-back, throttled, contended, noisy; else stable."""

    state: RunState
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """A typed warning: which cases, with which numbers, the likely cause, and advice that knows the situation."""

    kind: str
    severity: Severity
    cases: tuple[str, ...]
    numbers: Mapping[str, float | int | str | None]
    cause: str
    advice: str


@dataclass(frozen=True)
class Summary:
    """One row of `harness show --json`: a ladder's rung, as deployed to one runtime, with everything known of it.

    `effective` are the settings as read back on the device (`options` those asked for), `blocks` the blocks that hold
    the case; `contended`, `not_steady` and `throttled` count processes. A case that failed after good blocks keeps their latency.
    `difference` is that of a given network's outputs from rung 0's. `artifact_accuracy` is that of the artifact itself on
    the test split, where its precision is not fp32 (`accuracy` is torch's); `artifact_loss` what it loses of torch's (a
    fraction; negative: it gains), `artifact_loss_added` how much more than rung 0's artifact loses. `executed`: what the
    device told of the network that it ran. `accuracy_interval` is Wilson's, `accuracy_vs_continue` the comparison with the
    full network that was fine-tuned for as many epochs.
    """

    case_id: str | None
    ladder: str
    rung: int | None
    removed: int | None
    eligible: int | None
    setting: float | None
    activations: int | None
    removed_names: tuple[str, ...]
    model: str
    task: str | None
    method: Method
    variant: str
    depth: int | None
    macs: int | None
    macs_useful: int | None
    flops: int | None
    parameters: int
    weight_bytes: int
    activation_bytes: int | None
    ops_executed: int | None
    accuracy: float | None
    accuracy_removed: float | None
    accuracy_moved: float | None
    padding: Padding | None
    fold_error: float | None
    fold_error_f64: float | None
    artifact_error: float | None
    runtime: str
    precision: str
    threads: int
    batch: int
    options: Mapping[str, str]
    effective: Mapping[str, Any]
    status: Status
    latency_ns: Estimate | None
    speedup: Speedup | None
    energy_j: Energy | None
    energy_status: str
    blocks: int
    contended: int
    not_steady: int
    reference: str | None
    reasons: Mapping[str, str]
    throttled: int = 0
    difference: float | None = None
    artifact_accuracy: float | None = None
    artifact_loss: float | None = None
    artifact_loss_added: float | None = None
    executed: Executed | None = None
    accuracy_interval: Limits | None = None
    accuracy_vs_continue: PairedAccuracy | None = None


@dataclass(frozen=True)
class JobRecord:
    """How one job went: why it stopped, the half-widths reached, the blocks still needed, the live A/A floor.

    `protocol` is that of the job, as it was measured. `floor` is the reference's ratio to itself per reference case: no
    smaller difference is called `faster` or `slower`. `blocks` counts whole ones. `components`: by reference case. `waits`:
    `gates`, how often the agent waited for the device to cool, `timed_out` and `seconds`. `tuned`: settings brought about.
    `usage`: over all counted processes, see `analysis.conditions`. `throttling`: the evidence, a few sentences. `neighbours`:
    other programs that used the processors, by name, in cores. `follows`: what processes' latencies go along with. `curve`:
    how a sustained regime was reached. `energy`: what its energy rests on, None where no pass was asked for.
    """

    job: str
    runtime: str
    protocol: Mapping[str, Any]
    reason: str
    blocks: int
    half_widths: Mapping[str, float | None]
    blocks_needed: Mapping[str, int | None]
    floor: Mapping[str, Speedup]
    facts: Mapping[str, Any]
    versions: Mapping[str, str]
    components: Mapping[str, Components] = field(default_factory=dict)
    waits: Mapping[str, float] = field(default_factory=dict)
    tuned: tuple[Tuned, ...] = ()
    usage: Mapping[str, float | None] = field(default_factory=dict)
    throttling: tuple[str, ...] = ()
    neighbours: Mapping[str, float] = field(default_factory=dict)
    follows: Mapping[str, Correlation] = field(default_factory=dict)
    curve: Curve | None = None
    energy: EnergyRecord | None = None


@dataclass(frozen=True)
class Run:
    """One device, one folder under `results/`: what was asked, from what, what came out. `run.json`.

    `operators` are those of each case, in their order; `ceilings` the device's, by threads and CPUs. `sensors`: status and
    reason of each sensor of power, as they were found before anything was measured.
    """

    schema: int
    run: str
    session: str
    device: str
    virtual: bool
    status: RunStatus
    created: str
    command: tuple[str, ...]
    plan: Plan
    provenance: Mapping[str, Any]
    ladders: tuple[Ladder, ...] = ()
    entries: tuple[Entry, ...] = ()
    jobs: tuple[JobRecord, ...] = ()
    cases: tuple[Summary, ...] = ()
    findings: tuple[Finding, ...] = ()
    analysis_version: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None
    verdict: RunVerdict | None = None
    calibration: Mapping[str, Any] | None = None
    operators: Mapping[str, tuple[Operation, ...]] = field(default_factory=dict)
    ceilings: tuple[Ceilings, ...] = ()
    sensors: Mapping[str, tuple[str, str]] = field(default_factory=dict)

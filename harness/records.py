"""The controller's frozen data, in the order in which it flows: one way, no setters.

    words + inventory -> Plan -> LadderRequest -> Ladder of Rungs (each with its Variant) -> Artifact -> Case -> Run
                                                                          Estimate, Speedup, Finding <- samples

Units stand in names. A number that cannot be had is None, and `reasons` says why, by the number's key; it is never 0.
Constructors keep invariants and raise ValueError: those are for us, users are stopped at the doors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Method = str
Eligible = Literal["mergeable", "all"]
Padding = Literal["kept", "moved"]
Verdict = Literal["faster", "slower", "same", "unclear"]
Severity = Literal["info", "warning", "error"]
Status = Literal["ok", "failed", "skipped"]
RunStatus = Literal["preparing", "measuring", "done", "failed", "interrupted"]

FOLD_ERROR_F32, FOLD_ERROR_F64 = 1e-5, 1e-12  # what exact folding may differ by: relative max-abs, of outputs


def digest(value: Any) -> str:
    """SHA-256, in hexadecimal, of `value` as canonical JSON (sorted keys, no spaces): the key of everything by content."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


# --- what is asked -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Profile:
    """A kind of device: `devices/profiles/<name>.yaml`. `runtimes` are in order of preference; `target` goes to export."""

    name: str
    description: str
    arch: str
    runtimes: tuple[str, ...]
    threads: int = 1
    target: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Device:
    """A machine named in the inventory. `transport` is `local` (a child process here); `workdir` holds all the agent keeps."""

    name: str
    profile: Profile
    transport: Literal["local"] = "local"
    workdir: str = "~/.edge-harness"
    tags: tuple[str, ...] = ()
    virtual: bool = False


@dataclass(frozen=True)
class LadderRequest:
    """One ladder to make: method with its recipe (only what differs from the method's defaults) on a model and its task.

    `data` is a folder for tasks that read one; `threads` train; `forms` are folding's forms beyond the default ones.
    """

    method: Method
    model: str
    task: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    eligible: Eligible = "mergeable"
    seed: int = 0
    threads: int = 2
    data: str | None = None
    forms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What one invocation will do on one device, decided and checked before any long work."""

    device: str
    ladders: tuple[LadderRequest, ...]
    runtimes: tuple[str, ...]
    precisions: tuple[str, ...]
    threads: int
    batch: int
    options: Mapping[str, str]
    budget_s: float
    seed: int
    controls: bool = True


# --- what is made --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """One fold group of a network: what was merged into what, or why it was left. MACs and weights per example."""

    path: str
    layers: tuple[str, ...]
    kind: str
    reason: str | None
    macs_before: int
    macs_after: int
    weights_before: int
    weights_after: int


@dataclass(frozen=True)
class Cost:
    """What one inference of one example costs, counted on the traced, folded graph.

    `depth`: convolution and linear operators on the longest path. `macs` are nominal, `macs_useful` without taps that
    only meet padding; `flops` = 2 x macs (convolution and linear). `weight_bytes` and `activation_bytes` at float32:
    all parameters and buffers read, and all operators' outputs. `uncounted` names operators that no rule covers.
    """

    depth: int
    macs: int
    macs_useful: int
    flops: int
    parameters: int
    weight_bytes: int
    activation_bytes: int
    uncounted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Variant:
    """What is deployed: a folded rung, named by the hash of its graph and weights; `program` is its torch.export file."""

    name: str
    program: str
    input_shape: tuple[int, ...]
    classes: int


@dataclass(frozen=True)
class Rung:
    """One position of a ladder: a shallower network, its cost, accuracy and fold errors.

    Accuracies are fractions of the test split: `accuracy` of the rung as deployed; `accuracy_removed` with the last
    activation gone and padding kept, `accuracy_moved` after the padding moved, both before fine-tuning. Fold errors are
    relative max-abs differences of outputs. `choice`: why the method took what it took here; None where it was told.
    """

    rung: int
    network: str
    removed: int
    activations: int
    eligible: int
    removed_names: tuple[str, ...]
    setting: float | None
    padding: Padding
    cost: Cost
    fold_error: float
    fold_error_f64: float
    accuracy: float | None
    accuracy_removed: float | None
    accuracy_moved: float | None
    variant: Variant
    groups: tuple[Group, ...]
    choice: Choice | None
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """Why a method took this activation: the score per candidate (lowest first out), and whether the data settle it.

    `gap` is the difference between the first two candidates; `gap_error` its bootstrap standard error (None: no data).
    """

    chosen: str
    scores: Mapping[str, float]
    gap: float | None
    gap_error: float | None


@dataclass(frozen=True)
class Ladder:
    """A method's sequence of shallower networks. Latency controls form a ladder of their own, method `control`.

    `test_examples` is the size of the test split: what one step of an accuracy is worth.
    """

    name: str
    method: Method
    model: str
    task: str
    recipe: Mapping[str, Any]
    seed: int
    rungs: tuple[Rung, ...]
    seconds: float = 0.0
    cached: bool = False
    test_examples: int | None = None


@dataclass(frozen=True)
class Artifact:
    """A variant compiled for runtime, precision, target and options, named by the hash of its bytes.

    `sample_path` holds inputs and torch's outputs for the check on the device; `ops_executed` counts the operators of
    the built graph where the format can be walked.
    """

    sha256: str
    path: str
    size_bytes: int
    variant: str
    runtime: str
    precision: str
    batch: int
    sample_sha256: str
    sample_path: str
    sample_bytes: int
    tolerance: float
    ops_executed: int | None
    versions: Mapping[str, str]
    seconds: float = 0.0


# --- what is measured ----------------------------------------------------------------------------------------------


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
    """A row of a ladder as a case: several entries may share one case (and its measurement), each with its own reference."""

    case: Case
    ladder: str
    method: Method
    rung: int
    variant: str
    reference: str | None
    ops_executed: int | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Estimate:
    """Latency of a case, ns: median of process medians with its 95 % interval; tails, mean and sd of the pooled samples."""

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


@dataclass(frozen=True)
class Speedup:
    """Reference's latency over the case's, paired within blocks, with its 95 % interval (valid at every planned look)."""

    ratio: float
    low: float | None
    high: float | None
    verdict: Verdict | None


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
    the case; `contended` and `not_steady` count processes. A case that failed after good blocks keeps their latency.
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
    task: str
    method: Method
    variant: str
    depth: int
    macs: int
    macs_useful: int
    flops: int
    parameters: int
    weight_bytes: int
    activation_bytes: int
    ops_executed: int | None
    accuracy: float | None
    accuracy_removed: float | None
    accuracy_moved: float | None
    padding: Padding
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
    energy_j: None
    energy_status: str
    blocks: int
    contended: int
    not_steady: int
    reference: str | None
    reasons: Mapping[str, str]


@dataclass(frozen=True)
class JobRecord:
    """How one job went: why it stopped, the half-widths reached, the blocks still needed, the live A/A floor.

    `protocol` is that of the job, as it was measured. `floor` is the reference's ratio to itself per reference case: no
    smaller difference is called `faster` or `slower`. `blocks` counts whole ones.
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


@dataclass(frozen=True)
class Run:
    """One device, one folder under `results/`: what was asked, from what, what came out. `run.json`."""

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

"""What `harness plan` knows and decides: options of a network, their gains on a device, folding plans. Data alone.

network -> Listing of Options -> a Gain for each, measured -> a Price for each -> a front of FoldingPlans -> Verified
                 a PricesRequest -> what each choice was Priced, seed by seed -^          `-> Interaction of each plan
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.records.made import Cost
from harness.records.measured import Speedup

OptionForm = Literal["plain", "dense", "tail", "skip", "bypass"]
PriceBasis = Literal["count", "entropy", "loss"]
GainBasis = Literal["in place", "isolated", "both"]


@dataclass(frozen=True)
class OptionsRequest:
    """A network whose options are asked for: weights are random, of `seed`, and `data` matters where a task counts classes.

    `forms` are those allowed; a segment has at most `layers` layers, and no merged kernel is wider than `kernel`.
    """

    model: str
    task: str
    seed: int = 0
    data: str | None = None
    forms: tuple[OptionForm, ...] = ("plain", "dense", "tail")
    layers: int = 4
    kernel: int = 9


@dataclass(frozen=True)
class Wanted:
    """A network to be made for measuring: the whole one with some options taken, or an option's segment by itself.

    Of a segment there are two: `kept` as it is, and `alone` with its one option taken.
    """

    kind: Literal["whole", "kept", "alone"]
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """One thing that may be done to a segment of a network: what comes in place of it, and what that removes.

    The segment holds the layers (convolution and linear operators in forward order) from place `first` up to, and without,
    `after`. `form`: `plain` (one layer, dead taps cut), `dense` (a matrix from image to image), `tail` (a matrix up to the
    classifier), `skip` (a residual block becomes an identity), `bypass` (convolutions become identities, and what is left
    merges). `removed` are the activations that go, `layers` what is merged, `dropped` the layers that are gone unmerged.
    Options of one `signature` do the same to segments of the same shapes: measured by themselves they cost the same.
    """

    name: str
    form: OptionForm
    first: int
    after: int
    layers: tuple[str, ...]
    dropped: tuple[str, ...]
    removed: tuple[str, ...]
    macs_before: int
    macs_after: int
    weights_before: int
    weights_after: int
    signature: str


@dataclass(frozen=True)
class Listing:
    """All options of a network: its `layers` in forward order, what may be done, and what may not, with the reason."""

    model: str
    task: str
    layers: tuple[str, ...]
    activations: tuple[str, ...]
    options: tuple[Option, ...]
    left: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Gain:
    """What an option saves on a device, in ns per inference: the best estimate, and a 95 % interval of it.

    `basis`: measured in the whole network (`in place`), alone and corrected by the device's slope (`isolated`), or the mean of
    `both`. `isolated` and `in_place` are the measured ratios themselves (above 1: the option is faster); `kept_ns` is the
    latency of the segment by itself as it is. All None where it failed: `failure` says why.
    """

    option: str
    gain_ns: float | None
    low_ns: float | None
    high_ns: float | None
    basis: GainBasis | None
    kept_ns: float | None = None
    isolated: Speedup | None = None
    in_place: Speedup | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Price:
    """What an option costs the network: less is better, 0 is free, `error` its standard error over seeds (None: one seed).

    `count`: removed activations; `entropy`: what they decide, in bits (free, without training); `loss`: what the held-out
    loss is higher after one epoch than that of the full network trained as long, in nats, as measured: below 0, too.
    `accuracy_drop` is what the accuracy on the same part is lower then (a fraction); None where nothing was trained.
    """

    option: str
    price: float
    error: float | None
    basis: PriceBasis
    accuracy_drop: float | None = None


@dataclass(frozen=True)
class PricesRequest:
    """What is to be priced: `wanted` are choices of options by name, of one option each, or of several (a plan, a pair).

    Each of the seeds is a full network of its own, trained as `schedule` says. `tier`: its statistics alone (`entropy`), or
    besides (`loss`) each choice fine-tuned from it for so many `epochs`. `layers` and `kernel` as in OptionsRequest.
    """

    model: str
    task: str
    wanted: tuple[tuple[str, ...], ...]
    seeds: tuple[int, ...] = (0, 1)
    tier: Literal["entropy", "loss"] = "loss"
    epochs: int = 1
    data: str | None = None
    schedule: str = "quick"
    threads: int = 2
    train_on: str = "cpu"
    layers: int = 4
    kernel: int = 9


@dataclass(frozen=True)
class Priced:
    """A choice of options priced with one seed; losses are mean cross-entropies of the validation part, in nats.

    Free: `entropy`, bits that the removed activations decide, summed over them; `rise` of the loss before any fine-tuning,
    where layers are dropped. `loss` and `accuracy` are those after fine-tuning, the baselines those of the full network
    fine-tuned as long with the same seed; None where nothing was trained, or where it went wrong: `failure` says why.
    """

    options: tuple[str, ...]
    seed: int
    entropy: float
    rise: float | None
    loss: float | None = None
    baseline: float | None = None
    accuracy: float | None = None
    baseline_accuracy: float | None = None
    seconds: float | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Interaction:
    """A plan's `joint` price against the sum `added` of its options' prices, in nats: `excess` is the first less the second.

    Above 0 its options cost more together than each by itself. `error`: standard error of the excess over so many `seeds`;
    `low` and `high`: its 95 % interval (Student's t). None of one seed.
    """

    options: tuple[str, ...]
    joint: float
    added: float
    excess: float
    error: float | None
    seeds: int = 1
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Prediction:
    """Latency and speed-up that a plan should have on the device, with the 95 % interval that its gains' intervals make."""

    latency_ns: float
    latency_low_ns: float
    latency_high_ns: float
    speedup: float
    speedup_low: float
    speedup_high: float


@dataclass(frozen=True)
class Verified:
    """What a plan came to: measured in blocks of its own against the unfolded network, and trained, where it was.

    `error`: measured over predicted latency, less 1, each over that of the unfolded network in the same job, so that what the
    device did between two jobs is not in it. Accuracies are fractions of the validation part; `baseline` is the full
    network fine-tuned as long. `price` is that of the plan as a whole, in nats: what it is above the sum of its options'
    prices (the plan's own) is their interaction.
    """

    speedup: Speedup
    latency_ns: float
    error: float
    cost: Cost
    fold_error: float | None
    accuracy: float | None = None
    baseline: float | None = None
    price: float | None = None


@dataclass(frozen=True)
class FoldingPlan:
    """A choice of options that do not touch each other, what it should bring, and in words what is folded, left, and why."""

    options: tuple[str, ...]
    removed: tuple[str, ...]
    price: float
    predicted: Prediction
    words: tuple[str, ...] = ()
    verified: Verified | None = None
    failure: str | None = None  # why it could not be built or measured


@dataclass(frozen=True)
class Planned:
    """All that `harness plan` found for one model on one device: `results/<device>/plans/<key>/plan.json`.

    `asked`: words that the table depends on (model, task, runtime, precision, threads, batch, forms, ...). `reference_ns` is
    the unfolded network's latency (None: there is nothing to fold), `slope` what an isolated gain is to be multiplied by in
    place, `resolution` the smallest difference that the device tells apart by its calibration, `undecided` the options whose
    interval holds 0. `chosen` is the plan that `goal` means (goals.Goal): None where no plan does. `interactions` are those of
    the front's plans and of pairs within them, where prices are losses; `unpriced` says why an option has no price.
    """

    schema: int
    device: str
    created: str
    asked: Mapping[str, Any]
    listing: Listing
    reference_ns: float | None
    slope: float | None
    gains: tuple[Gain, ...]
    prices: tuple[Price, ...]
    front: tuple[FoldingPlan, ...]
    chosen: int | None
    undecided: tuple[str, ...]
    resolution: float | None
    seconds: Mapping[str, float]
    facts: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    goal: Mapping[str, Any] = field(default_factory=dict)
    interactions: tuple[Interaction, ...] = ()
    unpriced: Mapping[str, str] = field(default_factory=dict)

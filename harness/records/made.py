"""What is made: fold groups, costs, variants, rungs, ladders, artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.records.asked import Method, Padding

Form = Literal["torch", "onnx"]

DELTA_EXAMPLES = 2000  # the fewest that `--delta` can be judged on: an accuracy's standard error is a point at most
FOLD_ERROR_F32, FOLD_ERROR_F64 = 1e-5, 1e-12  # what exact folding may differ by: relative max-abs, of outputs


@dataclass(frozen=True)
class Cost:
    """What one inference of one example costs, counted on the traced, folded graph.

    `depth`: convolution and linear operators on the longest path. `macs` are nominal, `macs_useful` without taps that
    only meet padding; `flops` = 2 x macs (convolution and linear). `weight_bytes` and `activation_bytes` at float32:
    all parameters and buffers read, and all operators' outputs. `uncounted` names operators that no rule covers. None:
    the graph of a given network does not tell it.
    """

    depth: int | None
    macs: int | None
    macs_useful: int | None
    flops: int | None
    parameters: int
    weight_bytes: int
    activation_bytes: int | None
    uncounted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer of a variant: its path (of a given network: its node), its kind, MACs per example."""

    name: str
    kind: str
    macs: int


@dataclass(frozen=True)
class Spread:
    """How a layer's weights lie within number formats, channels being those of its output.

    `channels`: the largest weight of the channel that has most, over that of the one that has least (channels of zeros
    aside). `int8_channel` and `int8_tensor`: relative rms error of weights rounded to int8 with one scale per channel or
    one for all. `fp16_lost`: share of channels that float16 cannot hold, or only with fewer bits.
    """

    channels: float
    int8_channel: float
    int8_tensor: float
    fp16_lost: float


@dataclass(frozen=True)
class Group:
    """One fold group of a network: what was merged into what, or why it was left. MACs and weights per example.

    `form` is what stands for a merged group; None where nothing was merged, and in runs of older versions. `opened_by`
    are the removed activations inside it; `wholly_opened`, that one was removed wherever two layers meet. `before` and
    `after` are costs of a merged group, `spread_before` the worst of its layers, `suffers` the number formats in which it
    will lose by being merged.
    """

    path: str
    layers: tuple[str, ...]
    kind: str
    reason: str | None
    macs_before: int
    macs_after: int
    weights_before: int
    weights_after: int
    form: str | None = None
    opened_by: tuple[str, ...] = ()
    wholly_opened: bool = False
    before: Cost | None = None
    after: Cost | None = None
    spread_before: Spread | None = None
    spread_after: Spread | None = None
    suffers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Flip:
    """An example whose prediction folding changed: by how much its two best outputs differed, and how far outputs are off."""

    example: int
    margin: float
    error: float


@dataclass(frozen=True)
class Variant:
    """What is deployed: a folded rung, named by the hash of its graph and weights; `program` is its file, of this `form`.

    `torch`: what torch.export wrote. `onnx`: a network that was given; its own graph says what all its inputs are.
    `vocabulary`: its input are int64 tokens below this number; None where they are float32 numbers.
    """

    name: str
    program: str
    input_shape: tuple[int, ...]
    classes: int
    vocabulary: int | None = None
    form: Form = "torch"

    @property
    def input_dtype(self) -> str:
        """The input's type, as torch and NumPy call it."""
        return "float32" if self.vocabulary is None else "int64"


@dataclass(frozen=True)
class Rung:
    """One position of a ladder: a shallower network, its cost, accuracy and fold errors.

    Accuracies are fractions of the test split: `accuracy` of the rung as deployed; `accuracy_removed` with the last
    activation gone and padding kept, `accuracy_moved` after the padding moved, both before fine-tuning. Fold errors are
    relative max-abs differences of outputs. `choice`: why the method took what it took here; None where it was told.

    Of a given network nobody says what was removed, moved and folded: these are None. Its `difference` is the relative
    max-abs difference of its outputs from rung 0's, in float32. `layers` are the variant's convolution and linear layers in
    the order in which they run; () in runs of older versions.

    `epochs` and `seconds` are those of training, of full depth included, and of making this rung; `accuracy_validation` is
    on the part that methods choose by. `correct` says of each test example whether it was classified correctly: bits in
    hexadecimal, the first example highest. None or empty: not trained, or of an older version.
    """

    rung: int
    network: str
    removed: int | None
    activations: int | None
    eligible: int | None
    removed_names: tuple[str, ...]
    setting: float | None
    padding: Padding | None
    cost: Cost
    fold_error: float | None
    fold_error_f64: float | None
    accuracy: float | None
    accuracy_removed: float | None
    accuracy_moved: float | None
    variant: Variant
    groups: tuple[Group, ...]
    choice: Choice | None
    reasons: Mapping[str, str] = field(default_factory=dict)
    difference: float | None = None
    layers: tuple[Layer, ...] = ()
    epochs: int | None = None
    seconds: float | None = None
    accuracy_validation: float | None = None
    correct: str = ""


@dataclass(frozen=True)
class Choice:
    """What a method took (activations or blocks) and why: the score per candidate, lowest first out.

    `gap` lies between the last that went and the first that stayed; `gap_error` is its bootstrap standard error (None: no
    data). `setting` is the method's own scalar at this rung: a sparsity, a threshold, a width.
    """

    chosen: tuple[str, ...]
    scores: Mapping[str, float]
    gap: float | None
    gap_error: float | None
    setting: float | None = None


@dataclass(frozen=True)
class FoldReport:
    """What folding one network came to: the costs of the network as it was given and as it is folded.

    Fold errors are relative max-abs differences of outputs, against the network without the removed activations.
    `fixed_size`: it takes images of `input_shape` alone. `files` are those that were written. `flips` are predictions
    that differ in float32, of as many examples as `examples` says.
    """

    model: str
    input_shape: tuple[int, ...]
    activations: int
    removed_names: tuple[str, ...]
    padding: Padding
    policy: str
    before: Cost
    after: Cost
    groups: tuple[Group, ...]
    fold_error: float
    fold_error_f64: float
    fixed_size: bool
    seconds: float
    files: tuple[str, ...]
    flips: tuple[Flip, ...] = ()
    examples: int = 0


@dataclass(frozen=True)
class Ladder:
    """A method's sequence of shallower networks. Latency controls form a ladder of their own, method `control`.

    So do given networks, method `onnx`, which have no task. `test_examples` is the size of the test split: what one step
    of an accuracy is worth. `ended`: why there are no more rungs, where it was not for want of candidates. `delta`: what of
    accuracy it was allowed to lose, judged on so many `validation_examples`; None: as much as it liked.
    """

    name: str
    method: Method
    model: str
    task: str | None
    recipe: Mapping[str, Any]
    seed: int
    rungs: tuple[Rung, ...]
    seconds: float = 0.0
    cached: bool = False
    test_examples: int | None = None
    ended: str = ""
    delta: float | None = None
    validation_examples: int | None = None


@dataclass(frozen=True)
class Calibration:
    """Inputs that int8 is calibrated on: a NumPy file, float32 or int64 tokens of shape (N, *input_shape); `sha256` of it."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Exam:
    """A task's test part as two NumPy files, `inputs` (N, *input_shape) and `labels` (N,); `sha256` of what both hold."""

    inputs: str
    labels: str
    sha256: str


@dataclass(frozen=True)
class Examples:
    """What artifacts of rounded numbers need of a task: inputs to calibrate on, and its test part to be judged on."""

    calibration: Calibration
    exam: Exam


@dataclass(frozen=True)
class Artifact:
    """A variant compiled for runtime, precision, target and options, named by the hash of its bytes.

    `sample_path` holds inputs and the network's own outputs for the check on the device; `ops_executed` counts the operators of
    the built graph where the format can be walked. `accuracy`: that of the artifact itself, run here, on the test split;
    where it is None, `no_accuracy` says why, if it was asked for. `made_for` is the processor of its target, if it has one.
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
    accuracy: float | None = None
    no_accuracy: str = ""
    made_for: str = ""


@dataclass(frozen=True)
class Wheel:
    """A package for boards, unpacked here and packed again as one `.tar.gz`: `sha256` and size are those of that file."""

    name: str
    version: str
    sha256: str
    size_bytes: int
    path: str


@dataclass(frozen=True)
class Environment:
    """The packages that a runtime needs on a board, locked. `key` names the folder there; with `system_packages` the
    board's own packages can be imported too (JetPack's TensorRT).
    """

    key: str
    wheels: tuple[Wheel, ...]
    system_packages: bool = False

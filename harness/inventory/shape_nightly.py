"""`nightly:` of inventory.yaml as pydantic models. Names are checked for their shape; `nightly.py` knows what there is."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.inventory.rules import DeviceName, DeviceWord, Distinct, FilePath, Line, Name
from harness.inventory.strict import Strict

DAYS = 36_500
NIGHT_S = 6 * 3600.0
Count = Annotated[int, Field(ge=1, le=1024)]
Priority = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
DeviceWords = Annotated[list[DeviceWord], Field(min_length=1), Distinct]
SomeNames = Annotated[list[Name], Field(min_length=1), Distinct]
Counts = Annotated[list[Count], Field(min_length=1), Distinct]


class WordsFile(Strict):
    """Further flags of `harness run`, by name with underscores: `budget_epochs: 20` is --budget-epochs 20."""

    task: Name | None = Field(None, description="Its data; by default the model's own.")
    data: FilePath | None = Field(None, description="A folder for tasks that read one.")
    eligible: Name | None = Field(None, description="Activations: mergeable or all.")
    entropy: Name | None = Field(None, description="Of method easier: channel or position.")
    order: Line | None = Field(None, description="Of method order: activations, first out first, with commas.")
    recipe: list[Line] | None = Field(None, description="Settings of the method, key=value.")
    schedule: Name | None = Field(None, description="How networks are trained.")
    budget_epochs: int | None = Field(None, description="Epochs of a ladder beyond full depth.")
    rungs: int | None = Field(None, description="Rungs at most, besides full depth.")
    step: int | None = Field(None, description="What a rung takes at once.")
    delta: float | None = Field(None, description="End a ladder where it is so much less accurate than `continue`.")
    distil: float | None = Field(None, description="The full network's share of the loss.")
    seeds: int | None = Field(None, description="A ladder for each of so many seeds.")
    train_on: Name | None = Field(None, description="cpu or cuda.")
    batch: int | None = Field(None, description="Inputs per inference.")
    option: list[Line] | None = Field(None, description="Options of the runtime, key=value.")
    budget: float | None = Field(None, description="Seconds of measuring, at most.")
    seed: int | None = Field(None, description="Of training and of the order of measuring.")
    controls: bool | None = Field(None, description="Measure the latency controls beside the ladder.")
    tune: Line | None = Field(None, description="Settings of the profile to bring about, with commas.")
    regime: Name | None = Field(None, description="burst or sustained.")
    profile: bool | None = Field(None, description="Time each operator too, once all is measured.")
    energy: Name | None = Field(None, description="both, paced, closed, none or auto.")
    windows: int | None = Field(None, description="Energy windows of each case and scenario.")
    window: float | None = Field(None, description="Length of one in seconds.")
    rate: float | None = Field(None, description="Inferences a second of the paced scenario.")


NO_WORDS = WordsFile.model_validate({})
CHEAP = WordsFile.model_validate({"rungs": 1, "controls": False, "budget": 60.0, "energy": "none"})


class BlockFile(Strict):
    """Every combination of these is a row of the matrix: one `harness run` on one device."""

    devices: DeviceWords = Field(description="Devices by name, or tag:WORD for all that carry it.")
    models: SomeNames = Field(description="Networks (`harness models`).")
    methods: SomeNames = Field(description="How depth is chosen (`harness methods`), each in a run of its own.")
    runtimes: SomeNames | None = Field(None, description="Runtimes (`harness runtimes`); else each device's first.")
    precisions: SomeNames = Field(["fp32"], description="Of weights and arithmetic.")
    threads: Counts | None = Field(None, description="Of an inference; else the profile's.")
    power_modes: SomeNames | None = Field(None, description="Power modes of the profile; else the device as it is.")
    priority: Priority = Field(0, description="Rows of a higher one come first, and in a short night alone.")
    words: WordsFile = Field(NO_WORDS, description="Further flags of `harness run`.")
    why: Line | None = Field(None, description="What these rows are for, in one line.")


class PickFile(Strict):
    """Rows that have one of each of these; what is not said leaves any."""

    devices: DeviceWords | None = Field(None, description="Devices by name, or tag:WORD.")
    models: SomeNames | None = Field(None, description="Networks.")
    methods: SomeNames | None = Field(None, description="Methods.")
    runtimes: SomeNames | None = Field(None, description="Runtimes.")
    precisions: SomeNames | None = Field(None, description="Precisions.")
    threads: Counts | None = Field(None, description="Threads, where a block says them.")
    power_modes: SomeNames | None = Field(None, description="Power modes, where a block says them.")


class ExclusionFile(PickFile):
    """Rows that are not measured."""

    reason: Line = Field(description="Why, in one line; an issue's address, say. It is told every night.")


class OverrideFile(PickFile):
    """Rows that differ from the others of their block."""

    priority: Priority | None = Field(None, description="Another priority.")
    words: WordsFile = Field(NO_WORDS, description="Further flags of `harness run`, laid over the block's.")


class RowFile(Strict):
    """A single row, whatever is excluded."""

    device: DeviceName = Field(description="A device by name.")
    model: Name = Field(description="A network.")
    method: Name = Field(description="A method.")
    runtime: Name | None = Field(None, description="A runtime; else the device's first.")
    precision: Name = Field("fp32", description="Of weights and arithmetic.")
    threads: Count | None = Field(None, description="Of an inference; else the profile's.")
    power_mode: Name | None = Field(None, description="A power mode of the profile.")
    priority: Priority = Field(0, description="Rows of a higher one come first.")
    words: WordsFile = Field(NO_WORDS, description="Further flags of `harness run`.")
    reason: Line = Field(description="Why it is measured, in one line.")


class CanaryFile(Strict):
    """The row that is measured first on every device, every night: it never changes, so where it moves the device has changed."""

    model: Name = Field("tiny", description="A network, the cheaper the better.")
    method: Name = Field("order", description="A method; one that trains nothing.")
    runtime: Name | None = Field(None, description="A runtime that all devices have; else each one's first.")
    precision: Name = Field("fp32", description="Of weights and arithmetic.")
    threads: Count | None = Field(None, description="Of an inference; else the profile's.")
    words: WordsFile = Field(CHEAP, description="Further flags of `harness run`.")


class NightlyFile(Strict):
    """What `harness nightly` measures."""

    budget_s: float = Field(
        NIGHT_S, gt=0, le=7 * 86400, allow_inf_nan=False, description="Seconds of a night, of each device."
    )
    max_age_days: Annotated[int, Field(ge=0, le=DAYS)] | None = Field(
        None, description="After so many nights a row is measured again although nothing changed; else never."
    )
    keep_samples_days: Annotated[int, Field(ge=1, le=DAYS)] | None = Field(
        None,
        description="After so many days raw samples of runs are given up, medians stay; else they are kept for ever.",
    )
    canary: CanaryFile = Field(CanaryFile.model_validate({}), description="The row that never changes.")
    matrix: list[BlockFile] = Field([], max_length=1000, description="Blocks of rows.")
    exclude: list[ExclusionFile] = Field([], max_length=1000, description="Rows of these blocks that are not measured.")
    include: list[RowFile] = Field([], max_length=1000, description="Single rows besides, whatever is excluded.")
    overrides: list[OverrideFile] = Field(
        [], max_length=1000, description="Other priorities and words for some rows, in this order."
    )

"""What is asked: devices, ladders to make, the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.wire import Setting

Method = str
Eligible = Literal["mergeable", "all"]
Padding = Literal["kept", "moved"]

ONNX = "onnx"  # the method of networks that were folded elsewhere and given as files


@dataclass(frozen=True)
class Profile:
    """A kind of device: `devices/profiles/<name>.yaml`. `runtimes` are in order of preference; `target` goes to export.

    `tune` are the settings that `--tune` can bring about, by name; `cooldown_s` the longest wait for it to cool.
    """

    name: str
    description: str
    arch: str
    runtimes: tuple[str, ...]
    threads: int = 1
    target: Mapping[str, str] = field(default_factory=dict)
    tune: Mapping[str, tuple[Setting, ...]] = field(default_factory=dict)
    cooldown_s: float = 0.0


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
class FoldRequest:
    """One network to fold by itself: a model, with the weights of a state_dict file or random ones of `seed`.

    `remove`: paths of activations, or the one word `all`, or `mergeable` (all that alone bring two layers together). With
    `padding` moved, each group pads once, before its first convolution: another function. `policy` and `forms` are folding's;
    `out` is a path without suffix.
    """

    model: str
    weights: str | None
    classes: int
    input_shape: tuple[int, ...]
    remove: tuple[str, ...]
    padding: Padding = "kept"
    policy: str = "exact"
    forms: tuple[str, ...] = ()
    seed: int = 0
    out: str | None = None


@dataclass(frozen=True)
class GivenNetwork:
    """A network given as an ONNX file: its name, where it lies, the SHA-256 of what it holds, data beside it included.

    `inputs` are the shapes that it is measured with, batch first, by name.
    """

    name: str
    path: str
    sha256: str
    inputs: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Plan:
    """What one invocation will do on one device, decided and checked before any long work.

    Either `ladders` are made here, or `given` networks are measured as they are, the first of them the reference.
    """

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
    tune: tuple[str, ...] = ()
    regime: str = "burst"
    given: tuple[GivenNetwork, ...] = ()

"""What is asked: devices, ladders to make, the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.wire import Setting

Method = str
Eligible = Literal["mergeable", "all"]
Padding = Literal["kept", "moved"]
EnergyMode = Literal["auto", "both", "paced", "closed", "none"]

ONNX = "onnx"  # the method of networks that were folded elsewhere and given as files


@dataclass(frozen=True)
class System:
    """An operating system that a kind of device may run (`jetpack-6`): what compilers and wheels must fit.

    `release` is a pattern that `/etc/nv_tegra_release` or the OS's own name matches; `pythons` are its own ("3.10"), `glibc`
    its C library ("2.35"); `target` adds to the profile's.
    """

    name: str
    release: str
    pythons: tuple[str, ...]
    glibc: str
    target: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PowerMode:
    """A power mode by its name: the settings that bring it about, the fan and the thermal regime that belong to it."""

    name: str
    settings: tuple[Setting, ...]
    fan: str | None = None
    regime: str | None = None


@dataclass(frozen=True)
class Profile:
    """A kind of device: `devices/profiles/<name>.yaml`. `runtimes` are in order of preference; `target` goes to export.

    `target` holds what compilers need (`cpu`, `triple`, `compute_capability`); `models` are patterns of the device tree's
    model; `systems` what it may run, the usual one first; `sensors` its sources of power readings, by name. `tune` are the
    settings that `--tune` can bring about, by name, `power_modes` those of `--power-mode`; `cooldown_s` is the longest wait
    for it to cool.
    """

    name: str
    description: str
    arch: str
    runtimes: tuple[str, ...]
    threads: int = 1
    target: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    systems: tuple[System, ...] = ()
    sensors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tune: Mapping[str, tuple[Setting, ...]] = field(default_factory=dict)
    power_modes: Mapping[str, PowerMode] = field(default_factory=dict)
    cooldown_s: float = 0.0


@dataclass(frozen=True)
class Address:
    """Where a device is reached by SSH; what is None is as the user's SSH configuration has it.

    `jump` is `[user@]host[:port]`; `declared` is the file and line of the inventory that gives the host, for errors;
    `patience_s` is how long a link that was lost is tried again.
    """

    host: str
    port: int | None = None
    user: str | None = None
    key: str | None = None
    jump: str | None = None
    known_hosts: str | None = None
    patience_s: float = 120.0
    declared: str = ""


@dataclass(frozen=True)
class Device:
    """A machine named in the inventory; without an address it is this one. `workdir` holds all the agent keeps.

    `runtimes` and `sensors` (with their options) are the inventory's, else the profile's; `python` is the interpreter there;
    `system` the one of the profile's systems that it runs, by name (None: the profile's first).
    """

    name: str
    profile: Profile
    address: Address | None = None
    workdir: str = "~/.edge-harness"
    python: str = "python3"
    system: str | None = None
    runtimes: tuple[str, ...] = ()
    sensors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    virtual: bool = False

    @property
    def target(self) -> Mapping[str, str]:
        """What compilers must know of it: its profile's words, and those of the system that it runs over them."""
        named = [system for system in self.profile.systems if self.system in (None, system.name)]
        return {**self.profile.target, **(named[0].target if named else {})}


@dataclass(frozen=True)
class LadderRequest:
    """One ladder to make: method with its recipe (only what differs from the method's defaults) on a model and its task.

    `data` is a folder for tasks that read one; `threads` train; `forms` are folding's forms beyond the default ones.
    `schedule` names how networks are trained, `budget_epochs` the epochs of the whole ladder beyond full depth. At most
    `rungs` rungs of `step` units each; the ladder ends where accuracy on the validation part is more than `delta` (a
    fraction) below that of the control `continue`. `distil` is the full network's share of the loss. `train_on`: cpu, cuda.
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
    schedule: str = "quick"
    budget_epochs: int | None = None
    rungs: int | None = None
    step: int = 1
    delta: float | None = None
    distil: float | None = None
    train_on: str = "cpu"


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
class EnergyRequest:
    """What is asked of energy: `mode`, `windows` per case and scenario, a window's length in s, the paced rate in Hz.

    `auto`: both scenarios where a sensor can be read, else none. None: as the sensors need it, half the slowest case's rate.
    """

    mode: EnergyMode = "auto"
    windows: int = 5
    window_s: float | None = None
    rate_hz: float | None = None


@dataclass(frozen=True)
class Plan:
    """What one invocation will do on one device, decided and checked before any long work.

    Either `ladders` are made here, or `given` networks are measured as they are, the first of them the reference.
    `profiling`: operators are timed too, and hardware events counted (`--profile`).
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
    power_mode: str | None = None
    profiling: bool = False
    energy: EnergyRequest = EnergyRequest()

"""The two YAML files as pydantic models. Descriptions go into the JSON Schema and the docs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.inventory.rules import (
    DeviceName,
    Distinct,
    FilePath,
    Flag,
    Folder,
    Host,
    Jump,
    Line,
    Name,
    Options,
    Pattern,
    Python,
    User,
    Version,
)
from harness.inventory.shape_nightly import NightlyFile
from harness.inventory.strict import Strict

Names = Annotated[list[Name], Distinct]
SomeNames = Annotated[list[Name], Field(min_length=1), Distinct]


class DeviceFile(Strict):
    """A device: which kind it is, and where to find it."""

    profile: Name = Field(description="The kind of device: devices/profiles/<profile>.yaml (`harness profiles`).")
    host: Host | None = Field(
        None,
        description="Where its SSH server is: a name, an alias of ~/.ssh/config, or an address. Without: this machine.",
    )
    port: int | None = Field(
        None, ge=1, le=65535, description="Port of the SSH server; else your SSH configuration's, else 22."
    )
    user: User | None = Field(None, description="User to log in as; else your SSH configuration's, else your own name.")
    key: FilePath | None = Field(
        None, description="Private key file; else your SSH configuration's and your agent's keys."
    )
    jump: Jump | None = Field(None, description="Host to go through: [user@]host[:port].")
    known_hosts: FilePath | None = Field(None, description="File of host keys; else ~/.ssh/known_hosts.")
    patience_s: float | None = Field(
        None, ge=0, le=86400, allow_inf_nan=False, description="Seconds for which a lost link is tried again (120)."
    )
    workdir: Folder = Field(
        "~/.edge-harness", description="Folder on the device that holds all that harness keeps there."
    )
    python: Python = Field(
        "python3", description="Python interpreter on the device, 3.8 or newer: a name or an absolute path."
    )
    system: Name | None = Field(None, description="Which of the profile's systems it runs; else the profile's first.")
    runtimes: SomeNames | None = Field(None, description="Runtimes in order of preference; else the profile's.")
    sensors: dict[Name, Options] | None = Field(
        None,
        description="Sensors of power with their options, which are laid over the profile's; else the profile's sensors.",
    )
    tags: Names = Field([], description="Words by which several devices are named at once: --device tag:WORD.")
    virtual: bool = Field(False, description="An emulated device: its results are compared, its times never are.")


class InventoryFile(Strict):
    """Your devices: name -> profile and where to find it; and what is measured on them every night."""

    devices: dict[DeviceName, DeviceFile] = Field(description="Devices by name; the name is what --device takes.")
    nightly: NightlyFile | None = Field(
        None, description="What `harness nightly` measures: docs/inventory.md, The nightly matrix."
    )


class SettingFile(Strict):
    """A state of the device: a file pattern with a value, or commands that apply, query and restore."""

    value: str = Field(
        description="What the files are to hold (@name: what the file beside it holds), or what the query is to match."
    )
    file: str = Field("", description="Pattern of files in /sys or /proc/sys.")
    apply: list[str] = Field([], description="Command that brings it about, a list of words.")
    query: list[str] = Field([], description="Command that says what is in force.")
    restore: list[str] = Field([], description="Command that undoes it; {before} is what the query said before.")


class SystemFile(Strict):
    """An operating system of this kind of device."""

    release: Pattern = Field(
        description="Regular expression for the first line of /etc/nv_tegra_release or the PRETTY_NAME of os-release, as a whole."
    )
    pythons: Annotated[list[Version], Field(min_length=1), Distinct] = Field(
        description='Its own Pythons, such as "3.11".'
    )
    glibc: Version = Field(description='Its C library, such as "2.36"; with arch it gives the wheel tags that fit.')
    target: dict[Name, Flag] = Field(
        {}, description="What compilers need on this system, laid over the profile's target."
    )


class PowerModeFile(Strict):
    """A power mode: the settings that bring it about, and what belongs to it."""

    settings: list[SettingFile] = Field(min_length=1, description="Brought about before those of --tune.")
    fan: Name | None = Field(None, description="A setting of `tune:` that is brought about with it.")
    regime: Literal["burst", "sustained"] | None = Field(None, description="Thermal regime, where --regime says none.")


class ProfileFile(Strict):
    """A kind of device."""

    description: Line = Field(description="What it is, in one line.")
    arch: Literal["x86_64", "aarch64", "any"] = Field(description="Architecture of programs that run on it.")
    target: dict[Name, Flag] = Field({}, description="What compilers need: cpu, triple, compute_capability.")
    models: list[Pattern] = Field([], description="Regular expressions for /proc/device-tree/model, as a whole.")
    systems: dict[Name, SystemFile] = Field({}, description="Operating systems that it may run, the usual one first.")
    runtimes: SomeNames = Field(description="Runtimes in order of preference; the first is the default.")
    threads: int = Field(1, ge=1, le=1024, description="Threads that a network runs with, where --threads says none.")
    sensors: dict[Name, Options] = Field({}, description="Sources of power readings with their options.")
    tune: dict[Name, list[SettingFile]] = Field(
        {}, description="Settings that --tune can bring about, by name, in this order."
    )
    power_modes: dict[Name, PowerModeFile] = Field({}, description="Power modes that --power-mode can choose, by name.")
    cooldown_s: float = Field(
        0.0, ge=0, le=3600, allow_inf_nan=False, description="Longest wait for it to cool before a block, in seconds."
    )

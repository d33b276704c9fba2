"""Make a device ready: who holds it, what it is, room, its sensors, and its runtimes with the packages that they need.

    connect -> look -> free, or waited for, or taken -> room, architecture, sensors -> per runtime: environment, probe -> Ready

All that can fail is found here, before any long work; nothing is measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness import bundle, content, energy, interrupt, provision, transport, wire
from harness.child import OnProgress, Progress
from harness.errors import BusyError, DeviceError, HarnessError
from harness.records import Device, EnergyRequest, Environment
from harness.text import printable
from harness.transport import Transport

Busy = Literal["refuse", "wait", "steal"]
"""What to do about a device that another agent holds."""

_WAIT_S = 10.0
_NO_ENERGY = EnergyRequest("none")


@dataclass(frozen=True)
class Ready:
    """A device that can begin: the line to it, and by runtime what it needs there and what it said of itself.

    `sensors`: status and reason of each of its sensors of power; empty where none was asked for.
    """

    device: Device
    line: Transport
    facts: Mapping[str, Any]
    environments: Mapping[str, Environment | None]
    probed: Mapping[str, Mapping[str, Any]]
    busy: Busy = "refuse"
    sensors: energy.Found = field(default_factory=dict)


def make(
    device: Device,
    runtimes: Iterable[str],
    tell: OnProgress,
    busy: Busy = "refuse",
    line: Transport | None = None,
    asked: EnergyRequest = _NO_ENERGY,
) -> Ready:
    """Look at a device, install what its runtimes need, import them there. Raises DeviceError at the first that fails.

    Its sensors are read once where energy is `asked` for; UsageError where the words do not fit those that can be read.
    """
    line = transport.connect(device) if line is None else line
    runtimes = tuple(runtimes)
    wanted = {} if asked.mode == "none" else energy.listed(device, "device")
    agents = {runtime: bundle.build(runtime, tuple(wanted)) for runtime in runtimes}
    first = agents[runtimes[0]]
    seen = line.look(first, wanted)
    if seen.get("holder") is not None:
        _free(line, first, seen, busy, tell)
        seen = line.look(first, wanted)
    transport.require_room(device.name, seen)
    facts = transport.told(seen, "facts", dict, device.name)
    _require_architecture(device, facts)
    found = _sensors(device, asked, seen, tell)
    environments = {runtime: environment(device, runtime, facts, tell) for runtime in runtimes}
    probed = {}
    for runtime in runtimes:
        tell(Progress(f"looking at {runtime} on {device.name}"))
        probed[runtime] = line.probe(agents[runtime], runtime, environments[runtime])
    return Ready(device, line, facts, environments, probed, busy, found)


def free_again(ready: Ready, runtime: str, tell: OnProgress) -> None:
    """Free a device that somebody has taken since it was made ready. Raises BusyError where that is not wanted."""
    agent = bundle.build(runtime)
    seen = ready.line.look(agent)
    if seen.get("holder") is not None:
        _free(ready.line, agent, seen, ready.busy, tell)


def sensors(device: Device, seen: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return status and reason of each of the device's sensors: as `look` has seen them, or as they are from here.

    Those that the controller reads are asked here, over the network that they are on. Raises ContentError.
    """
    here = {name: _probed(name, options) for name, options in energy.listed(device, "controller").items()}
    return energy.heard(device, seen.get("sensors"), here)


def _probed(name: str, options: Mapping[str, Any]) -> tuple[str, str]:
    """What a sensor says of itself; whatever else its file raises is its own fault, as it is on a device."""
    sensor = content.load("sensor", name)
    try:
        status, reason = sensor.probe(dict(options))
    except HarnessError:
        raise
    except Exception as error:
        told = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        return "error", printable(told)
    return (status, printable(reason)) if status in wire.STATUSES else ("error", f"it says {status!r}")


def _sensors(device: Device, asked: EnergyRequest, seen: Mapping[str, Any], tell: OnProgress) -> energy.Found:
    """Read each sensor once, say which will be used and why not the others."""
    if asked.mode == "none":
        return {}
    found = sensors(device, seen)
    meters = energy.usable(device, found)
    energy.require_readable(asked, device, meters)
    tell(Progress(energy.say_found(asked, device, meters)))
    energy.plan(asked, device, found)  # a window that is too short for a sensor is found now
    return found


def environment(device: Device, runtime: str, facts: Mapping[str, Any], tell: OnProgress) -> Environment | None:
    """Return the packages that a runtime needs on a device; None on this machine, which has its own."""
    if device.address is None:
        return None
    return provision.environment(runtime, facts, tell)


def _require_architecture(device: Device, facts: Mapping[str, Any]) -> None:
    machine = facts.get("machine")
    if device.profile.arch not in ("any", machine):
        raise DeviceError(
            f"device {device.name} is {machine}, its profile {device.profile.name} says {device.profile.arch}",
            "Give it another profile in the inventory.",
        )


def _free(line: Transport, agent: Path, seen: Mapping[str, Any], busy: Busy, tell: OnProgress) -> None:
    """Return once the device is free: never, after waiting, or when the other agent has been ended."""
    if busy == "steal":
        tell(Progress(f"ending {_who(seen)} on {line.name}"))
        line.stop()
        seen = line.look(agent)
    while busy == "wait" and seen.get("holder") is not None:
        tell(Progress(f"waiting for {line.name}: it is held by {_who(seen)}"))
        interrupt.pause(_WAIT_S)
        seen = line.look(agent)
    if seen.get("holder") is not None:
        raise BusyError(
            f"device {line.name} is busy: it is held by {_who(seen)}",
            "Wait for it (--wait), end that run (--steal), or name another device.",
        )


def _who(seen: Mapping[str, Any]) -> str:
    """The holder of a lock in words, by what it has signed."""
    holder = seen.get("holder")
    if not isinstance(holder, dict) or "run" not in holder:
        return "another agent"
    said = {key: printable(str(holder.get(key, "?")))[:100] for key in ("run", "owner", "job", "pid")}
    return f"run {said['run']} of {said['owner']} (job {said['job']}, pid {said['pid']})"

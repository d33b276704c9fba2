"""Energy passes, decided: what is asked, which sensors are read and why not the others, the plan of a job, how long it takes.

    words -> EnergyRequest      Device + what its sensors said -> Meters      both -> wire.EnergyPlan -> seconds, words

Of a sensor's file only literals are read here; nothing is imported and nothing is asked of a device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from harness import content, wire
from harness.errors import DeviceError, UsageError
from harness.records import Device, EnergyMode, EnergyRequest
from harness.text import printable

Found = Mapping[str, tuple[str, str]]
"""Status and reason of sensors, by name."""

LEAST_WINDOWS = 5  # of which ratios are paired: fewer give no interval that means something
_START_S = 2.0  # a fresh process that loads, proves and warms up
_UNSUPPORTED = "there is no file for it in this version (`harness sensors` lists those that there are)"
_NONE = "no sensor: attach a meter and name it in the inventory, or energy is null"


@dataclass(frozen=True)
class Meters:
    """Which of a device's sensors are read, in its order: there, by the controller; and why the others are not."""

    device: tuple[str, ...] = ()
    controller: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All that are read."""
        return (*self.device, *self.controller)


def ask(mode: str, windows: int | None, window_s: float | None, rate_hz: float | None) -> EnergyRequest:
    """Return what is asked of energy; None: not said. Raises UsageError for a wrong word or a contradiction."""
    content.require_known("energy mode", mode, get_args(EnergyMode))
    for flag, value in (("--windows", windows), ("--window", window_s), ("--rate", rate_hz)):
        if mode == "none" and value is not None:
            raise UsageError(f"{flag} cannot be said beside --energy none: no energy is measured then", "Drop one.")
    if mode == "closed" and rate_hz is not None:
        raise UsageError(
            "--rate cannot be said beside --energy closed: inferences back to back have no rate", "Drop one."
        )
    if windows is not None and windows < LEAST_WINDOWS:
        why = "ratios are paired window by window, and fewer give no interval"
        raise UsageError(f"--windows {windows}: at least {LEAST_WINDOWS} are needed: {why}")
    _require_range("--windows", windows, LEAST_WINDOWS, 1000)
    _require_range("--window", window_s, 0.1, 3600)
    _require_range("--rate", rate_hz, 0.001, 1_000_000)
    return EnergyRequest(cast(EnergyMode, mode), LEAST_WINDOWS if windows is None else windows, window_s, rate_hz)


def _require_range(flag: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise UsageError(f"{flag} {value:g}: must be from {low:g} to {high:.0f}")


# --- a device's sensors --------------------------------------------------------------------------------------------


def where(name: str) -> str:
    """Return where a sensor is read: on the `device`, or by the `controller`."""
    return str(content.constant("sensor", name, "WHERE", default="device"))


def listed(device: Device, place: str | None = None) -> dict[str, dict[str, Any]]:
    """Return the device's sensors for which there is a file, with their options; of `place` alone, if one is named."""
    known = content.names("sensor")
    return {
        name: dict(options)
        for name, options in device.sensors.items()
        if name in known and place in (None, where(name))
    }


def heard(device: Device, answer: Any, here: Found) -> dict[str, tuple[str, str]]:
    """Return status and reason of each of the device's sensors: what it `answer`ed to `look`, what was found `here`.

    A device may answer anything: its words are made printable, an unknown status is an error.
    """
    told = answer if isinstance(answer, dict) else {}
    supported = listed(device)
    return {
        name: here.get(name) or (_status(told.get(name)) if name in supported else ("unsupported", _UNSUPPORTED))
        for name in device.sensors
    }


def _status(answer: Any) -> tuple[str, str]:
    said = answer if isinstance(answer, dict) else {}
    status, reason = said.get("status"), printable(str(said.get("reason", "")))
    if status in wire.STATUSES:
        return str(status), reason
    return "error", "the agent does not tell" if status is None else f"it says {printable(str(status))!r}"


def usable(device: Device, found: Found) -> Meters:
    """Return the meters that are read: each that can be, unless another that can be makes it superfluous."""
    readable = [name for name in listed(device) if found.get(name, ("", ""))[0] == "ok"]
    left_out: dict[str, str] = {}
    for name in device.sensors:
        better = [other for other in _replaced_by(name) if other in readable] if name in readable else []
        if better:
            left_out[name] = f"{better[0]} can be read, which makes it superfluous"
        elif name not in readable:
            left_out[name] = _told(found.get(name, ("error", "it was not asked")))
    used = [name for name in readable if name not in left_out]
    by_controller = tuple(name for name in used if where(name) == "controller")
    return Meters(tuple(name for name in used if name not in by_controller), by_controller, left_out)


def _replaced_by(name: str) -> tuple[str, ...]:
    return tuple(content.constant("sensor", name, "REPLACES", default=()))


def _told(found: tuple[str, str]) -> str:
    status, reason = found
    return f"{status}: {reason}" if reason else status


# --- the plan of a job ---------------------------------------------------------------------------------------------


def require_possible(request: EnergyRequest, device: Device) -> None:
    """Refuse, before the device is asked, what none of its sensors could do. Raises UsageError."""
    sensors = listed(device)
    if not sensors and request.mode not in ("auto", "none"):
        named = f": {', '.join(device.sensors)} has no file in this version" if device.sensors else ""
        raise UsageError(
            f'--energy {request.mode}: device "{device.name}" has no sensor of power{named}',
            "Attach a meter and name it under the device's `sensors:` in the inventory (`harness sensors` lists them), "
            "or drop --energy: energy is then null.",
        )
    if sensors and request.mode != "none":
        easiest = min(sensors, key=lambda name: windows_s(name)[0])
        _window_s(request, (easiest,))


def require_readable(request: EnergyRequest, device: Device, meters: Meters) -> None:
    """Raise DeviceError where energy is asked for by name and no sensor of the device can be read."""
    if request.mode in ("auto", "none") or meters.names:
        return
    raise DeviceError(
        f"--energy {request.mode}: no sensor of device {device.name} can be read: {_reasons(meters)}",
        "Mend one, or name another under the device's `sensors:` in the inventory; without --energy energy is null.",
    )


def plan(request: EnergyRequest, device: Device, found: Found) -> wire.EnergyPlan | None:
    """Return how a job's passes go; None where none is asked for, or no sensor can be read. Raises UsageError.

    What a virtual device's sensors say stands for no energy, so its passes are made only where they are asked for by name.
    """
    meters = usable(device, found)
    if request.mode == "none" or _only_by_name(request, device) or not meters.names:
        return None
    options, names = listed(device), meters.names
    window_s = _window_s(request, names)
    if request.rate_hz is not None and request.rate_hz * window_s < 1:
        raise UsageError(
            f"--rate {request.rate_hz:g}: a window of {window_s:g} s holds not even one inference",
            f"Raise it to {1 / window_s:.2g} or more, or lengthen --window.",
        )
    return wire.EnergyPlan(
        meters=tuple(wire.Meter(name, options[name]) for name in meters.device),
        remote=meters.controller,
        scenarios=wire.SCENARIOS if request.mode in ("auto", "both") else (request.mode,),
        windows=request.windows,
        window_s=window_s,
        lead_s=max(content.constant("sensor", name, "LEAD_S", default=wire.EnergyPlan.lead_s) for name in names),
        rate_hz=request.rate_hz,
    )


def _only_by_name(request: EnergyRequest, device: Device) -> bool:
    return device.virtual and request.mode == "auto"


def _window_s(request: EnergyRequest, names: Iterable[str]) -> float:
    """The window asked for, else the usual one of the sensors, the longest. Raises UsageError below the least of one."""
    windows = {name: windows_s(name) for name in names}
    if request.window_s is None:
        return max(usual for _, usual in windows.values())
    for name, (least, _) in windows.items():
        if request.window_s < least:
            raise UsageError(
                f"--window {request.window_s:g}: sensor {name} needs windows of at least {least:g} s",
                "Shorter ones it measures too coarsely. Lengthen the window, or list other sensors in the inventory.",
            )
    return request.window_s


def windows_s(name: str) -> tuple[float, float]:
    """Return the least and the usual length of a sensor's windows, s."""
    least, usual = content.constant("sensor", name, "WINDOW_S")
    return float(least), float(usual)


# --- how long it takes, in words -----------------------------------------------------------------------------------


def pass_s(planned: wire.EnergyPlan) -> float:
    """Return the seconds that one pass takes: its window, what is read beyond it at both ends, its start."""
    return planned.window_s + 2 * planned.lead_s + _START_S


def seconds(planned: wire.EnergyPlan | None, cases: int) -> float:
    """Return the seconds that a job's passes take where none is made again; 0 cases: those that are idle alone."""
    if planned is None:
        return 0.0
    return (cases * len(planned.scenarios) + 1) * planned.windows * pass_s(planned)


def describe(request: EnergyRequest, device: Device, jobs: int, cases: int | None) -> dict[str, Any]:
    """Return what the passes take and on what, as plain JSON; `cases` of a job: None where they are still unknown.

    As if every sensor that the device lists can be read: whether it can is known when the device has been asked.
    """
    planned = plan(request, device, dict.fromkeys(listed(device), ("ok", "")))
    names = _named(planned)
    per_case_s = jobs * (seconds(planned, 1) - seconds(planned, 0))
    return {
        "energy_s": None if planned and cases is None else jobs * seconds(planned, cases or 0),
        "energy_s_per_case": per_case_s,
        "energy_s_idle": jobs * seconds(planned, 0),
        "energy_on": dict.fromkeys(names, "scope unknown until the device is asked"),
        "energy_said": _unmeasured(request, device)
        if planned is None
        else f"{say(planned, cases, jobs)}, if it can be read",
    }


def say(planned: wire.EnergyPlan, cases: int | None, jobs: int = 1) -> str:
    """Return in words how long a job's passes take (of each of several jobs), and what is read."""
    windows = f"{planned.windows} windows x {pass_s(planned):g} s"
    several = f"{jobs} jobs x " if jobs > 1 else ""
    on = f"on {' and '.join(_named(planned))}"
    if cases is None:
        idle_s, scenarios = seconds(planned, 0), len(planned.scenarios)
        per_case = f"{several}{_passes(scenarios)} x {windows} = {_duration(jobs * idle_s * scenarios)}"
        return f"energy: per case {per_case}, and {_duration(jobs * idle_s)} idle, {on}"
    passes = _passes(cases * len(planned.scenarios) + 1)
    return f"energy: {several}{passes} x {windows} = {_duration(jobs * seconds(planned, cases))} {on}"


def say_found(request: EnergyRequest, device: Device, meters: Meters) -> str:
    """Return in words which sensors are read, and why the others are not."""
    if _only_by_name(request, device):
        return _unmeasured(request, device)
    if not meters.names:
        return f"energy is null: {_reasons(meters)}" if device.sensors else _unmeasured(request, device)
    others = f"; left out: {_reasons(meters)}" if meters.left_out else ""
    return f"energy: read by {' and '.join(meters.names)}{others}"


def _reasons(meters: Meters) -> str:
    return "; ".join(f"{name}: {why}" for name, why in meters.left_out.items())


def _unmeasured(request: EnergyRequest, device: Device) -> str:
    if request.mode == "none":
        return "energy: not asked for (--energy none)"
    if _only_by_name(request, device):
        return "energy is null: a virtual device's stands for nothing real; --energy both makes its passes all the same"
    names = ", ".join(device.sensors)
    return f"energy is null: {names}: {_UNSUPPORTED}" if names else f"energy: {_NONE}"


def _named(planned: wire.EnergyPlan | None) -> tuple[str, ...]:
    return () if planned is None else (*(meter.sensor for meter in planned.meters), *planned.remote)


def _passes(count: int) -> str:
    return f"{count} pass" if count == 1 else f"{count} passes"


def _duration(duration_s: float) -> str:
    if duration_s < 90:
        return f"{duration_s:.0f} s"
    if duration_s < 7200:
        return f"{duration_s / 60:.{1 if duration_s < 600 else 0}f} min"
    return f"{duration_s / 3600:.1f} h"

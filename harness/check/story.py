"""A device looked at, its runtimes imported in children there; a device that cannot be reached is a point, too."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from harness import bundle, energy, preflight, store, transport
from harness.check.compare import compare
from harness.check.points import Examination, Point, bytes_said
from harness.check.standing import sensors, standing
from harness.check.steps import stepped
from harness.child import OnProgress, Progress
from harness.errors import DeviceError
from harness.records import Device, Environment
from harness.text import printable
from harness.transport import Transport


def examine(
    device: Device,
    results: Path,
    *,
    install: bool = False,
    step: bool = False,
    tell: OnProgress = lambda _: None,
    line: Transport | None = None,
) -> Examination:
    """Return what a device is and can do, against its profile.

    `install`: packages that its runtimes lack are sent and installed; else it is said which would be. `step`: a step of load is
    put on it, and told how its sensors answer. Raises HarnessError for what is wrong here, nothing for what is wrong there.
    """
    if line is None:
        with closing(transport.connect(device)) as line:
            return examine(device, results, install=install, step=step, tell=tell, line=line)
    there = energy.listed(device, "device")
    agent = bundle.build(device.runtimes[0], tuple(there))
    try:
        tell(Progress(f"looking at {device.name}"))
        seen = line.look(agent, there)
        now_ns = time.time_ns()
        facts = transport.told(seen, "facts", dict, device.name)
        installed = line.environments()
    except DeviceError as error:
        point = Point("reachable", printable(error.message), "missing", "an agent that answers", error.hint, stops=True)
        return Examination(device, (point,), store.quote_calibration(results, device.name))
    points = (*compare(device.profile, device.system, facts), *standing(seen, now_ns))
    found = preflight.sensors(device, seen)
    points += sensors(device, found)
    if step:
        points += tuple(stepped(device, found, line, tell))
    probed: dict[str, Mapping[str, Any]] = {}
    for runtime in device.runtimes if seen.get("holder") is None else ():
        tell(Progress(f"looking at {runtime} on {device.name}"))
        points += (_runtime(device, runtime, line, facts, None if install else installed, probed, tell),)
    return Examination(device, points, store.quote_calibration(results, device.name, probed), facts)


def _runtime(
    device: Device,
    runtime: str,
    line: Transport,
    facts: Mapping[str, Any],
    installed: frozenset[str] | None,
    probed: dict[str, Mapping[str, Any]],
    tell: OnProgress,
) -> Point:
    """Import a runtime there, and keep what it said in `probed`; with packages only if they are `installed` (None: send them)."""
    what = f"runtime {runtime}"
    try:
        environment = preflight.environment(device, runtime, facts, tell)
        if environment is not None and installed is not None and environment.key not in installed:
            advice = f"A run sends it; now: harness check --device {device.name} --install"
            return Point(what, f"not there yet; will be sent: {_packages(environment)}", "unknown", None, advice)
        probed[runtime] = line.probe(bundle.build(runtime), runtime, environment)
    except DeviceError as error:
        stops = runtime == device.runtimes[0] or "SIGILL" in error.message  # the others are offered, not needed
        return Point(what, printable(error.message), "missing", "imported there", _advice(device, error), stops)
    versions = probed[runtime]["versions"].items()
    return Point(what, printable(", ".join(f"{name} {version}" for name, version in versions)) or "built in")


def _packages(environment: Environment) -> str:
    """The packages that would be sent, as `numpy 2.4.6, onnxruntime 1.31.1 (70 MB)`."""
    names = ", ".join(f"{wheel.name} {wheel.version}" for wheel in environment.wheels)
    return f"{names} ({bytes_said(sum(wheel.size_bytes for wheel in environment.wheels))})"


def _advice(device: Device, error: DeviceError) -> str:
    """The next move; an instruction that the processor does not know has its own."""
    if "SIGILL" not in error.message:
        return error.hint
    cpu = device.profile.target.get("cpu", device.profile.arch)
    return (
        f"Its packages use an instruction that this processor ({cpu}, by the profile) does not have: list another runtime "
        "under `runtimes:` of the device, or ask for an older version in a copy of the runtime's file."
    )

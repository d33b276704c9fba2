"""The plan of a run that was made before, to be carried out again: as it is, once every name in it is known here and now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import content, energy, given
from harness.errors import UsageError
from harness.plan import options
from harness.records import Device, GivenNetwork, LadderRequest, Plan


def again(plan: Plan, device: Device, data: Path | None = None) -> Plan:
    """Return the plan for `device`, with the tasks' files in `data` if that is said.

    Raises UsageError, ContentError: a runtime, model, task, method or setting that is not there, files that are not at hand or
    are others.
    """
    _require_runtimes(plan, device)
    for name in plan.tune:
        content.require_known(f'setting of device "{device.name}"', name, device.profile.tune)
    if plan.power_mode is not None:
        content.require_known(f'power mode of device "{device.name}"', plan.power_mode, device.profile.power_modes)
    energy.require_possible(plan.energy, device)
    if data is not None and not any(each.data for each in plan.ladders):
        raise UsageError(f"--data {data}: this run read no folder of a task's files", "Drop it.")
    ladders = tuple(_ladder(each, data) for each in plan.ladders)
    return replace(plan, device=device.name, ladders=ladders, given=_given(plan))


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return what of the provenance of a run is another now, by name: what it was, what it is. Unknown counts as other."""
    ours, theirs = _flat(then), _flat(now)
    names = sorted({*ours, *theirs})
    pairs = {name: (ours.get(name, "unknown"), theirs.get(name, "unknown")) for name in names}
    return {name: (was, is_now) for name, (was, is_now) in pairs.items() if was != is_now}


def _flat(told: Mapping[str, Any]) -> dict[str, str]:
    packages = dict(told.get("packages", {}))
    return {**{key: str(value) for key, value in told.items() if key != "packages"}, **packages}


def _require_runtimes(plan: Plan, device: Device) -> None:
    for runtime in plan.runtimes:
        content.load("runtime", runtime)
        content.require_known(f'runtime on device "{device.name}"', runtime, device.runtimes)
        for precision in plan.precisions:
            content.require_known(
                f"precision of runtime {runtime}", precision, content.constant("runtime", runtime, "PRECISIONS")
            )
    options.read([f"{key}={value}" for key, value in plan.options.items()], plan.runtimes)


def _ladder(request: LadderRequest, data: Path | None) -> LadderRequest:
    content.find("model", request.model)
    content.find("task", request.task)
    content.find("method", request.method)
    if request.data is None:
        return request
    folder = Path(request.data) if data is None else data
    if not folder.is_dir():
        raise UsageError(
            f"the run read the files of task {request.task} from {folder}, which is not here",
            "Say where they are: --data DIR (docs/tasks.md says where to get them).",
        )
    return replace(request, data=str(folder.resolve()))


def _given(plan: Plan) -> tuple[GivenNetwork, ...]:
    """Look again at the ONNX files of a run: they must be there, and hold what they held."""
    for network in plan.given:
        if not Path(network.path).is_file():
            raise UsageError(
                f"the run measured {network.path}, which is not here",
                "Get the file; or measure others as it did: harness run --onnx FILE.",
            )
    found = given.look([Path(network.path) for network in plan.given], plan.batch) if plan.given else ()
    for network, there in zip(plan.given, found, strict=True):
        if network.sha256 != there.sha256:
            raise UsageError(
                f"{network.path}: is not the file that the run measured: its SHA-256 differs", "Get that one."
            )
    return found

"""Plans of a device for `harness run --method planned`: what `harness plan` kept there becomes the method's recipe."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from harness import rows, wire
from harness.errors import StoreError, UsageError
from harness.planner import folder
from harness.records import Device, LadderRequest, Plan
from harness.records.planned import Planned

METHOD = "planned"
USUAL = Path("results")  # where results lie if nothing else is said


def resolve(planned: Sequence[tuple[Device, Plan]], results: Path) -> tuple[tuple[Device, Plan], ...]:
    """Give ladders of the method `planned` that name no plans those of their device.

    Where a run has several runtimes or precisions, the first of each is what its plans were made for. Raises UsageError, with
    the command that makes some, where there are none.
    """
    return tuple((device, of_device(device, plan, results)) for device, plan in planned)


def of_device(device: Device, plan: Plan, results: Path) -> Plan:
    """One device's plan with its folding plans in place. Raises UsageError."""
    return replace(plan, ladders=tuple(_ladder(request, device, plan, results) for request in plan.ladders))


def newest(device: str, plan: Plan, request: LadderRequest, results: Path) -> Planned | None:
    """What was told last for a ladder's model, task and data, and for how a run is to measure them, of whatever forms.

    A look-up tells, too: each writes its plan.json anew. Damaged ones are none, and so are those set aside.
    """
    told = [file for file in folder.home(results, device).glob("*/plan.json") if ".before-" not in file.parent.name]
    for file in sorted(told, key=lambda file: (file.stat().st_mtime_ns, file), reverse=True):
        with suppress(StoreError):
            stored = folder.load(file.parent)
            if stored is not None and _speaks_for(stored, plan, request):
                return stored
    return None


def _speaks_for(stored: Planned, plan: Plan, request: LadderRequest) -> bool:
    wanted = {
        "model": request.model,
        "task": request.task,
        "runtime": plan.runtimes[0],
        "precision": plan.precisions[0],
        "threads": plan.threads,
        "batch": plan.batch,
        "data": request.data,
        "tune": list(plan.tune),
    }
    options = stored.asked.get("options", {})
    return options == _options(plan) and all(stored.asked.get(key) == value for key, value in wanted.items())


def _options(plan: Plan) -> dict[str, str]:
    """The runtime options of a run that its first runtime has, and the CPUs that it is pinned to."""
    pinned = {key: value for key, value in plan.options.items() if key == wire.CPUS}
    return {**rows.options_of(plan.runtimes[0], plan.options), **pinned}


def _ladder(request: LadderRequest, device: Device, plan: Plan, results: Path) -> LadderRequest:
    if request.method != METHOD or request.recipe.get("plans"):
        return request
    stored = newest(device.name, plan, request, results)
    command = _command(device.name, plan, request, results)
    if stored is None:
        raise UsageError(
            f"method planned: there is no plan of {_about(device.name, plan, request)}", f"Make one: {command}"
        )
    plans = ["+".join(each.options) for each in stored.front if each.options and each.failure is None]
    if not plans:
        what = f"method planned: the plan of {_about(device.name, plan, request)} folds nothing: no option pays there"
        raise UsageError(what, f"Allow others: {command} --forms plain,dense,tail,bypass,skip")
    return replace(request, recipe={**request.recipe, "plans": plans})


def _about(device: str, plan: Plan, request: LadderRequest) -> str:
    setting = f"{plan.runtimes[0]}, {plan.precisions[0]}, {plan.threads} thread{'s' * (plan.threads > 1)}"
    return f"{request.model} on {device} ({setting}, batch {plan.batch})"


def _command(device: str, plan: Plan, request: LadderRequest, results: Path) -> str:
    """What plans for just that."""
    said = {"--device": device, "--model": request.model, "--task": request.task, "--runtime": plan.runtimes[0]}
    said |= {"--precision": plan.precisions[0], "--threads": str(plan.threads)}
    said |= {"--batch": str(plan.batch)} if plan.batch != 1 else {}
    said |= {"--data": request.data} if request.data else {}
    said |= {"--tune": ",".join(plan.tune)} if plan.tune else {}
    said |= {"--results": str(results)} if results != USUAL else {}
    options = [word for key, value in _options(plan).items() for word in ("--option", f"{key}={value}")]
    return shlex.join(["harness", "plan", *(word for pair in said.items() for word in pair), *options])

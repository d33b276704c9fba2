"""Plans of a device for `harness run --method planned`: what `harness plan` kept there becomes the method's recipe."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from harness.errors import StoreError, UsageError
from harness.planner import folder
from harness.records import Device, LadderRequest, Plan
from harness.records.planned import Planned

METHOD = "planned"


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
    """What was planned last for a ladder's model and task, and for how a run is to measure them; damaged ones are none."""
    found = []
    for file in folder.home(results, device).glob("*/plan.json"):
        with suppress(StoreError):
            stored = folder.load(file.parent)
            if stored is not None and _speaks_for(stored, plan, request):
                found.append(stored)
    return max(found, key=lambda each: each.created, default=None)


def _speaks_for(stored: Planned, plan: Plan, request: LadderRequest) -> bool:
    wanted = {
        "model": request.model,
        "task": request.task,
        "runtime": plan.runtimes[0],
        "precision": plan.precisions[0],
        "threads": plan.threads,
        "batch": plan.batch,
    }
    return all(stored.asked.get(key) == value for key, value in wanted.items())


def _ladder(request: LadderRequest, device: Device, plan: Plan, results: Path) -> LadderRequest:
    if request.method != METHOD or request.recipe.get("plans"):
        return request
    stored = newest(device.name, plan, request, results)
    command = _command(device.name, plan, request)
    if stored is None:
        raise UsageError(
            f"method planned: there is no plan of {_about(device.name, plan, request)}", f"Make one: {command}"
        )
    plans = ["+".join(each.options) for each in stored.front if each.options]
    if not plans:
        what = f"method planned: the plan of {_about(device.name, plan, request)} folds nothing: no option pays there"
        raise UsageError(what, f"Allow others: {command} --forms plain,dense,tail,bypass,skip")
    return replace(request, recipe={**request.recipe, "plans": plans})


def _about(device: str, plan: Plan, request: LadderRequest) -> str:
    setting = f"{plan.runtimes[0]}, {plan.precisions[0]}, {plan.threads} thread{'s' * (plan.threads > 1)}"
    return f"{request.model} on {device} ({setting}, batch {plan.batch})"


def _command(device: str, plan: Plan, request: LadderRequest) -> str:
    words = ["harness plan", f"--device {device}", f"--model {request.model}", f"--task {request.task}"]
    words += [f"--runtime {plan.runtimes[0]}", f"--precision {plan.precisions[0]}", f"--threads {plan.threads}"]
    return " ".join(words + ([f"--batch {plan.batch}"] if plan.batch != 1 else []))

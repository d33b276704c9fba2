"""Words + inventory -> Plans, one per device. The first door: every name, range and contradiction is checked here.

Nothing is imported that could be slow and nothing is written: `harness run --dry-run` prints what comes out and stops.
Files that are given are looked at in a child process, for what is wrong with them is a wrong word too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from harness import content, energy, given, inventory, wire
from harness.errors import UsageError
from harness.records import Device, Eligible, EnergyRequest, LadderRequest, Plan, PowerMode, Profile
from harness.wire import REGIMES, Protocol

MAX_TRAINING_THREADS = 2  # fixed, because sums in another order give another ladder: part of a rung's key


@dataclass(frozen=True)
class Words:
    """What the user said, flag by flag; None where nothing was said. Lists are still comma-separated text."""

    device: str
    model: str = "resnet18"
    task: str | None = None
    data: Path | None = None
    method: str = "easier"
    eligible: str = "mergeable"
    entropy: str | None = None
    order: str | None = None
    runtime: str | None = None
    precision: str = "fp32"
    threads: int | None = None
    batch: int = 1
    option: tuple[str, ...] = ()
    budget: float = 240.0
    seed: int = 0
    controls: bool = True
    tune: str | None = None
    regime: str | None = None
    onnx: tuple[Path, ...] = ()
    power_mode: str | None = None
    profile: bool = False
    energy: str = "auto"
    windows: int | None = None
    window: float | None = None
    rate: float | None = None


def make(words: Words, inventory_file: Path) -> tuple[tuple[Device, Plan], ...]:
    """Check all words and return what to do on each device. Raises UsageError, InventoryError, ContentError."""
    devices = inventory.select(split(words.device, "--device"), inventory_file)
    ladders = () if words.onnx else _ladders(words)
    if words.regime is not None:
        content.require_known("regime", words.regime, REGIMES)
    _require_range("--batch", words.batch, 1, 4096)
    _require_range("--budget", words.budget, 1, 7 * 24 * 3600)
    _require_range("--seed", words.seed, 0, 2**32 - 1)
    asked = energy.ask(words.energy, words.windows, words.window, words.rate)
    plans = [(device, _plan(words, device, ladders, asked)) for device in devices]
    networks = given.look(words.onnx, words.batch) if words.onnx else ()
    return tuple((device, replace(plan, given=networks)) for device, plan in plans)


def describe(device: Device, plan: Plan) -> dict[str, Any]:
    """Return a plan as plain JSON, with the device's profile and the seconds that it may take, part by part.

    Training is left out: nothing but training tells how long it takes. A device cools before each block, for so long at
    most, outside the budget; a sustained regime begins with a load. Energy passes come after the latencies, outside the
    budget too; how many cases a ladder has is known when it has been made.
    """
    jobs, most = len(plan.runtimes), Protocol()
    burst = plan.regime == "burst"
    cases = len(plan.given) * len(plan.precisions) if plan.given else None
    return {
        **asdict(plan),
        "profile": device.profile.name,
        "measuring_s_at_most": plan.budget_s * jobs,
        "cooling_s_at_most": device.profile.cooldown_s * most.looks[-1] * jobs if burst else 0.0,
        "soaking_s_at_most": 0.0 if burst else most.soak_s * jobs,
        **energy.describe(plan.energy, device, jobs, cases),
    }


def split(text: str, flag: str) -> tuple[str, ...]:
    """Split a comma-separated list, dropping repeats. Raises UsageError when an item is empty."""
    items = tuple(dict.fromkeys(item.strip() for item in text.split(",")))
    if "" in items:
        raise UsageError(f'{flag} "{text}": an item of the list is empty', f"Write {flag} a,b without blanks or ends.")
    return items


def _plan(words: Words, device: Device, ladders: tuple[LadderRequest, ...], asked: EnergyRequest) -> Plan:
    runtimes = split(words.runtime, "--runtime") if words.runtime else device.runtimes[:1]
    precisions = split(words.precision, "--precision")
    for runtime in runtimes:
        content.load("runtime", runtime)
        hint = f'Profile "{device.profile.name}" of device "{device.name}" lists them.'
        content.require_known(f'runtime on device "{device.name}"', runtime, device.runtimes, hint)
        if words.onnx:
            _require_takes_onnx(runtime, device.runtimes)
        for precision in precisions:
            offered = content.constant("runtime", runtime, "PRECISIONS")
            content.require_known(f"precision of runtime {runtime}", precision, offered)
    if words.onnx and "int8" in precisions:
        raise UsageError(
            "--precision int8: networks that are given have no task to calibrate on", "Name fp32, or fp16, or both."
        )
    threads = device.profile.threads if words.threads is None else words.threads
    _require_range("--threads", threads, 1, 1024)
    mode = _power_mode(words.power_mode, device.profile)
    energy.require_possible(asked, device)
    return Plan(
        device=device.name,
        ladders=ladders,
        runtimes=runtimes,
        precisions=precisions,
        threads=threads,
        batch=words.batch,
        options=_options(words.option, runtimes),
        budget_s=words.budget,
        seed=words.seed,
        controls=words.controls and not words.onnx,
        tune=tune(words.tune, device.profile),
        regime=words.regime or (mode.regime if mode else None) or REGIMES[0],
        power_mode=mode.name if mode else None,
        profiling=words.profile,
        energy=asked,
    )


def _require_takes_onnx(runtime: str, offered: Iterable[str]) -> None:
    """A runtime says by FORMS which programs it takes; one that says nothing takes torch's alone."""
    takers = [name for name in offered if "onnx" in content.constant("runtime", name, "FORMS", ("torch",))]
    if runtime not in takers:
        raise UsageError(
            f"--onnx: runtime {runtime} takes no ONNX files, it is built from torch networks",
            f"Name one that does: --runtime {takers[0]}" if takers else "No runtime of this device does.",
        )


def _power_mode(name: str | None, profile: Profile) -> PowerMode | None:
    if name is None:
        return None
    content.require_known(
        "power mode", name, profile.power_modes, f'Profile "{profile.name}" lists them under `power_modes:`.'
    )
    return profile.power_modes[name]


def tune(word: str | None, profile: Profile) -> tuple[str, ...]:
    """The settings to bring about, by name, in the profile's order: a governor comes before the clocks it rules."""
    if word is None:
        return ()
    asked, offered = split(word, "--tune"), profile.tune
    for name in asked:
        content.require_known("setting", name, offered, f'Profile "{profile.name}" lists them under `tune:`.')
    return tuple(name for name in offered if name in asked)


def _ladders(words: Words) -> tuple[LadderRequest, ...]:
    content.find("model", words.model)
    task = words.task or content.constant("model", words.model, "TASK")
    content.find("task", task)
    content.require_known("eligibility", words.eligible, get_args(Eligible))
    if words.data is not None and not words.data.is_dir():
        raise UsageError(f"--data {words.data}: no such folder", "Give the folder that holds the task's files.")
    methods = split(words.method, "--method")
    recipes = _recipes(words, methods)
    return tuple(
        LadderRequest(
            method=method,
            model=words.model,
            task=task,
            recipe=recipes[method],
            eligible=cast(Eligible, words.eligible),
            seed=words.seed,
            threads=min(MAX_TRAINING_THREADS, os.cpu_count() or 1),
            data=str(words.data.resolve()) if words.data else None,
        )
        for method in methods
    )


def _recipes(words: Words, methods: Iterable[str]) -> Mapping[str, Mapping[str, Any]]:
    """Give each method the recipe flags that it knows; a flag that no method named here knows is an error."""
    said = {"entropy": words.entropy, "order": split(words.order, "--order") if words.order else None}
    said = {flag: value for flag, value in said.items() if value is not None}
    recipes = {method: _recipe_fields(method) for method in methods}
    for flag, value in said.items():
        takers = [known[flag] for known in recipes.values() if flag in known]
        if not takers:
            raise UsageError(
                f"--{flag}: none of the methods {', '.join(recipes)} has it", "Drop it, or name another --method."
            )
        for allowed in takers:
            if allowed:
                content.require_known(flag, str(value), allowed)
    return {method: {flag: said[flag] for flag in known if flag in said} for method, known in recipes.items()}


def _recipe_fields(method: str) -> dict[str, tuple[str, ...]]:
    """Return the fields of a method's Recipe, each with its allowed words (none: free)."""
    from typing import get_origin, get_type_hints

    recipe = content.load("method", method).Recipe
    hints = get_type_hints(recipe)
    return {
        field.name: get_args(hints[field.name]) if get_origin(hints[field.name]) is Literal else ()
        for field in fields(recipe)
    }


def _options(given: Iterable[str], runtimes: Iterable[str]) -> dict[str, str]:
    """Parse `key=value` words; each goes to the runtimes that have it by their OPTIONS, and is an error if none does."""
    offered = {runtime: content.constant("runtime", runtime, "OPTIONS") for runtime in runtimes}
    options: dict[str, str] = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f'--option "{word}": must be key=value', "For example --option optimization=extended.")
        if key in options:
            raise UsageError(f"--option {word}: {key} was given before, as {options[key]}", "Give each option once.")
        options[key] = _cpus(value) if key == wire.CPUS else _offered(key, value, offered)
    return options


def _offered(key: str, value: str, offered: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    takers = {runtime: known[key] for runtime, known in offered.items() if key in known}
    if not takers:
        every = sorted({wire.CPUS, *(name for known in offered.values() for name in known)})
        content.require_known(f"option of runtime {', '.join(offered)}", key, every)
    for runtime, allowed in takers.items():
        if allowed:
            content.require_known(f"value of {runtime}'s option {key}", value, allowed)
    return value


def _cpus(word: str) -> str:
    """Return CPU numbers as the device will say them: `0-2,5` is `0,1,2,5`."""
    parts = [re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part) for part in word.split(",")]
    ranges = [range(int(found[1]), int(found[2] or found[1]) + 1) for found in parts if found]
    numbers = sorted({number for each in ranges for number in each})
    if None in parts or not all(ranges):
        raise UsageError(f'--option cpus={word}: must be CPU numbers, for example "2,3" or "0-3"')
    return ",".join(map(str, numbers))


def _require_range(flag: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{flag} {value:g}: must be from {low:g} to {high:g}")

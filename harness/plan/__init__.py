"""Words + inventory -> Plans, one per device. The first door: every name, range and contradiction is checked here.

Nothing is imported that could be slow and nothing is written. Files that are given are looked at in a child process, for
what is wrong with them is a wrong word too; so are ladders by `harness run --dry-run`, before it prints what comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness import content, energy, given, inventory
from harness.errors import UsageError
from harness.plan import ladders, options
from harness.plan.words import Words, require_range, split
from harness.records import Device, EnergyRequest, LadderRequest, Plan, PowerMode, Profile
from harness.wire import REGIMES, Protocol

__all__ = ["Words", "describe", "make", "on", "split", "tune"]


def make(words: Words, inventory_file: Path) -> tuple[tuple[Device, Plan], ...]:
    """Check all words and return what to do on each device. Raises UsageError, InventoryError, ContentError."""
    return on(inventory.select(split(words.device, "--device"), inventory_file), words)


def on(devices: Sequence[Device], words: Words) -> tuple[tuple[Device, Plan], ...]:
    """As `make`, for devices that are known already; what the words say of devices is not heeded."""
    require_range("--seed", words.seed, 0, 2**32 - 1)
    made = () if words.onnx else ladders.asked(words)
    if words.regime is not None:
        content.require_known("regime", words.regime, REGIMES)
    require_range("--batch", words.batch, 1, 4096)
    require_range("--budget", words.budget, 1, 7 * 24 * 3600)
    asked = energy.ask(words.energy, words.windows, words.window, words.rate)
    plans = [(device, _plan(words, device, made, asked)) for device in devices]
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


def _plan(words: Words, device: Device, made: tuple[LadderRequest, ...], asked: EnergyRequest) -> Plan:
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
    require_range("--threads", threads, 1, 1024)
    mode = _power_mode(words.power_mode, device.profile)
    energy.require_possible(asked, device)
    return Plan(
        device=device.name,
        ladders=made,
        runtimes=runtimes,
        precisions=precisions,
        threads=threads,
        batch=words.batch,
        options=options.read(words.option, runtimes),
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

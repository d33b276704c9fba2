"""`harness calibrate`: what a device can resolve."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.flags import Tune
from harness.cli.guard import InventoryFile, Json, Results, first_line, guarded, print_columns, print_json
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.calibration import Calibration
    from harness.records import Device


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(guarded(calibrate))


def calibrate(
    context: typer.Context,
    device: Annotated[str, typer.Option(help="A device of the inventory.", metavar="NAME")],
    runtime: Annotated[str | None, typer.Option(help="By default the first of the device's profile.")] = None,
    budget: Annotated[float, typer.Option(help="Seconds of measuring, in whole jobs.", metavar="S")] = 600.0,
    tune: Tune = None,
    resume: Annotated[str | None, typer.Option(help="Finish a calibration that was cut off.", metavar="ID")] = None,
    results: Results = Path("results"),
    inventory: InventoryFile = None,
    as_json: Json = False,
) -> None:
    """Measure what a device can resolve: networks that are equal, and networks that are a little slower, told apart."""
    if resume is not None:
        _require_alone(context)
    first_line(f"calibrating {device}")
    from harness import calibrate as story
    from harness import inventory as door
    from harness import plan
    from harness.progress import narrate

    machine = door.device(device, door.locate(inventory))
    if resume is None and not 1 <= budget <= 7 * 24 * 3600:
        raise UsageError(f"--budget {budget:g}: must be from 1 to 604800")
    names = plan.tune(tune, machine.profile)
    with narrate() as tell:
        if resume is not None:
            folder = story.go_on(story.find(results, device, resume), machine, tell)
        else:
            word = _runtime(machine, runtime)
            folder = story.start(results, machine, word, budget, None, tell, story.EQUALS, names)
    found = story.evaluate(folder)
    if as_json:
        print_json(asdict(found))
        return
    print_columns(rows(found))
    print(f"\ncalibration {folder}")


def _require_alone(context: typer.Context) -> None:
    """A calibration is resumed as it was asked for: these flags beside --resume would be accepted and ignored."""
    for name in ("runtime", "budget", "tune"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(
                f"--{name} cannot be said beside --resume: a calibration goes on as it was asked for",
                "Start a new one for another.",
            )


def _runtime(device: Device, word: str | None) -> str:
    from harness import content

    runtimes = device.runtimes
    if word is not None:
        hint = f'Profile "{device.profile.name}" of device "{device.name}" lists them.'
        content.require_known(f'runtime on device "{device.name}"', word, runtimes, hint)
    return word or runtimes[0]


def rows(found: Calibration) -> list[tuple[str, str]]:
    """What a calibration found, a line each."""
    lines = [
        (
            "measured",
            f"{found.jobs} jobs, {found.blocks} blocks, {found.runtime}, {found.median_ns / 1e3:.1f} us a yardstick",
        ),
        (
            "A/A",
            f"{found.false.hits} of {found.false.tries} different (95 %, if independent: at most {100 * found.false.high:.2g} %)",
        ),
    ]
    for effect in found.effects:
        rate = effect.found
        told = f"{rate.hits} of {rate.tries} found (95 %: {100 * rate.low:.0f} to {100 * rate.high:.0f} %)"
        wrong = f", {effect.wrong} CALLED FASTER" if effect.wrong else ""
        lines.append((f"+{100 * effect.added:.0f} % work", f"{told}, {100 * effect.measured:+.1f} % measured{wrong}"))
    if found.failed:
        lines.append(("failed", f"{found.failed} networks, of all jobs, were given up and are not in these counts"))
    lines.append(("noise", _noise(found)))
    lines.append(
        (
            "spin",
            f"95 % within {100 * found.spin_spread:.1f} % of the median; {100 * found.contended:.0f} % of processes contended",
        )
    )
    lines.append(("resolution", _resolution(found)))
    return lines


def _noise(found: Calibration) -> str:
    named = {
        "between processes": found.process_sd,
        "between blocks": found.block_sd,
        "between jobs": found.between_jobs_sd,
    }
    return ", ".join(f"{100 * sd:.1f} % {name}" for name, sd in named.items() if sd is not None) + " (sd)"


def _resolution(found: Calibration) -> str:
    if found.resolution is None:
        return "the largest of these slow-downs is not found in 90 % of tries: quiet the machine, or compare larger differences"
    advice = (
        "" if found.resolution <= 0.06 else "; smaller ones are noise here: quiet the machine, or allow more blocks"
    )
    return f"slow-downs from {100 * found.resolution:.1f} % on are found, each in 90 % of its tries or more, of 10 blocks{advice}"

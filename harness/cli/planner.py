"""`harness plan`: what to fold on a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import flags, settings
from harness.cli.guard import InventoryFile, Json, Results, complain, console, first_line, guarded, print_json
from harness.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from harness.plan import Words
    from harness.planner.folder import Asked
    from harness.planner.goals import Goal
    from harness.planner.story import Found
    from harness.records import Device

Forms = Annotated[
    str, typer.Option(help="What may be done to a segment.", metavar="plain|dense|tail|skip|bypass[,...]")
]
Importance = Annotated[
    str | None,
    typer.Option(
        help="What an option costs: activations, bits that they decide, loss after an epoch.",
        metavar="count|entropy|loss",
    ),
]
TargetSpeedup = Annotated[
    float | None, typer.Option(help="Choose the cheapest plan that is so many times as fast.", metavar="X")
]
MaxDrop = Annotated[
    float | None,
    typer.Option(help="Choose the fastest plan that loses no more accuracy: 0.01 is a point.", metavar="F"),
]
Budget = Annotated[
    float | None,
    typer.Option(
        help="Seconds of measuring per job, at most; by default 300, of which options in place aim at 120.", metavar="S"
    ),
]
Threads = Annotated[str | None, typer.Option(help="Of an inference; by default the profile's.", metavar="N[,N]")]
Carry = Annotated[
    bool,
    typer.Option(
        "--transfer",
        help="Plan for several devices, runtimes, precisions or numbers of threads, and measure each plan on all of them.",
    ),
]
Again = Annotated[bool, typer.Option("--again", help="Measure anew what was measured before, which is kept beside it.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="List the options, what would be measured from nothing and how long that takes, and stop."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("plan")(guarded(plan))


def plan(
    device: flags.DeviceWord = None,
    model: flags.Model = "resnet18",
    task: flags.Task = None,
    data: flags.Data = None,
    runtime: flags.Runtime = None,
    precision: flags.Precision = "fp32",
    threads: Threads = None,
    batch: flags.Batch = 1,
    option: flags.Option = None,
    forms: Forms = "plain,dense,tail",
    importance: Importance = None,
    target_speedup: TargetSpeedup = None,
    max_accuracy_drop: MaxDrop = None,
    budget: Budget = None,
    tune: flags.Tune = None,
    again: Again = False,
    carry: Carry = False,
    dry_run: DryRun = False,
    results: Results = Path("results"),
    inventory: InventoryFile = None,
    as_json: Json = False,
) -> None:
    """Choose what to fold on a device: measure what each fold gains there, and give plans from cheap to fast."""
    if device is None:
        raise UsageError("plan: name a device", "For example: harness plan --device local --model resnet18")
    first_line(f"planning {model} on {device}")
    goal = settings.goal(importance, target_speedup, max_accuracy_drop)
    from harness.plan import Words
    from harness.planner import table

    words = Words(
        device=device,
        model=model,
        task=task,
        data=data,
        method="order",  # of a ladder's words, which are checked alike: a plan trains nothing
        runtime=runtime,
        precision=precision,
        batch=batch,
        option=tuple(option or ()),
        budget=table.MOST_S if budget is None else budget,
        tune=tune,
        energy="none",
    )
    asked = _settings(words, threads, forms, inventory, carry)
    if dry_run:
        _outlook(asked, budget, as_json, carry)
    elif carry:
        from harness.cli.transfer import carry_each

        carry_each(asked, goal, budget, again, results, as_json)
    else:
        _plan_each(asked, goal, budget, again, results, as_json, _where(results, inventory))


def _settings(
    words: Words, threads: str | None, forms: str, inventory: Path | None, carry: bool
) -> tuple[tuple[Device, Asked], ...]:
    """What is asked of each device and setting: one of each kind, or as many as plans are carried between. Raises UsageError."""
    counts = settings.threads(threads)
    if not carry:
        settings.require_one(runtime=words.runtime, precision=words.precision, threads=threads)
    asked = settings.asked(words, counts, settings.forms(forms), inventory)
    if carry:
        from harness.planner import transfer

        for lacking, what in settings.not_had(words):
            first_line(f"{lacking} has no {what}: no setting of these two")
        transfer.require(asked)
    return asked


# --- planning ------------------------------------------------------------------------------------------------------


def _plan_each(
    asked: Sequence[tuple[Device, Asked]],
    goal: Goal,
    budget_s: float | None,
    again: bool,
    results: Path,
    as_json: bool,
    where: Sequence[str],
) -> None:
    """Plan for one device after the other; one that fails leaves the others alone. Exit code 1 where one fell short."""
    from harness.planner import folder, story
    from harness.progress import narrate

    found: list[Found] = []
    failed = False
    for machine, each in asked:
        try:
            with narrate() as tell:
                found.append(story.plan(results, machine, each, goal, tell, budget_s, again, alone=len(asked) == 1))
        except HarnessError as error:
            if len(asked) == 1 or isinstance(error, UsageError):
                raise
            complain(HarnessError(f"{machine.name}: {error.message}", error.hint))
            failed = True
            continue
        _draw(found[-1])
        if not as_json:
            _show(found[-1], goal, where)
    if not failed:
        story.end_again(found)
    if as_json:
        trees = [folder.tree(each.planned) for each in found]
        print_json(trees[0] if len(asked) == 1 else trees)
    if failed or not all(_is_reached(each, goal) for each in found):
        raise typer.Exit(1)


def _is_reached(found: Found, goal: Goal) -> bool:
    """Whether there is a plan for the target, where there is a target."""
    wanted = goal.speedup is not None or goal.accuracy_drop is not None
    return not wanted or found.planned.chosen is not None


def _where(results: Path, inventory: Path | None) -> list[str]:
    """The words that say where things lie, if it is not where they lie without them."""
    from harness.planner import stored

    words = ["--results", str(results)] if results != stored.USUAL else []
    return words + (["--inventory", str(inventory)] if inventory else [])


def _show(found: Found, goal: Goal, where: Sequence[str]) -> None:
    from harness.planner import goals, words
    from harness.report import plans

    planned = found.planned
    noise = words.noise(planned.gains, planned.resolution, planned.device)
    plans.show(planned, (*found.said, _table(found)), noise, console(), where)
    if told := goals.told(planned, goal):
        print(f"\n{told}")
    print(f"\nplan {found.folder}")
    if _figure(found).is_file():
        print(f"figure {_figure(found)}")


def _draw(found: Found) -> None:
    """Draw what came of a plan, where anything was measured and the figure does not say it yet."""
    from harness import report
    from harness.report import gained

    told = found.planned.gains or found.planned.front
    if told and not gained.is_plotted(found.planned, _figure(found)):
        report.draw_plan(found.planned, _figure(found), also=(".svg",))


def _figure(found: Found) -> Path:
    return found.folder / "plots" / "plan.png"


def _table(found: Found) -> str:
    """Where the numbers come from, and how long they took."""
    from harness.findings.views import count

    planned = found.planned
    what = f"table of {planned.created[:10]}, {count(len(planned.listing.options), 'option')}"
    if found.looked_up:
        return f"{what}; nothing measured"
    spent = ", ".join(f"{part} {seconds:.0f} s" for part, seconds in planned.seconds.items())
    return f"{what}; {spent}"


# --- a dry run -----------------------------------------------------------------------------------------------------


def _outlook(asked: Sequence[tuple[Device, Asked]], budget_s: float | None, as_json: bool, carry: bool) -> None:
    """Print the options of each network, what would be measured, and about how long that takes."""
    from dataclasses import asdict

    from harness.compress import client
    from harness.findings.views import count
    from harness.planner import outlook
    from harness.progress import narrate
    from harness.report import plans

    told = []
    for machine, each in asked:
        with narrate() as tell:
            listing = client.options(each.request, tell)
        parts = outlook.expected(listing.options, each.precision, budget_s)
        where = {"device": machine.name, "runtime": each.runtime, "precision": each.precision, "threads": each.threads}
        told.append({**where, "listing": asdict(listing), "outlook": [asdict(part) for part in parts]})
        if not as_json:
            if len(asked) > 1:
                print(f"{machine.name} {each.runtime} {each.precision}, {count(each.threads, 'thread')}:")
            plans.show_options(listing.options, console())
            for part in parts:
                print(f"{part.what}: {part.networks} networks, {part.processes} processes, about {part.seconds:.0f} s")
    if as_json:
        print_json(told[0] if len(told) == 1 else told)
    elif carry:
        print(f"transfer: {len(asked)} jobs of at most {len(asked) + 1} networks")

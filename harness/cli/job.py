"""`harness run`: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.guard import InventoryFile, Json, Results, complain, first_line, guarded, print_json
from harness.cli.look import load, show_table
from harness.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from harness.plan import Words
    from harness.preflight import Busy
    from harness.records import Device, Plan

# What makes a ladder: of no use to networks that are given.
_OF_LADDERS = {"model", "task", "data", "method", "eligible", "entropy", "order", "controls"}
_BESIDE_RESUME = {
    "resume",
    "results",
    "inventory",
    "as_json",
    "wait",
    "steal",
}  # what may be said together with --resume

DeviceWord = Annotated[
    str | None,
    typer.Option(help="Devices of the inventory, or tag:NAME for all that have it.", metavar="NAME[,NAME]"),
]
Model = Annotated[str, typer.Option(help="The network: see `harness models`.")]
Task = Annotated[str | None, typer.Option(help="Its data; by default the model's own.")]
Data = Annotated[Path | None, typer.Option(help="A folder for tasks that read one.", metavar="DIR")]
Method = Annotated[str, typer.Option(help="How depth is chosen: see `harness methods`.", metavar="X[,X]")]
Eligible = Annotated[str, typer.Option(help="Activations: those that unlock a merge, or all.", metavar="mergeable|all")]
Entropy = Annotated[str | None, typer.Option(help="easier: of a channel or of a position.", metavar="channel|position")]
Order = Annotated[str | None, typer.Option(help="order: activations, first out first.", metavar="NAME[,NAME]")]
Onnx = Annotated[
    list[Path] | None,
    typer.Option(help="Measure networks folded elsewhere; repeated, the first is the reference.", metavar="FILE"),
]
Runtime = Annotated[str | None, typer.Option(help="By default the first of the device's profile.", metavar="R[,R]")]
Precision = Annotated[str, typer.Option(help="Of weights and arithmetic.", metavar="P[,P]")]
Threads = Annotated[int | None, typer.Option(help="Of an inference; by default the profile's.")]
Batch = Annotated[int, typer.Option(help="Inputs per inference.")]
Option = Annotated[list[str] | None, typer.Option(help="A runtime's option; may be repeated.", metavar="K=V")]
Budget = Annotated[float, typer.Option(help="Seconds of measuring per job, at most.", metavar="S")]
Seed = Annotated[int, typer.Option(help="Of training and of the order of measuring.")]
Controls = Annotated[bool, typer.Option(help="Measure the latency controls beside the ladder.")]
Tune = Annotated[
    str | None, typer.Option(help="Settings to bring about meanwhile, of the profile.", metavar="NAME[,NAME]")
]
Regime = Annotated[
    str | None,
    typer.Option(help="A cool device (the default), or one under lasting load.", metavar="burst|sustained"),
]
PowerMode = Annotated[str | None, typer.Option(help="A power mode of the profile.", metavar="NAME")]
Profile = Annotated[
    bool, typer.Option("--profile", help="Time each operator too, once all is measured; count hardware events.")
]
Energy = Annotated[
    str,
    typer.Option(
        help="Energy, after the latencies: both scenarios, paced, closed or none; auto: both, where a sensor can be read.",
        metavar="MODE",
    ),
]
Windows = Annotated[int | None, typer.Option(help="Energy windows of each case and scenario; 5 at least.", metavar="N")]
Window = Annotated[float | None, typer.Option(help="Length of one; by default as its sensors need it.", metavar="S")]
Rate = Annotated[
    float | None,
    typer.Option(help="Inferences a second of the paced scenario; by default half the slowest's.", metavar="HZ"),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for a device that another run holds.")]
Steal = Annotated[bool, typer.Option("--steal", help="End the run that holds a device, and take it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
Resume = Annotated[str | None, typer.Option(help="Finish a run that was cut off.", metavar="RUN")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(guarded(run))


def run(
    context: typer.Context,
    device: DeviceWord = None,
    model: Model = "resnet18",
    task: Task = None,
    data: Data = None,
    method: Method = "easier",
    eligible: Eligible = "mergeable",
    entropy: Entropy = None,
    order: Order = None,
    onnx: Onnx = None,
    runtime: Runtime = None,
    precision: Precision = "fp32",
    threads: Threads = None,
    batch: Batch = 1,
    option: Option = None,
    budget: Budget = 240.0,
    seed: Seed = 0,
    controls: Controls = True,
    tune: Tune = None,
    regime: Regime = None,
    power_mode: PowerMode = None,
    profile: Profile = False,
    energy: Energy = "auto",
    windows: Windows = None,
    window: Window = None,
    rate: Rate = None,
    wait: Wait = False,
    steal: Steal = False,
    dry_run: DryRun = False,
    resume: Resume = None,
    results: Results = Path("results"),
    inventory: InventoryFile = None,
    as_json: Json = False,
) -> None:
    """Make a network shallower, build it, run it on a device, and show what that bought."""
    busy = _busy(wait, steal)
    if resume is not None:
        hint = "Start a new run for another plan."
        _refuse(_said(context) - _BESIDE_RESUME, "resume: a run goes on as it was planned", hint)
        _resume(resume, results, inventory, as_json, busy)
    elif dry_run:
        _plan(_words(context), results, inventory)
    else:
        _run(_words(context), results, inventory, as_json, busy)


def _busy(wait: bool, steal: bool) -> Busy:
    if wait and steal:
        raise UsageError("--wait cannot be said beside --steal: a busy device is waited for, or taken", "Drop one.")
    return "wait" if wait else "steal" if steal else "refuse"


def _words(context: typer.Context) -> Words:
    """What a plan is made of: the parameters of `run` that `Words` has by the same names, as click read them."""
    from dataclasses import fields

    from harness.plan import Words

    said = {field.name: context.params[field.name] for field in fields(Words)}
    if said["device"] is None:
        raise UsageError("run: name a device, or a run to resume", "For example: harness run --device local")
    if said["onnx"]:
        what = "onnx: given networks are measured as they are, nothing is made or trained"
        _refuse(_said(context) & _OF_LADDERS, what, "Drop one of the two.")
    # click knows neither: a path is text to it still, and a list that nobody gave may be None
    said["data"] = None if said["data"] is None else Path(said["data"])
    said["onnx"] = tuple(map(Path, said["onnx"] or ()))
    said["option"] = tuple(said["option"] or ())
    return Words(**said)


def _plan(words: Words, results: Path, inventory_file: Path | None) -> None:
    from harness import plan, store

    planned = _planned(words, inventory_file)
    described = [plan.describe(device, each) for device, each in planned]
    for (device, _), each in zip(planned, described, strict=True):
        print(f"{device.name}: {each['energy_said']}", file=sys.stderr)
    quotes = [store.quote_calibration(results, device.name) for device, _ in planned]
    print_json([{**each, "calibration": quote} for each, quote in zip(described, quotes, strict=True)])


def _planned(words: Words, inventory_file: Path | None) -> tuple[tuple[Device, Plan], ...]:
    from harness import inventory, plan

    first_line(f"{', '.join(map(str, words.onnx)) or words.model} on {words.device}")
    return plan.make(words, inventory.locate(inventory_file))


def _run(words: Words, results: Path, inventory_file: Path | None, as_json: bool, busy: Busy) -> None:
    """Measure on every device, show what was measured, then raise the bug that one of them may have met."""
    planned = _planned(words, inventory_file)
    from harness import fleet
    from harness.progress import narrate_each

    with narrate_each([device.name for device, _ in planned]) as tell:
        outcomes = fleet.run_each(
            planned, results=results, command=sys.argv[1:], tell=tell, complain=_complain_of, busy=busy
        )
    failures = [outcome.error for outcome in outcomes if outcome.error is not None]
    try:
        folders = [outcome.folder for outcome in outcomes if outcome.folder]
        _report(folders, as_json, bool(failures), several=len(planned) > 1)
    finally:
        for bug in failures:
            if not isinstance(bug, HarnessError):
                raise bug


def _complain_of(device: str, error: HarnessError) -> None:
    """Complain of one device among others: its name stands in the message."""
    is_named = error.message.startswith((f"device {device}:", f"device {device} "))
    named = error.message if is_named else f"{device}: {error.message}"
    complain(HarnessError(named, error.hint))


def _resume(word: str, results: Path, inventory_file: Path | None, as_json: bool, busy: Busy) -> None:
    from harness import inventory, store
    from harness import run as story
    from harness.progress import narrate

    first_line(f"resuming {word}")
    folder = store.find(results, word)
    device = inventory.device(store.load(folder).device, inventory.locate(inventory_file))
    with narrate() as tell:
        story.resume(folder, device, tell=tell, busy=busy)
    _report([folder], as_json, failed=False)


def _said(context: typer.Context) -> set[str]:
    """The parameters that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def _refuse(names: set[str], beside: str, hint: str) -> None:
    """Raise UsageError for the first of these parameters: beside that flag it would be accepted and ignored."""
    for name in sorted(names):
        raise UsageError(f"--{name.replace('_', '-')} cannot be said beside --{beside}", hint)


def _report(folders: list[Path], as_json: bool, failed: bool, several: bool = False) -> None:
    """Draw each run's figures, show its table; exit 1 if a case failed or none was measured.

    The JSON is a list where several devices were asked for, however many of them failed.
    """
    from harness import report

    runs = [load(folder) for folder in folders]
    for folder, each in zip(folders, runs, strict=True):
        figure = folder / "plots" / "depth.png"
        if not as_json:
            show_table(each)
            print(f"\nrun     {folder}")
        if any(case.latency_ns for case in each.cases) and any(case.depth is not None for case in each.cases):
            report.draw(each, figure, also=() if several else (".svg",))  # of many, `harness plot` draws what is wanted
            if not as_json:
                print(f"figure  {figure}")
        if any(job.curve for job in each.jobs):
            soak, _ = report.draw_soak(each, folder / "plots" / "sustained.png")
            if not as_json:
                print(f"figure  {soak}")
    if as_json:
        shown = [report.to_json(each) for each in runs]
        print_json(shown if several else shown[0])
    measured = all(any(case.status == "ok" for case in each.cases) for each in runs)
    if failed or not measured or any(case.status == "failed" for each in runs for case in each.cases):
        raise typer.Exit(1)

"""`harness run`: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from harness.cli import flags
from harness.cli.guard import InventoryFile, Json, Results, complain, first_line, guarded, print_json
from harness.cli.look import load, show_table
from harness.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.plan import Words
    from harness.preflight import Busy
    from harness.records import Device, LadderRequest, Plan

# What makes a ladder: of no use to networks that are given.
_OF_LADDERS = {"model", "task", "data", "method", "eligible", "entropy", "order", "recipe", "controls"} | {
    *("schedule", "budget_epochs", "rungs", "step", "delta", "distil", "seeds", "train_on")
}
_BESIDE_RESUME = {
    "resume",
    "results",
    "inventory",
    "as_json",
    "wait",
    "steal",
    "copy_to",
}  # what may be said together with --resume


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(guarded(run))


def run(
    context: typer.Context,
    device: flags.DeviceWord = None,
    model: flags.Model = "resnet18",
    task: flags.Task = None,
    data: flags.Data = None,
    method: flags.Method = "easier",
    eligible: flags.Eligible = "mergeable",
    entropy: flags.Entropy = None,
    order: flags.Order = None,
    recipe: flags.Recipe = None,
    schedule: flags.Schedule = None,
    budget_epochs: flags.BudgetEpochs = None,
    rungs: flags.Rungs = None,
    step: flags.Step = 1,
    delta: flags.Delta = None,
    distil: flags.Distil = None,
    seeds: flags.Seeds = 1,
    train_on: flags.TrainOn = None,
    onnx: flags.Onnx = None,
    runtime: flags.Runtime = None,
    precision: flags.Precision = "fp32",
    threads: flags.Threads = None,
    batch: flags.Batch = 1,
    option: flags.Option = None,
    budget: flags.Budget = 240.0,
    seed: flags.Seed = 0,
    controls: flags.Controls = True,
    tune: flags.Tune = None,
    regime: flags.Regime = None,
    power_mode: flags.PowerMode = None,
    profile: flags.Profile = False,
    energy: flags.Energy = "auto",
    windows: flags.Windows = None,
    window: flags.Window = None,
    rate: flags.Rate = None,
    wait: flags.Wait = False,
    steal: flags.Steal = False,
    dry_run: flags.DryRun = False,
    resume: flags.Resume = None,
    copy_to: flags.CopyTo = None,
    results: Results = Path("results"),
    inventory: InventoryFile = None,
    as_json: Json = False,
) -> None:
    """Make a network shallower, build it, run it on a device, and show what that bought."""
    busy = _busy(wait, steal)
    _require_url(copy_to, dry_run)
    if resume is not None:
        hint = "Start a new run for another plan."
        _refuse(_said(context) - _BESIDE_RESUME, "resume: a run goes on as it was planned", hint)
        _resume(resume, results, inventory, as_json, busy, copy_to)
    elif dry_run:
        _plan(_words(context), results, inventory)
    else:
        _run(_words(context), results, inventory, as_json, busy, copy_to)


def _busy(wait: bool, steal: bool) -> Busy:
    if wait and steal:
        raise UsageError("--wait cannot be said beside --steal: a busy device is waited for, or taken", "Drop one.")
    return "wait" if wait else "steal" if steal else "refuse"


def _require_url(copy_to: str | None, dry_run: bool) -> None:
    """Find out before the long work whether anything here speaks this URL. Raises UsageError."""
    if copy_to is None:
        return
    if dry_run:
        raise UsageError("--copy-to cannot be said beside --dry-run: there will be nothing to copy", "Drop one.")
    from harness.store import remote

    remote.require_spoken(copy_to)


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
    said["option"], said["recipe"] = tuple(said["option"] or ()), tuple(said["recipe"] or ())
    return Words(**said)


def _plan(words: Words, results: Path, inventory_file: Path | None) -> None:
    """Print what would be done, once all that a run refuses before it makes anything has been looked at."""
    from harness import plan, store
    from harness.compress import client
    from harness.progress import narrate

    planned = _planned(words, results, inventory_file)
    with narrate() as tell:
        for ladders in _different(each.ladders for _, each in planned):
            client.check(ladders, tell, least=1)
    described = [plan.describe(device, each) for device, each in planned]
    for (device, _), each in zip(planned, described, strict=True):
        print(f"{device.name}: {each['energy_said']}", file=sys.stderr)
    quotes = [store.quote_calibration(results, device.name) for device, _ in planned]
    print_json([{**each, "calibration": quote} for each, quote in zip(described, quotes, strict=True)])


def _different(many: Iterable[tuple[LadderRequest, ...]]) -> list[tuple[LadderRequest, ...]]:
    """Each once: most often every device has the same ladders."""
    found: list[tuple[LadderRequest, ...]] = []
    for ladders in many:
        if ladders not in found:
            found.append(ladders)
    return found


def _planned(words: Words, results: Path, inventory_file: Path | None) -> tuple[tuple[Device, Plan], ...]:
    from harness import inventory, plan
    from harness.planner import stored

    first_line(f"{', '.join(map(str, words.onnx)) or words.model} on {words.device}")
    return stored.resolve(plan.make(words, inventory.locate(inventory_file)), results)


def _run(
    words: Words, results: Path, inventory_file: Path | None, as_json: bool, busy: Busy, copy_to: str | None
) -> None:
    """Measure on every device, show what was measured, then raise the bug that one of them may have met."""
    planned = _planned(words, results, inventory_file)
    from harness import fleet
    from harness.progress import narrate_each

    with narrate_each([device.name for device, _ in planned]) as tell:
        outcomes = fleet.run_each(
            planned, results=results, command=sys.argv[1:], tell=tell, complain=_complain_of, busy=busy
        )
    failures = [outcome.error for outcome in outcomes if outcome.error is not None]
    try:
        folders = [outcome.folder for outcome in outcomes if outcome.folder]
        _report(folders, as_json, bool(failures), several=len(planned) > 1, copy_to=copy_to)
    finally:
        for bug in failures:
            if not isinstance(bug, HarnessError):
                raise bug


def _complain_of(device: str, error: HarnessError) -> None:
    """Complain of one device among others: its name stands in the message."""
    is_named = error.message.startswith((f"device {device}:", f"device {device} "))
    named = error.message if is_named else f"{device}: {error.message}"
    complain(HarnessError(named, error.hint))


def _resume(
    word: str, results: Path, inventory_file: Path | None, as_json: bool, busy: Busy, copy_to: str | None
) -> None:
    from harness import inventory, store
    from harness import run as story
    from harness.progress import narrate

    first_line(f"resuming {word}")
    folder = store.find(results, word)
    device = inventory.device(store.load(folder).device, inventory.locate(inventory_file))
    with narrate() as tell:
        story.resume(folder, device, tell=tell, busy=busy)
    _report([folder], as_json, failed=False, copy_to=copy_to)


def _said(context: typer.Context) -> set[str]:
    """The parameters that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def _refuse(names: set[str], beside: str, hint: str) -> None:
    """Raise UsageError for the first of these parameters: beside that flag it would be accepted and ignored."""
    for name in sorted(names):
        raise UsageError(f"--{name.replace('_', '-')} cannot be said beside --{beside}", hint)


def _report(
    folders: list[Path], as_json: bool, failed: bool, several: bool = False, copy_to: str | None = None
) -> None:
    """Draw each run's figures, show its table, copy it where it is to go; exit 1 if a case failed or none was measured.

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
    _copy(folders, copy_to)
    measured = all(any(case.status == "ok" for case in each.cases) for each in runs)
    if failed or not measured or any(case.status == "failed" for each in runs for case in each.cases):
        raise typer.Exit(1)


def _copy(folders: list[Path], url: str | None) -> None:
    """Copy finished runs below a URL, and say where they are; standard error, for JSON may stand on the other."""
    if url is None:
        return
    from harness.store import remote

    for folder in folders:
        print(f"copy    {remote.copy(folder, url)}", file=sys.stderr)

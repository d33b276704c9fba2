"""Words -> calls; the only place that prints errors and exits.

Exit codes: 0 done; 1 a case or a device failed; 2 the user's mistake; 70 a bug (with its traceback); 130 interrupted.
Every import that is not free stands inside the command that needs it, so that help is there at once; torch never is.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from harness import __version__
from harness.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from harness.records import Run

app = typer.Typer(
    name="harness",
    help="What removing layers really buys, measured on the device: latency and MACs against depth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cache_app = typer.Typer(help="What is kept between runs: rungs, artifacts, agents.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")

F = TypeVar("F", bound=Callable[..., Any])

Json = Annotated[bool, typer.Option("--json", help="Nothing but JSON on standard output.")]
Results = Annotated[Path, typer.Option("--results", help="Where runs are kept.", metavar="DIR")]
InventoryFile = Annotated[
    Path | None,
    typer.Option(
        "--inventory", help="The devices' file; by default ./inventory.yaml, else the one that ships.", metavar="FILE"
    ),
]
RunWord = Annotated[
    str | None,
    typer.Argument(help="A run's id, the start of one, or its folder. Without: the newest, else an example."),
]


def main() -> None:
    """Run the command line."""
    app()


def _guarded(command: F) -> F:
    """Turn what a command raises into one clear message and the right exit code."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except HarnessError as error:
            _complain(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt as interruption:
            print("interrupted", *interruption.args, sep="\n", file=sys.stderr)
            raise typer.Exit(130) from None
        except BrokenPipeError:  # `harness show | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception:
            traceback.print_exc()
            print("This is a bug in edge-harness; the traceback is above.", file=sys.stderr)
            raise typer.Exit(70) from None

    return guarded  # type: ignore[return-value]


def _complain(error: HarnessError) -> None:
    if os.environ.get("HARNESS_DEBUG"):
        traceback.print_exc()
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(error.hint, file=sys.stderr)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, allow_nan=False))


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    content: Annotated[
        Path | None,
        typer.Option(
            "--content", help="A folder of your own with profiles/ runtimes/ sensors/ models/ methods/.", metavar="DIR"
        ),
    ] = None,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
    if content is not None:
        if not content.is_dir():
            _complain(UsageError(f"--content {content}: no such folder"))
            raise typer.Exit(2)
        known = os.environ.get("HARNESS_CONTENT", "")
        os.environ["HARNESS_CONTENT"] = os.pathsep.join(filter(None, (str(content.resolve()), known)))


# --- the main job --------------------------------------------------------------------------------------------------


@app.command()
@_guarded
def run(
    device: Annotated[str | None, typer.Option(help="Devices of the inventory.", metavar="NAME[,NAME]")] = None,
    model: Annotated[str, typer.Option(help="The network: see `harness models`.")] = "resnet18",
    task: Annotated[str | None, typer.Option(help="Its data; by default the model's own.")] = None,
    data: Annotated[Path | None, typer.Option(help="A folder for tasks that read one.", metavar="DIR")] = None,
    method: Annotated[
        str, typer.Option(help="How depth is chosen: see `harness methods`.", metavar="X[,X]")
    ] = "easier",
    eligible: Annotated[
        str, typer.Option(help="Activations: those that unlock a merge, or all.", metavar="mergeable|all")
    ] = "mergeable",
    entropy: Annotated[
        str | None, typer.Option(help="easier: entropy of a channel or of a position.", metavar="channel|position")
    ] = None,
    order: Annotated[str | None, typer.Option(help="order: activations, first out first.", metavar="NAME,NAME")] = None,
    runtime: Annotated[
        str | None, typer.Option(help="By default the first of the device's profile.", metavar="R[,R]")
    ] = None,
    precision: Annotated[str, typer.Option(metavar="P[,P]")] = "fp32",
    threads: Annotated[int | None, typer.Option(help="Threads of an inference; by default the profile's.")] = None,
    batch: Annotated[int, typer.Option(help="Inputs per inference.")] = 1,
    option: Annotated[
        list[str] | None, typer.Option(help="A runtime's option; may be repeated.", metavar="K=V")
    ] = None,
    budget: Annotated[float, typer.Option(help="Seconds of measuring per job, at most.", metavar="S")] = 240.0,
    seed: Annotated[int, typer.Option(help="Of training and of the order of measuring.")] = 0,
    controls: Annotated[bool, typer.Option(help="Measure the latency controls beside the ladder.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    resume: Annotated[str | None, typer.Option(help="Finish a run that was cut off.", metavar="RUN")] = None,
    results: Results = Path("results"),
    inventory: InventoryFile = None,
    as_json: Json = False,
) -> None:
    """Make a network shallower, build it, run it on a device, and show what that bought."""
    from harness import plan

    if (device is None) == (resume is None):
        raise UsageError("run: name a device, or a run to resume", "For example: harness run --device local")
    if resume is not None:
        _resume(resume, results, inventory, as_json)
        return
    words = plan.Words(
        device=str(device), model=model, task=task, data=data, method=method, eligible=eligible, entropy=entropy,
        order=order, runtime=runtime, precision=precision, threads=threads, batch=batch, option=tuple(option or ()),
        budget=budget, seed=seed, controls=controls,
    )  # fmt: skip
    _run(words, dry_run, results, inventory, as_json)


def _run(words: Any, dry_run: bool, results: Path, inventory_file: Path | None, as_json: bool) -> None:
    from harness import inventory, plan

    _first_line(f"edge-harness {__version__}: {words.model} on {words.device}")
    planned = plan.make(words, inventory.locate(inventory_file))
    if dry_run:
        _print_json([plan.describe(device, each) for device, each in planned])
        return
    from harness import run as story
    from harness.progress import narrate

    session = story.new_session()
    folders = []
    for device, each in planned:
        with narrate() as tell:
            folders.append(story.start(each, device, results=results, command=sys.argv[1:], session=session, tell=tell))
    _report(folders, as_json)


def _resume(word: str, results: Path, inventory_file: Path | None, as_json: bool) -> None:
    from harness import inventory, store
    from harness import run as story
    from harness.progress import narrate

    _first_line(f"edge-harness {__version__}: resuming {word}")
    folder = store.find(results, word)
    device = inventory.device(store.load(folder).device, inventory.locate(inventory_file))
    with narrate() as tell:
        story.resume(folder, device, tell=tell)
    _report([folder], as_json)


def _first_line(text: str) -> None:
    """Say at once what is going on; what follows may have to import much."""
    print(text, file=sys.stderr, flush=True)


def _report(folders: list[Path], as_json: bool) -> None:
    """Draw each run's figures, show its table, and exit 1 if a case failed."""
    from harness import report

    runs = [_load(folder) for folder in folders]
    for folder, each in zip(folders, runs, strict=True):
        report.draw(each, folder / "plots" / "depth.png")
        report.draw(each, folder / "plots" / "depth.svg")
        if not as_json:
            _show(each)
            print(f"\nrun     {folder}\nfigure  {folder / 'plots' / 'depth.png'}")
    if as_json:
        shown = [report.to_json(each) for each in runs]
        _print_json(shown[0] if len(shown) == 1 else shown)
    if any(case.status == "failed" for each in runs for case in each.cases):
        raise typer.Exit(1)


# --- looking at runs -----------------------------------------------------------------------------------------------


@app.command()
@_guarded
def show(run: RunWord = None, results: Results = Path("results"), as_json: Json = False) -> None:
    """Show a run's table and findings."""
    from harness import report, store

    loaded = _load(store.find(results, run))
    if as_json:
        _print_json(report.to_json(loaded))
    else:
        _show(loaded)


@app.command()
@_guarded
def plot(
    run: RunWord = None,
    out: Annotated[
        Path | None, typer.Option(help="PNG, SVG or PDF by its ending; by default in the run's folder.", metavar="FILE")
    ] = None,
    published: Annotated[str | None, typer.Option(help="Draw a paper's table beside it.", metavar="easier")] = None,
    results: Results = Path("results"),
) -> None:
    """Draw depth against latency, MACs and weight bytes of a run."""
    from harness import report, store

    table = report.published(published) if published else None
    folder = store.find(results, run)
    file = out or folder / "plots" / ("depth.png" if published is None else f"depth-{published}.png")
    report.draw(_load(folder), file, table)
    print(file)


def _show(run: Run) -> None:
    from rich.console import Console

    from harness import report

    # Where nobody looks (a pipe, a file) lines are as wide as the table needs, not as 80 columns allow.
    report.show(run, Console(width=None if sys.stdout.isatty() else 120, highlight=False))


def _load(folder: Path) -> Run:
    """Load a run; recompute its numbers from its journals when a newer analysis exists or it never came to its end."""
    from harness import analysis, findings, store

    run = store.load(folder)
    if run.analysis_version >= findings.ANALYSIS_VERSION or not run.entries:
        return run
    journals = {runtime: store.events(folder, runtime) for runtime in run.plan.runtimes}
    replies = {runtime: store.load_reply(folder, runtime) for runtime in run.plan.runtimes}
    return analysis.analyse(run, journals, replies)


# --- what can be named ---------------------------------------------------------------------------------------------


@app.command()
@_guarded
def devices(inventory: InventoryFile = None, as_json: Json = False) -> None:
    """List the devices of the inventory."""
    from harness import inventory as door

    found = door.read(door.locate(inventory))
    if as_json:
        _print_json([asdict(device) for device in found])
    else:
        _columns([(device.name, f"{device.profile.name}: {', '.join(device.profile.runtimes)}") for device in found])


@app.command()
@_guarded
def check(
    device: Annotated[str, typer.Option(help="A device of the inventory.", metavar="NAME")],
    inventory: InventoryFile = None,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """See whether a device is ready: reachable, room, which of its runtimes can be imported."""
    from harness import inventory as door
    from harness import run as story

    found = story.check(door.device(device, door.locate(inventory)), results)
    if as_json:
        _print_json(found)
    else:
        _columns([(name, str(value)) for name, value in found.items()])
    if any(str(value).startswith("missing") for value in found.values()):
        raise typer.Exit(1)


def _listing(kind: Any) -> Callable[[bool], None]:
    def command(as_json: Json = False) -> None:
        from harness import content

        rows = [(name, content.summary(kind, name)) for name in content.names(kind)]
        if as_json:
            _print_json([{kind: name, "summary": summary} for name, summary in rows])
        else:
            _columns(rows)

    command.__doc__ = f"List the {kind}s that can be named."
    return command


for _kind in ("method", "model", "task", "runtime", "sensor", "profile"):
    app.command(_kind + "s")(_guarded(_listing(_kind)))


def _columns(rows: list[tuple[str, str]]) -> None:
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        print(f"{name:{width}}  {text}".rstrip())


# --- the cache -----------------------------------------------------------------------------------------------------


@cache_app.command("list")
@_guarded
def cache_list(as_json: Json = False) -> None:
    """List what is kept, least recently used first."""
    from harness import cache

    entries = cache.entries()
    if as_json:
        _print_json([{"kind": e.kind, "key": e.key, "size_bytes": e.size_bytes, "path": str(e.path)} for e in entries])
        return
    _columns([(e.kind, f"{e.key[:16]}  {e.size_bytes / 1e6:8.1f} MB") for e in entries])
    print(f"{sum(e.size_bytes for e in entries) / 1e6:.1f} MB of {cache.cap_bytes() / 1e6:.0f} MB in {cache.root()}")


@cache_app.command("clean")
@_guarded
def cache_clean(
    keep: Annotated[float, typer.Option(help="Keep the most recently used, up to so many MB.", metavar="MB")] = 0.0,
) -> None:
    """Remove what is kept; the next run makes it anew."""
    from harness import cache

    gone = cache.trim(cap=int(keep * 1e6))
    print(f"removed {len(gone)} entries, {sum(entry.size_bytes for entry in gone) / 1e6:.1f} MB")

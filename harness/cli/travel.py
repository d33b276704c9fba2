"""`harness archive`, `import` and `reproduce`: runs that leave, runs that come, runs that are made again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.guard import InventoryFile, Json, Results, complain, console, first_line, guarded, print_json
from harness.cli.look import load, show_table
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.compare import Comparison
    from harness.records import Device, Plan

_RUN = "A run's id, the start of one, or its folder."


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(guarded(archive))
    app.command("import")(guarded(bring))
    app.command()(guarded(reproduce))


def archive(
    run: Annotated[str, typer.Argument(help=_RUN, metavar="RUN")],
    out: Annotated[
        Path | None, typer.Option(help="The zip to write; by default RUN.zip in this folder.", metavar="FILE.zip")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(help="Copy the run's files below this URL instead: s3://BUCKET/runs, file://...", metavar="URL"),
    ] = None,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Pack a finished run into one zip to be cited: raw samples, environment, checksums, the command that runs it again."""
    from harness import store
    from harness.report import citation
    from harness.store import archives, remote

    if to is not None and (out is not None or not remote.is_url(to)):
        raise UsageError(
            f"--to {to}: takes a URL such as s3://BUCKET/runs, and no --out beside it", "Say one of the two."
        )
    folder = store.find(results, run)
    record = store.load(folder)
    first_line(f"archiving {record.run}")
    if to is not None:
        url = remote.copy(folder, to)
        print_json({"run": record.run, "url": url}) if as_json else print(url)
        return
    file = archives.pack(folder, out or Path(f"{record.run}.zip"), citation.about(record))
    if as_json:
        print_json({"run": record.run, "archive": str(file), "sha256": archives.digest(file)})
    else:
        print(file)


def bring(
    source: Annotated[
        Path, typer.Argument(help="What `harness archive` wrote, or a run's folder.", metavar="FILE.zip|FOLDER")
    ],
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Bring a run that was made elsewhere into the results, once every part of it has been checked."""
    from harness.store import incoming

    first_line(f"importing {source}")
    brought = incoming.bring(source, results)
    if as_json:
        print_json({"run": brought.run.run, "folder": str(brought.folder), "new": brought.new})
    else:
        print(brought.folder if brought.new else f"{brought.folder} is there already, and the same")


def reproduce(
    run: Annotated[str, typer.Argument(help=_RUN, metavar="RUN")],
    device: Annotated[
        str | None, typer.Option(help="A device of the inventory; by default the run's.", metavar="NAME")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Where the task's files are here, if the run read some.", metavar="DIR")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what differs, print the plan and stop.")] = False,
    results: Results = Path("results"),
    inventory: InventoryFile = None,
    as_json: Json = False,
) -> None:
    """Run again what a run asked for: what differs in the environment is said first, then both are compared."""
    from harness import inventory as listed
    from harness import plan, provenance, store
    from harness.plan.again import again, differences

    folder = store.find(results, run)
    record = store.load(folder)
    first_line(f"reproducing {record.run}")
    machine = listed.device(device or record.device, listed.locate(inventory))
    asked = again(record.plan, machine, data)
    differs = differences(record.provenance, provenance.told())
    for name, (was, now) in differs.items():
        print(f"differs: {name}: {was} then, {now} now", file=sys.stderr)
    told = {name: {"then": was, "now": now} for name, (was, now) in differs.items()}
    if dry_run:
        print_json({"run": record.run, "differs": told, "plan": plan.describe(machine, asked)})
    else:
        _again(folder, machine, asked, results, told, as_json)


def _again(old: Path, machine: Device, asked: Plan, results: Path, differs: dict[str, Any], as_json: bool) -> None:
    """Measure, show what was measured, and compare it with what was measured then."""
    from harness import fleet, report
    from harness.progress import narrate
    from harness.report import comparison

    def never(name: str, error: Exception) -> None:
        """A device alone raises its error."""

    with narrate() as tell:
        done = fleet.run_each(
            [(machine, asked)], results=results, command=sys.argv[1:], tell={machine.name: tell}, complain=never
        )
    new = done[0].folder
    assert new is not None  # a device alone raises
    made = load(new)
    found = _compared(old, new)
    if as_json:
        compared = None if found is None else comparison.to_json(found)
        print_json({"run": report.to_json(made), "differs": differs, "comparison": compared})
    else:
        show_table(made)
        if found is not None:
            comparison.show(found, console())
    if any(case.status == "failed" for case in made.cases) or not any(case.status == "ok" for case in made.cases):
        raise typer.Exit(1)
    if found is not None and found.exit_code:
        raise typer.Exit(found.exit_code)


def _compared(old: Path, new: Path) -> Comparison | None:
    """Compare the runs; unlike facts (another machine, another version) are complained about, for the run itself is good."""
    from harness import compare

    try:
        return compare.compare(old, new)
    except UsageError as error:
        complain(error)
        print(f"Both are kept: harness compare {old} {new} --despite FACT[,FACT]", file=sys.stderr)
        return None

"""`harness show`: looking at runs. Nothing here writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.cases import show_cases
from harness.cli.guard import Json, Results, console, first_line, guarded, print_json
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.records import Run

RunWord = Annotated[
    str | None,
    typer.Argument(help="A run's id, the start of one, or its folder. Without: the newest, else an example."),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(guarded(show))


def show(
    run: RunWord = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="The operators that were executed, beside those of rung 0.")
    ] = False,
    rung: Annotated[
        int | None, typer.Option(help="With --profile: this rung; else the fastest and the slowest.", metavar="N")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="Cases of all runs, by an SQL expression: \"device = 'pi5' and rung > 3\".", metavar="EXPRESSION"
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", help="The table for a paper or a spreadsheet, on stdout.", metavar="latex|csv|markdown"
        ),
    ] = None,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Show a run's table and findings, or what its networks really executed; or cases of all runs."""
    if where is not None:
        _require_alone(run, profile, rung, form)
        show_cases(results, where, as_json)
        return
    from harness import report, store

    if rung is not None and not profile:
        raise UsageError("--rung: it chooses whose operators are shown", "Say --profile, too.")
    if form is not None:
        _require_table(form, profile, as_json)
        print(report.formatted(load(store.find(results, run)), form), end="")
        return
    loaded = load(store.find(results, run))
    if as_json:
        executed = {"profile": report.operators_json(loaded, rung)} if profile else {}
        print_json({**report.to_json(loaded), **executed})
    elif profile:
        report.show_operators(loaded, console(), rung)
    else:
        show_table(loaded)


def _require_table(form: str, profile: bool, as_json: bool) -> None:
    """Raise UsageError for an unknown format, or one beside what is no table."""
    from harness import content, report

    content.require_known("format", form, report.FORMATS)
    if profile or as_json:
        other = "--profile" if profile else "--json"
        raise UsageError(f"--format: it writes a run's table, {other} something else", "Drop one of the two.")


def _require_alone(run: str | None, profile: bool, rung: int | None, form: str | None) -> None:
    """Raise UsageError where `--where` stands beside what chooses or shows a single run."""
    given = {"RUN": run is not None, "--profile": profile, "--rung": rung is not None, "--format": form is not None}
    if named := [word for word, said in given.items() if said]:
        raise UsageError(f"--where: it looks through all runs, {named[0]} is for one", "Drop one of the two.")


def show_table(run: Run) -> None:
    """Print a run's table."""
    from harness import report

    report.show(run, console())


def load(folder: Path) -> Run:
    """Load a run; recompute its numbers from its journals when a newer analysis exists or it never came to its end."""
    from harness import stored

    return stored.load(folder, lambda: first_line(f"analysing {folder.name} anew: its numbers are of an older version"))

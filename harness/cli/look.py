"""`harness show` and `harness plot`: looking at runs. Nothing here writes into a run but its figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.cases import show_cases
from harness.cli.guard import Json, Results, console, first_line, guarded, print_json
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.records import Run

_KINDS = ("depth", "accuracy", "sustained", "energy", "power")

RunWord = Annotated[
    str | None,
    typer.Argument(help="A run's id, the start of one, or its folder. Without: the newest, else an example."),
]
OutFile = Annotated[
    Path | None, typer.Option(help="PNG, SVG or PDF by its ending; by default in the run's folder.", metavar="FILE")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(guarded(show))
    app.command()(guarded(plot))


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
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Show a run's table and findings, or what its networks really executed; or cases of all runs."""
    if where is not None:
        _require_alone(run, profile, rung)
        show_cases(results, where, as_json)
        return
    from harness import report, store

    if rung is not None and not profile:
        raise UsageError("--rung: it chooses whose operators are shown", "Say --profile, too.")
    loaded = load(store.find(results, run))
    if as_json:
        executed = {"profile": report.operators_json(loaded, rung)} if profile else {}
        print_json({**report.to_json(loaded), **executed})
    elif profile:
        report.show_operators(loaded, console(), rung)
    else:
        show_table(loaded)


def _require_alone(run: str | None, profile: bool, rung: int | None) -> None:
    """Raise UsageError where `--where` stands beside what chooses or shows a single run."""
    given = {"RUN": run is not None, "--profile": profile, "--rung": rung is not None}
    if named := [word for word, said in given.items() if said]:
        raise UsageError(f"--where: it looks through all runs, {named[0]} is for one", "Drop one of the two.")


def plot(
    run: RunWord = None,
    out: OutFile = None,
    published: Annotated[str | None, typer.Option(help="Draw a paper's table beside it.", metavar="easier")] = None,
    kind: Annotated[
        str,
        typer.Option(
            help="Depth against latency, accuracy or energy against both, latency under lasting load, or power over time.",
            metavar="|".join(_KINDS),
        ),
    ] = "depth",
    block: Annotated[
        int | None,
        typer.Option(help="With --kind power: the block whose passes are drawn, else the first.", metavar="N"),
    ] = None,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Draw depth against latency, MACs and weight bytes of a run, its accuracy or energy; the plotted points as CSV beside it."""
    from harness import content, report, store

    content.require_known("kind of figure", kind, _KINDS)
    if block is not None and kind != "power":
        raise UsageError("--block: it chooses whose power is drawn", "Say --kind power, too.")
    if published is not None and kind != "depth":
        raise UsageError("--published: a paper's table stands beside --kind depth only", "Drop one of the two.")
    table = report.published(published) if published else None
    folder = store.find(results, run)
    first_line(f"drawing {folder.name}")  # matplotlib takes its time
    more = published or (str(block or 1) if kind == "power" else "")
    file = out or folder / "plots" / f"{'-'.join(filter(None, (kind, more)))}.png"
    if kind == "power":
        drawn = report.draw_power(replace(store.frames(folder), run=load(folder)), file, 1 if block is None else block)
    elif kind == "depth":
        drawn = report.draw(load(folder), file, table)
    elif kind == "accuracy":
        drawn = report.draw_accuracy([load(folder)], file)
    else:
        drawn = (report.draw_energy if kind == "energy" else report.draw_soak)(load(folder), file)
    figure, points = drawn
    if as_json:
        print_json({"figure": str(figure), "points": str(points)})
    else:
        print(figure)


def show_table(run: Run) -> None:
    """Print a run's table."""
    from harness import report

    report.show(run, console())


def load(folder: Path) -> Run:
    """Load a run; recompute its numbers from its journals when a newer analysis exists or it never came to its end."""
    from harness import findings, store

    run = store.load(folder)
    if run.analysis_version >= findings.ANALYSIS_VERSION or not run.entries:
        return run
    from harness import analysis

    runtimes = run.plan.runtimes
    return analysis.analyse(run, *store.measured(folder, runtimes), store.all_meters(folder, runtimes))

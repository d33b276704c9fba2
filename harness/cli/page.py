"""`harness report`: one self-contained HTML page of one or several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.guard import Json, Results, first_line, guarded, print_json
from harness.cli.look import load

RunWords = Annotated[
    list[str] | None,
    typer.Argument(help="Runs' ids, the starts of some, or their folders. Without: the newest, else an example."),
]
OutFile = Annotated[
    Path | None, typer.Option(help="Where to write it, .html; by default into the first run's folder.", metavar="FILE")
]


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(guarded(report))


def report(
    runs: RunWords = None, out: OutFile = None, results: Results = Path("results"), as_json: Json = False
) -> None:
    """Write one HTML page that opens offline: findings, figures to hover and filter, a table to sort, provenance."""
    from harness import report as reports
    from harness import store

    found = {folder.resolve(): folder for folder in (store.find(results, word) for word in runs or (None,))}
    folders = list(found.values())  # each once, however often and by whatever words it is named
    first_line(f"writing a page of {', '.join(folder.name for folder in folders)}")
    file = reports.write_page([load(folder) for folder in folders], out or folders[0] / "plots" / "report.html")
    if as_json:
        print_json({"page": str(file)})
    else:
        print(file)

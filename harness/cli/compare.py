"""`harness compare`: two runs, the same statistics across them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.guard import Json, Results, console, guarded, print_json

_RUN = "A run's id, the start of one, or its folder."


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(guarded(compare))


def compare(
    a: Annotated[str, typer.Argument(help=_RUN, metavar="A")],
    b: Annotated[str, typer.Argument(help=_RUN, metavar="B")],
    despite: Annotated[
        str | None, typer.Option(help="Compare although these facts are unlike.", metavar="FACT[,FACT]")
    ] = None,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Compare two runs of one device, row by row; exit code 3 when one of B is slower or takes more energy, 1 when one failed."""
    from harness import compare as story
    from harness import store
    from harness.report import comparison

    names = tuple(name.strip() for name in (despite or "").split(",") if name.strip())
    found = story.compare(store.find(results, a), store.find(results, b), names)
    if as_json:
        print_json(comparison.to_json(found))
    else:
        comparison.show(found, console())
    if found.exit_code:
        raise typer.Exit(found.exit_code)

"""Words -> calls; the only place that prints errors and exits.

Exit codes: 0 done; 1 a case or a device failed; 2 the user's mistake; 3 `compare` or `nightly` found a regression;
70 a bug (with its traceback); 130 interrupted.
Every import that is not free stands inside the command that needs it, so that help is there at once; torch never is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from harness import __version__
from harness.cli import calibrate, check, compare, draw, fold, job, keep, look, name, nightly, page, planner, travel
from harness.cli.guard import complain
from harness.errors import UsageError

app = typer.Typer(
    name="harness",
    help="What removing layers really buys, measured on the device: latency and MACs against depth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
job.add_to(app)
check.add_to(app)
calibrate.add_to(app)
planner.add_to(app)
look.add_to(app)
draw.add_to(app)
page.add_to(app)
compare.add_to(app)
nightly.add_to(app)
travel.add_to(app)
fold.add_to(app)
name.add_to(app)
keep.add_to(app)


def main() -> None:
    """Run the command line."""
    app()


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    content: Annotated[
        Path | None,
        typer.Option("--content", help="A folder of your own: profiles/ runtimes/ models/ methods/ ...", metavar="DIR"),
    ] = None,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
    if content is None:
        return
    if not content.is_dir():
        complain(UsageError(f"--content {content}: no such folder"))
        raise typer.Exit(2)
    known = os.environ.get("HARNESS_CONTENT", "")  # child processes inherit it
    os.environ["HARNESS_CONTENT"] = os.pathsep.join(filter(None, (str(content.resolve()), known)))

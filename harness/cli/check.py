"""`harness check`: what a device is and can do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.guard import InventoryFile, Json, Results, first_line, guarded, print_columns, print_json


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(guarded(check))


def check(
    device: Annotated[str, typer.Option(help="A device of the inventory.", metavar="NAME")],
    inventory: InventoryFile = None,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """See whether a device is ready: room, and which of its runtimes can be imported there."""
    first_line(f"looking at {device}")
    from harness import inventory as door
    from harness import run as story

    machine = door.device(device, door.locate(inventory))
    found = story.check(machine, results)
    found["tune"] = ", ".join(machine.profile.tune) or f'nothing: profile "{machine.profile.name}" has no `tune:`'
    if as_json:
        print_json(found)
    else:
        print_columns(list(found.items()))
    if any(value.startswith("missing") for value in found.values()):
        raise typer.Exit(1)

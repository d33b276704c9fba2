"""Lists of all that can be named: devices, methods, models, tasks, runtimes, sensors, profiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import typer

from harness.cli.guard import InventoryFile, Json, guarded, print_columns, print_json


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(guarded(devices))
    for kind in ("method", "model", "task", "runtime", "sensor", "profile"):
        app.command(kind + "s")(guarded(_listing(kind)))


def devices(inventory: InventoryFile = None, as_json: Json = False) -> None:
    """List the devices of the inventory."""
    from harness import inventory as door

    found = door.read(door.locate(inventory))
    if as_json:
        print_json([asdict(device) for device in found])
    else:
        print_columns([(each.name, f"{each.profile.name}: {', '.join(each.profile.runtimes)}") for each in found])


def _listing(kind: Any) -> Callable[[bool], None]:
    def command(as_json: Json = False) -> None:
        from harness import content

        rows = [(name, content.summary(kind, name)) for name in content.names(kind)]
        if as_json:
            print_json([{kind: name, "summary": summary} for name, summary in rows])
        else:
            print_columns(rows)

    command.__doc__ = f"List the {kind}s that can be named."
    return command

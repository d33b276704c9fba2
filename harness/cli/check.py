"""`harness check`: what devices are and can do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.guard import InventoryFile, Json, Results, first_line, guarded, print_json, without_escapes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.check import Examination, Point


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(guarded(check))


def check(
    device: Annotated[
        str, typer.Option(help="Devices of the inventory, or tag:NAME for all that have it.", metavar="NAME[,NAME]")
    ],
    install: Annotated[bool, typer.Option("--install", help="Send the packages that its runtimes lack.")] = False,
    sensors: Annotated[
        bool, typer.Option("--sensors", help="A step of load on every core: how each sensor of power answers to it.")
    ] = False,
    inventory: InventoryFile = None,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """See what a device is and can do, against its profile: system, room, clock, sensors, runtimes imported there."""
    first_line(f"looking at {device}")
    from harness import check as story
    from harness import inventory as door
    from harness.plan import split
    from harness.progress import narrate

    devices = door.select(split(device, "--device"), door.locate(inventory))
    seen = []
    for each in devices:
        with narrate() as tell:
            seen.append(story.examine(each, results, install=install, step=sensors, tell=tell))
        if not as_json:
            _show(seen[-1], first=len(seen) == 1)
    if as_json:
        shown = [each.to_json() for each in seen]
        print_json(shown if len(devices) > 1 else shown[0])
    if not all(each.ready for each in seen):
        raise typer.Exit(1)


def _show(seen: Examination, first: bool) -> None:
    """Print a device: its name, then a line for each point, those with something to do first."""
    profile = seen.device.profile
    virtual = ", virtual" if seen.device.virtual else ""
    print("" if first else "\n", f"{seen.device.name}: {profile.description} ({profile.name}{virtual})", sep="")
    points = seen.ordered()
    width = max(len(name) for name in ("power modes", *(point.what for point in points)))
    for point in points:
        for word, name, text in _lines(point):
            print(f"  {word:7}  {name:{width}}  {text}".rstrip())
    for name, text in _asides(seen):
        print(f"  {'':7}  {name:{width}}  {text}")
    stopping = ", ".join(point.what for point in points if point.stops)
    print(f"  {f'not ready: {stopping}' if stopping else 'ready'}", flush=True)


def _lines(point: Point) -> Iterator[tuple[str, str, str]]:
    yield point.severity, point.what, point.found
    if point.severity != "ok":
        if point.expected:
            yield "", "", f"expected: {point.expected}"
        if point.advice:
            yield "", "", without_escapes(point.advice)


def _asides(seen: Examination) -> Iterator[tuple[str, str]]:
    """What can be named on the command line, and what the device resolves."""
    profile = seen.device.profile
    nothing = f'nothing: profile "{profile.name}" has no'
    yield "tune", ", ".join(profile.tune) or f"{nothing} `tune:`"
    yield "power modes", ", ".join(profile.power_modes) or f"{nothing} `power_modes:`"
    yield "calibration", seen.calibration

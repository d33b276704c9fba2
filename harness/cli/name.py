"""Lists of all that can be named: devices, methods, models, tasks, runtimes, sensors, profiles."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.guard import (
    InventoryFile,
    Json,
    complain,
    console,
    first_line,
    guarded,
    print_columns,
    print_json,
    without_escapes,
)

if TYPE_CHECKING:
    from harness.records import Device
    from harness.usable import Usable


Schema = Annotated[bool, typer.Option("--schema", help="Print the file's JSON Schema, for editors.")]


Clean = Annotated[
    str | None,
    typer.Option(help="Remove there what no job under way needs and a day has not seen.", metavar="NAME[,tag:WORD]"),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(guarded(devices))
    app.command()(guarded(methods))
    app.command("models")(guarded(_listing("model")))
    app.command()(guarded(tasks))
    app.command()(guarded(runtimes))
    app.command()(guarded(sensors))
    app.command()(guarded(profiles))


def devices(
    inventory: InventoryFile = None, as_json: Json = False, schema: Schema = False, clean: Clean = None
) -> None:
    """List the devices of the inventory."""
    from harness import inventory as door

    if schema:
        print(door.schema("inventory"), end="")
        return
    if clean is not None:
        _clean(clean, door.locate(inventory), as_json)
        return
    found = door.read(door.locate(inventory))
    if as_json:
        print_json([asdict(device) for device in found])
    else:
        print_columns([(each.name, _line(each)) for each in found])


def _clean(word: str, file: Path, as_json: bool) -> None:
    """Remove on each device what no job needs; one that fails leaves the others alone, and the exit code is 1."""
    from harness import bundle, plan, transport
    from harness import inventory as door
    from harness.errors import HarnessError

    freed: dict[str, int] = {}
    chosen = door.select(plan.split(word, "--clean"), file)
    for device in chosen:
        first_line(f"cleaning {device.name}")
        try:
            with closing(transport.connect(device)) as line:
                freed[device.name] = line.clean(bundle.build(device.runtimes[-1]))
        except HarnessError as error:
            complain(error)
    if as_json:
        print_json({name: {"freed_bytes": size} for name, size in freed.items()})
    else:
        print_columns([(name, f"{size / 1e6:.1f} MB freed") for name, size in freed.items()])
    if len(freed) < len(chosen):
        raise typer.Exit(1)


def methods(as_json: Json = False) -> None:
    """List the methods that can be named: what each is, whether it trains and can be used here, its settings."""
    from harness import content

    found = {name: _method(name) for name in content.names("method")}
    if as_json:
        print_json([{"method": name, **each} for name, each in found.items()])
        return
    width = max(map(len, found))
    for name, each in found.items():
        unusable = f"cannot be used: {without_escapes(each['trouble'] or '')}"
        print(f"{name:{width}}  {each['summary'] if each['usable'] else unusable}")
        for key, setting in each["settings"].items():
            default = json.dumps(setting["default"])
            print(f"{'':{width}}    --recipe {key}={setting['takes']}  (default: {default})")


def _method(name: str) -> dict[str, Any]:
    """A method as JSON; a file that breaks its contract is told of, and hides none of the others."""
    from harness import content
    from harness.compress import recipes
    from harness.errors import ContentError

    try:
        known, trouble = recipes.settings(name), None
        trains, summary = content.constant("method", name, "TRAINS"), content.summary("method", name)
    except ContentError as error:
        known, trouble, trains, summary = (), error.message, None, ""
    settings = {each.name: {"default": each.default, "takes": each.takes} for each in known}
    return {"summary": summary, "trains": trains, "usable": not trouble, "trouble": trouble, "settings": settings}


def tasks(as_json: Json = False) -> None:
    """List the tasks that can be named, and which of them need files of yours."""
    from harness import content

    found = [
        {
            "task": name,
            "summary": content.summary("task", name),
            "data": content.constant("task", name, "DATA", "") or None,
        }
        for name in content.names("task")
    ]
    if as_json:
        print_json(found)
    else:
        print_columns([row for each in found for row in _needing(each)])


def _needing(task: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A task in one line, and in another what it needs."""
    needs = [("", f"needs --data DIR: {task['data']}")] if task["data"] else []
    return [(task["task"], task["summary"]), *needs]


def profiles(as_json: Json = False, schema: Schema = False) -> None:
    """List the profiles that can be named."""
    if schema:
        from harness import inventory as door

        print(door.schema("profile"), end="")
    else:
        _listing("profile")(as_json)


def sensors(as_json: Json = False) -> None:
    """List the sensors of power that can be named: what each is, where it is read, how long its windows are."""
    from harness import content, energy

    found = [
        {
            "sensor": name,
            "summary": content.summary("sensor", name),
            "where": energy.where(name),
            "least_window_s": energy.windows_s(name)[0],
            "usual_window_s": energy.windows_s(name)[1],
            "options": content.constant("sensor", name, "OPTIONS"),
        }
        for name in content.names("sensor")
    ]
    if as_json:
        print_json(found)
    else:
        print_columns([(str(each["sensor"]), _measuring(each)) for each in found])


def _measuring(sensor: Mapping[str, Any]) -> str:
    """A sensor in one line."""
    place = "on the device" if sensor["where"] == "device" else "by this machine"
    return f"{sensor['summary'].rstrip('.')} (read {place}; windows of {sensor['least_window_s']:g} s or more)"


def runtimes(inventory: InventoryFile = None, as_json: Json = False) -> None:
    """List the runtimes: what can be built and run here, on which devices, and how to get what is missing."""
    first_line("importing each runtime, in a process of its own")
    from harness import inventory as door
    from harness import usable

    found = usable.look(door.read(door.locate(inventory)))
    if as_json:
        print_json([{**asdict(each), "builds": each.builds} for each in found])
    else:
        _show(found)


def _show(found: Sequence[Usable]) -> None:
    """A row for each runtime; below the table, what those lack that are not whole here."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("runtime", "precisions", "builds here", "runs here", "devices"):
        table.add_column(heading, overflow="fold")
    for each in found:
        precisions, devices = " ".join(each.precisions), ", ".join(each.devices) or "-"
        table.add_row(each.runtime, precisions, "yes" if each.builds else "no", _running(each), devices)
    console().print(table)
    for each in found:
        if each.get or each.trouble:
            print(f"\n{each.runtime}: {without_escapes(_lacks(each))}", *each.get, sep="\n  ")


def _running(each: Usable) -> str:
    """The version of the runtime's own package, which its file names first."""
    return next(iter(each.versions.values()), "yes") if not each.trouble else "no"


def _lacks(each: Usable) -> str:
    absent = ", ".join(package for package, version in each.converters.items() if version is None)
    parts = [f"not installed: {absent}"] if absent else []
    return "; ".join([*parts, *([f"cannot run here: {each.trouble}"] if each.trouble else [])])


def _line(device: Device) -> str:
    """A device in one line: what it is, where, what runs there, by which tags it is meant."""
    address, where = device.address, ""
    if address:
        user = f"{address.user}@" if address.user else ""
        port = f" port {address.port}" if address.port else ""
        where = f" at {user}{address.host}{port}" + (f" through {address.jump}" if address.jump else "")
    tags = f" [{', '.join(device.tags)}]" if device.tags else ""
    return f"{device.profile.name}{where}: {', '.join(device.runtimes)}{tags}{' (virtual)' if device.virtual else ''}"


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

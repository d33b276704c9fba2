"""`inventory.yaml` -> Devices, and which of them are meant by words such as `pi4` and `tag:lab`."""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import content
from harness.errors import InventoryError, UsageError
from harness.inventory.profiles import profile
from harness.inventory.shape import DeviceFile, InventoryFile
from harness.inventory.tree import Tree, nearest, parse, validate
from harness.records import Address, Device, Profile

TAG = "tag:"
_OF_A_HOST = ("port", "user", "key", "jump", "known_hosts", "patience_s")


def locate(given: Path | None) -> Path:
    """Return the inventory's path. Raises InventoryError when the one given is not there."""
    if given is not None:
        if not given.is_file():
            raise InventoryError(
                f"{given}: no such inventory", "Give the path of a YAML file with a `devices:` mapping."
            )
        return given
    here = Path("inventory.yaml")
    return here if here.is_file() else content.ROOT / "inventory.yaml"


def read(path: Path) -> tuple[Device, ...]:
    """Return all devices of the inventory at `path`. Raises InventoryError; not for a key file that is not there."""
    return opened(path)[2]


def device(name: str, path: Path) -> Device:
    """Return the device called `name`. Raises UsageError naming the nearest known one, InventoryError."""
    tree, _, devices = opened(path)
    return _named(name, devices, tree)


def select(words: Sequence[str], path: Path) -> tuple[Device, ...]:
    """Return the devices that `words` name, each once, in their order; `tag:lab` names all that carry the tag `lab`.

    Raises UsageError for a name or tag that there is not, with the nearest; InventoryError.
    """
    tree, _, devices = opened(path)
    chosen: dict[str, Device] = {}
    for word in words:
        meant = _tagged(word, devices, path) if word.startswith(TAG) else (_named(word, devices, tree),)
        chosen |= {each.name: each for each in meant}
    for each in chosen.values():
        require_key(each, tree)
    return tuple(chosen.values())


def _named(name: str, devices: Sequence[Device], tree: Tree) -> Device:
    by_name = {each.name: each for each in devices}
    content.require_known("device", name, by_name, f"Devices are listed in {tree.path}.")
    require_key(by_name[name], tree)
    return by_name[name]


def _tagged(word: str, devices: Sequence[Device], path: Path) -> tuple[Device, ...]:
    tag = word.removeprefix(TAG)
    meant = tuple(each for each in devices if tag in each.tags)
    if not meant:
        tags = tuple(dict.fromkeys(known for each in devices for known in each.tags))
        raise UsageError(f'no device carries the tag "{tag}". {nearest(tag, tags)}', f"Tags stand in {path}.")
    return meant


def require_key(chosen: Device, tree: Tree) -> None:
    """Raise InventoryError for a key file that is not there.

    A key file must be there when its device is used, and only then: an inventory may be shared by several people.
    """
    key = chosen.address.key if chosen.address else None
    if key is not None and not Path(key).is_file():
        raise tree.broken(
            ("devices", chosen.name, "key"),
            f"must be a file that is there; it is {key!r}",
            f"Make one with: ssh-keygen -f {key!r}; or drop the line: your SSH configuration and agent have keys too.",
        )


def opened(path: Path) -> tuple[Tree, InventoryFile, tuple[Device, ...]]:
    """Return the inventory at `path` as it stands there, and its devices. Raises InventoryError."""
    tree = parse(path)
    file = validate(InventoryFile, tree)
    entries = file.devices
    kinds: dict[str, Profile] = {}
    for name, entry in entries.items():
        tree.require_listed("profile", entry.profile, content.names("profile"), ("devices", name, "profile"))
        if entry.profile not in kinds:
            kinds[entry.profile] = profile(entry.profile)
    return tree, file, tuple(_device(name, entry, kinds[entry.profile], tree) for name, entry in entries.items())


def _device(name: str, entry: DeviceFile, kind: Profile, tree: Tree) -> Device:
    where = ("devices", name)
    systems = tuple(system.name for system in kind.systems)
    if entry.system is not None:
        tree.require_listed(f"system of profile {kind.name}", entry.system, systems, (*where, "system"))
    for place, runtime in enumerate(entry.runtimes or ()):
        tree.require_listed("runtime", runtime, content.names("runtime"), (*where, "runtimes", place))
    known = tuple(dict.fromkeys((*kind.sensors, *content.names("sensor"))))
    for sensor, options in (entry.sensors or {}).items():
        tree.require_listed("sensor", sensor, known, (*where, "sensors", sensor))
        tree.require_options(sensor, options or (), (*where, "sensors", sensor))
    return Device(
        name=name,
        profile=kind,
        address=_address(name, entry, tree),
        workdir=entry.workdir,
        python=entry.python,
        system=entry.system,
        runtimes=kind.runtimes if entry.runtimes is None else tuple(entry.runtimes),
        sensors=_sensors(entry, kind),
        tags=tuple(entry.tags),
        virtual=entry.virtual,
    )


def _sensors(entry: DeviceFile, kind: Profile) -> Mapping[str, Mapping[str, object]]:
    """The inventory's choice; what it says of a sensor is laid over what the profile says of it."""
    if entry.sensors is None:
        return kind.sensors
    return {name: {**kind.sensors.get(name, {}), **(options or {})} for name, options in entry.sensors.items()}


def _address(name: str, entry: DeviceFile, tree: Tree) -> Address | None:
    where = ("devices", name)
    if entry.host is None:
        for key in _OF_A_HOST:
            if getattr(entry, key) is not None:
                raise tree.broken(
                    (*where, key), "goes with `host`; without it the device is this machine", "Add `host:`."
                )
        return None
    return Address(
        host=entry.host,
        port=entry.port,
        user=entry.user,
        key=_expanded(entry.key),
        jump=entry.jump,
        known_hosts=_expanded(entry.known_hosts),
        patience_s=Address.patience_s if entry.patience_s is None else entry.patience_s,
        declared=_declared(tree, (*where, "host")),
    )


def _declared(tree: Tree, where: tuple[str | int, ...]) -> str:
    """The file and line of a host; the file that ships is nobody's to edit where the program is installed."""
    place = f"{tree.path}:{tree.line(where)}"
    ships = content.PACKAGE.parent != content.ROOT and tree.path == content.ROOT / "inventory.yaml"
    return place + "; copy that file to ./inventory.yaml and edit it there" * ships


def _expanded(file: str | None) -> str | None:
    return None if file is None else os.path.expanduser(file)  # noqa: PTH111 (pathlib's fails where there is no home)

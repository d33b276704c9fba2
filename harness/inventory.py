"""`inventory.yaml` and the profiles it names -> Devices. The second door: every rule about user YAML is here.

An error names file, line, key, rule, value and the nearest known key. The inventory is, in this order, the file given
by `--inventory`, `./inventory.yaml`, or the one that ships (which holds `local`, the machine that harness runs on).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from harness import content
from harness.errors import InventoryError
from harness.records import Device, Profile
from harness.wire import Setting

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_Arch = Literal["x86_64", "aarch64", "any"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _DeviceFile(_Strict):
    profile: str
    workdir: str = Field("~/.edge-harness", min_length=1)
    tags: list[str] = []


class _InventoryFile(_Strict):
    devices: dict[str, _DeviceFile]


class _SettingFile(_Strict):
    """A file pattern, or three commands; `value` as `wire.Setting` has it."""

    value: str
    file: str = ""
    apply: list[str] = []
    query: list[str] = []
    restore: list[str] = []


class _ProfileFile(_Strict):
    description: str
    arch: _Arch
    runtimes: list[str] = Field(min_length=1)
    threads: int = Field(1, ge=1, le=1024)
    tune: dict[str, list[_SettingFile]] = {}
    cooldown_s: float = Field(0.0, ge=0, le=3600)


_Model = TypeVar("_Model", bound=BaseModel)


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
    """Return all devices of the inventory at `path`. Raises InventoryError."""
    tree = _parse(path)
    inventory = _validate(_InventoryFile, tree, path)
    for name in inventory.devices:
        _require_name(name, tree, path)
    return tuple(_device(name, entry, tree, path) for name, entry in inventory.devices.items())


def device(name: str, path: Path) -> Device:
    """Return the device called `name`. Raises UsageError naming the nearest known one, InventoryError."""
    devices = {device.name: device for device in read(path)}
    content.require_known("device", name, devices, f"Devices are listed in {path}.")
    return devices[name]


def profile(name: str) -> Profile:
    """Read `profiles/<name>.yaml`. Raises UsageError for an unknown name, InventoryError for a broken rule."""
    path = content.find("profile", name)
    tree = _parse(path)
    entry = _validate(_ProfileFile, tree, path)
    for runtime in entry.runtimes:
        _require_listed("runtime", runtime, tree, ("runtimes", entry.runtimes.index(runtime)), path)
    return Profile(
        name=name,
        description=entry.description,
        arch=entry.arch,
        runtimes=tuple(entry.runtimes),
        threads=entry.threads,
        tune={word: _settings(word, entry.tune[word], tree, path) for word in entry.tune},
        cooldown_s=entry.cooldown_s,
    )


def _settings(word: str, entries: Sequence[_SettingFile], tree: Any, path: Path) -> tuple[Setting, ...]:
    """The settings that `--tune <word>` brings about; the wire's own rules hold for each."""
    settings = []
    for place, entry in enumerate(entries):
        try:
            commands = (tuple(entry.apply), tuple(entry.query), tuple(entry.restore))
            settings.append(Setting(word, entry.value, entry.file, *commands))
        except ValueError as error:
            raise _broken(path, tree, ("tune", word, place), str(error), "") from None
    return tuple(settings)


def _device(name: str, entry: _DeviceFile, tree: Any, path: Path) -> Device:
    _require_listed("profile", entry.profile, tree, ("devices", name, "profile"), path)
    kind = profile(entry.profile)
    return Device(name, kind, None, entry.workdir, runtimes=kind.runtimes, tags=tuple(entry.tags))


def _require_listed(kind: content.Kind, name: str, tree: Any, where: tuple[str | int, ...], path: Path) -> None:
    known = content.names(kind)
    if name not in known:
        raise _broken(path, tree, where, f'no {kind} "{name}"', _nearest(name, known))


def _require_name(name: str, tree: Any, path: Path) -> None:
    if not re.fullmatch(_NAME, name):
        rule = "a device's name is letters, digits, dots, dashes and underscores, at most 64"
        raise _broken(path, tree, ("devices", name), f"{rule}; it is {name!r}", "")


def _parse(path: Path) -> Any:
    try:
        tree = YAML(typ="rt", pure=True).load(StringIO(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryError(f"{path}: cannot be read: {error}") from None
    except (YAMLError, ValueError, LookupError, RecursionError, AttributeError, TypeError) as error:
        # Beside its own errors the reader lets through what a scalar such as 2026-13-01 or a misplaced tag makes it trip over.
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = (getattr(error, "problem", None) or str(error)).split("\n")[0]
        raise InventoryError(f"{path}{line}: not valid YAML: {problem}", "Mend that line and try again.") from None
    if not isinstance(tree, Mapping):
        raise InventoryError(f"{path}:1: must be a mapping of keys to values", "Begin with a line such as `devices:`.")
    return tree


def _validate(model: type[_Model], tree: Any, path: Path) -> _Model:
    try:
        return model.model_validate(_plain(tree))
    except ValidationError as error:
        # An unknown key is most likely the missing one misspelt: say that first.
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        where = tuple(first["loc"])
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, where[:-1])
            raise _broken(path, tree, where, f'no key "{where[-1]}"', _nearest(str(where[-1]), known)) from None
        value = "" if first["type"] == "missing" else f"; it is {first['input']!r:.80}"
        raise _broken(path, tree, where, f"{first['msg'][0].lower()}{first['msg'][1:]}{value}", "") from None


def _known_keys(model: type[BaseModel], where: Sequence[str | int]) -> tuple[str, ...]:
    """Return the keys allowed at `where`: walk the model along the path, through mappings and lists of models."""
    annotation: Any = model
    for step in where:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            annotation = annotation.model_fields[str(step)].annotation
        else:
            annotation = annotation.__args__[-1]
    return tuple(annotation.model_fields)


def _plain(node: Any) -> Any:
    """Strip the reader's line-carrying types, so that strict validation sees dict, list and scalars."""
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(item) for item in node]
    for scalar in (bool, int, float, str):
        if isinstance(node, scalar):
            return scalar(node)
    return node


def _broken(path: Path, tree: Any, where: Sequence[str | int], rule: str, hint: str) -> InventoryError:
    key = ".".join(str(step) for step in where)
    return InventoryError(f"{path}:{_line(tree, where)}: {key}: {rule}", hint)


def _line(tree: Any, where: Sequence[str | int]) -> int:
    """Return the 1-based line of the deepest step of `where` that is really there."""
    line, node = 0, tree
    for step in where:
        position = getattr(getattr(node, "lc", None), "data", None) or {}
        if step not in position:
            break
        line = position[step][0]
        node = node[step]
    return int(line) + 1


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f'Did you mean "{near[0]}"? ' if near else ""
    return f"{guess}Known: {', '.join(known)}."

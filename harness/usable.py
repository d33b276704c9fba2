"""Which runtimes can be used, here and on the inventory's devices (`harness runtimes`; `python -m harness.usable`).

Each is imported in a process of its own: a library built for another processor ends it, and torch stays out of this one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from harness import child, content, extras
from harness.child import OnProgress
from harness.errors import HarnessError
from harness.records import Device


@dataclass(frozen=True)
class Usable:
    """A runtime, and what of it is here.

    `converters` make its artifacts here (package -> version, None: not installed). `versions` are those of what runs
    them, empty where that cannot be, and then `trouble` says why. `devices` of the inventory list it. `get` are the
    commands that bring what is missing here, or where it comes from; none where nothing is that a command would bring.
    """

    runtime: str
    summary: str
    precisions: tuple[str, ...]
    converters: dict[str, str | None]
    versions: dict[str, str]
    trouble: str
    devices: tuple[str, ...]
    get: tuple[str, ...]

    @property
    def builds(self) -> bool:
        """Whether its artifacts can be made here."""
        return None not in self.converters.values()


def look(devices: Sequence[Device]) -> list[Usable]:
    """Return every runtime that can be named. Raises ContentError for a file that breaks its contract."""
    names = content.names("runtime")
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool, child.Group() as group:
        found = list(pool.map(lambda name: _imported(name, group), names))
    return [_usable(name, answer, devices) for name, answer in zip(names, found, strict=True)]


def _usable(name: str, answer: dict[str, Any], devices: Sequence[Device]) -> Usable:
    converters = {package: extras.version(package) for package in content.constant("runtime", name, "CONVERTERS")}
    return Usable(
        runtime=name,
        summary=content.summary("runtime", name),
        precisions=tuple(content.constant("runtime", name, "PRECISIONS")),
        converters=converters,
        versions=answer["versions"],
        trouble=answer["trouble"],
        devices=tuple(device.name for device in devices if name in device.runtimes),
        get=_get(name, [package for package, version in converters.items() if version is None], answer),
    )


def _get(name: str, missing: Sequence[str], answer: dict[str, Any]) -> tuple[str, ...]:
    """Return what brings what is missing; nothing where all is installed: then what is in the way says so itself."""
    absent = [*missing, *(extras.absent(name) if answer["trouble"] else ())]
    named = content.constant("runtime", name, "PACKAGES", default=())
    unnamed = answer["trouble"] and not answer.get("installed") and not named
    return extras.commands(name, absent) if absent or unnamed else ()


def _imported(name: str, group: child.Group) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = group.call("harness.usable", name, lambda progress: None)
    except child.ChildDied as error:
        return {"versions": {}, "trouble": f"importing it kills the process: {error.message}"}
    return answer


# --- in the child --------------------------------------------------------------------------------------------------


def _serve(name: str, on_progress: OnProgress) -> dict[str, Any]:
    """Answer with the versions of what runs a network here, or with why nothing does."""
    runtime = content.load("runtime", name)
    try:
        return {"versions": runtime.versions(), "trouble": ""}
    except HarnessError:
        raise
    except Exception as error:  # ImportError; a library without its driver may raise anything
        installed = getattr(error, "installed", False)  # a runtime may say that no package would help
        return {"versions": {}, "trouble": f"{type(error).__name__}: {error}"[:500], "installed": installed}


if __name__ == "__main__":
    child.serve(_serve)

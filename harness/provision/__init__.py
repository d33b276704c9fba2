"""Packages for boards that reach no index: found and fetched here for the board's Python, locked, packed to be sent.

A runtime's file says what it needs (`PACKAGES`, `SYSTEM_PACKAGES`); the board's facts say what fits. What was found once
is locked in the cache: a second time asks nobody. docs/provisioning.md says it for users.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from harness import content
from harness.child import OnProgress, Progress
from harness.errors import ContentError
from harness.provision import kept
from harness.provision.finding import Attempt, find
from harness.provision.pip import Failed, Unreachable
from harness.provision.target import Target
from harness.records import Environment, Wheel, digest

_alone: dict[str, threading.Lock] = {}


def environment(runtime: str, facts: Mapping[str, Any], tell: OnProgress = lambda _: None) -> Environment | None:
    """Return the packages that `runtime` needs on a board of these facts, in the cache as archives to be sent.

    None where the runtime's file asks for none: the board's own Python is used. Raises ContentError for what the file
    says, DeviceError when the board cannot be served: not CPython 3.8 with glibc, no such wheels, no index in reach.
    """
    asked = _requirements(runtime)
    if not asked:
        return None
    target = Target.of(facts)
    requirements = tuple(one for one in asked if target.wants(one))
    if not requirements:
        return None
    attempt = Attempt(requirements, target, _preferred(requirements))
    with _alone.setdefault(attempt.key, threading.Lock()):  # boards of one kind wait for the first of them
        wheels = _again(attempt) or _anew(attempt, tell)
    system = bool(content.constant("runtime", runtime, "SYSTEM_PACKAGES", default=False))
    hashes = sorted(wheel.sha256 for wheel in wheels)
    key = digest({"wheels": hashes, "system_packages": system, "python": target.minor})[:16]
    return Environment(key, wheels, system)


def _again(attempt: Attempt) -> tuple[Wheel, ...] | None:
    """Return what is locked, fetching again by its hash what the cache has lost; None: nothing is, or it is gone."""
    locked = kept.lock(attempt.key)
    if locked is None:
        return None
    try:
        return tuple(kept.packed(one) or kept.fetch(one, attempt.target) for one in locked)
    except Unreachable:
        raise
    except Failed:  # the index no longer has that very file
        kept.forget(attempt.key)
        return None


def _anew(attempt: Attempt, tell: OnProgress) -> tuple[Wheel, ...]:
    names = ", ".join(one.name for one in attempt.requirements)
    tell(Progress(f"packages: looking for {names} for {attempt.target}"))
    with tempfile.TemporaryDirectory(prefix="edge-harness-") as folder:
        found = find(attempt, Path(folder))
        wheels = []
        for count, one in enumerate(found):
            tell(Progress(f"packages: packing {one.name} {one.version}", count, len(found)))
            wheels.append(kept.packed(one.locked) or kept.pack(one.locked, one.file))
        kept.keep(attempt.key, [one.locked for one in found])
    return tuple(wheels)


def _requirements(runtime: str) -> tuple[Requirement, ...]:
    """Return what the runtime's file asks for. Raises ContentError naming the file and what is wrong with it."""
    file = content.find("runtime", runtime)
    said = content.constant("runtime", runtime, "PACKAGES", default=())
    hint = "See CONTRIBUTING.md, runtime."
    if not isinstance(said, tuple):
        raise ContentError(f"{file}: PACKAGES must be a tuple of requirements, it is {said!r:.200}", hint)
    try:
        requirements = tuple(Requirement(one) for one in said)
    except (InvalidRequirement, TypeError) as error:
        raise ContentError(f"{file}: PACKAGES: {error}", hint) from None
    addresses = [str(one) for one in requirements if one.url]
    if addresses:
        raise ContentError(f"{file}: PACKAGES: {addresses[0]} is an address; a wheel is found by its name", hint)
    return requirements


def _preferred(requirements: Sequence[Requirement]) -> dict[str, str]:
    """The runtime's own version here, so that both sides compute with the same; nothing where it is not installed."""
    first = requirements[0]
    try:
        version = Version(importlib.metadata.version(first.name)).public
    except (importlib.metadata.PackageNotFoundError, InvalidVersion):
        return {}
    return {first.name: version} if first.specifier.contains(version, prereleases=True) else {}

"""How to get what a runtime needs here: the extra of this distribution, or what the runtime's file says."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness import content

_DISTRIBUTION = "edge-harness"


def extra(runtime: str) -> str | None:
    """Return the extra that brings a runtime's packages, `edge-harness[litert]`; None where there is none."""
    known = metadata.metadata(_DISTRIBUTION).get_all("Provides-Extra") or []
    named = next((each for each in known if canonicalize_name(each) == canonicalize_name(runtime)), None)
    return f"{_DISTRIBUTION}[{named}]" if named else None


def commands(name: str, missing: Sequence[str] = ()) -> tuple[str, ...]:
    """What brings a runtime: its extra with the torch that is here (or pip takes another one), what its file says, packages."""
    told = content.constant("runtime", name, "INSTALL", default="")
    brought = extra(name)
    if brought:
        torch = version("torch")
        pinned = f" torch=={torch.split('+')[0]}" if torch else ""
        return (f"pip install '{brought}'{pinned}", *([told] if told else []))
    if told:
        return (told,)
    packages = [Requirement(each).name for each in content.constant("runtime", name, "PACKAGES", default=())]
    wanted = sorted({*missing, *packages})
    return (f"pip install {' '.join(wanted)}",) if wanted else ()


def absent(name: str) -> tuple[str, ...]:
    """Return those packages by which a runtime runs that are not installed here, of the ones that this Python needs."""
    wanted = [Requirement(each) for each in content.constant("runtime", name, "PACKAGES", default=())]
    needed = [each.name for each in wanted if each.marker is None or each.marker.evaluate()]
    return tuple(package for package in needed if version(package) is None)


def version(package: str) -> str | None:
    """Return the version of an installed package, None of another."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

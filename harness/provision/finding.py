"""From what a runtime asks for to the wheels of all that it needs on a board, markers judged for that board."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.errors import MessageError
from pathlib import Path

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from harness.errors import DeviceError
from harness.provision import pip
from harness.provision.kept import Locked, sha256_of
from harness.provision.target import Target
from harness.records import digest

_ROUNDS = 20
_MOST_METADATA_BYTES = 4 * 2**20
_Wanted = dict[str, list[tuple[Requirement, str]]]  # by canonical name: what is required, and by whom


@dataclass(frozen=True)
class Attempt:
    """What is asked for, for which board, and which versions are preferred where they exist (by name)."""

    requirements: tuple[Requirement, ...]
    target: Target
    preferred: Mapping[str, str]

    @property
    def key(self) -> str:
        """What the answer depends on, but for what an index has at that time."""
        asked = sorted(map(str, self.requirements))
        fits = [self.target.platforms(), self.target.machine, self.target.python]
        return digest({"v": 1, "requirements": asked, "target": fits, "preferred": dict(self.preferred)})


@dataclass(frozen=True)
class Found:
    """A wheel that was fetched, and what it requires."""

    name: str
    version: str
    file: Path
    requires: tuple[Requirement, ...]

    @property
    def locked(self) -> Locked:
        """What is written down of it."""
        return Locked(self.name, self.version, self.file.name, sha256_of(self.file))


def find(attempt: Attempt, folder: Path) -> tuple[Found, ...]:
    """Fetch the wheels into `folder`, sorted by name: preferred versions, or else the newest.

    Raises DeviceError naming the package that has no wheel for the board, or whose requirers contradict each other.
    """
    wishes = [Requirement(f"{name}=={version}") for name, version in attempt.preferred.items()]
    if wishes:
        try:
            return _close((*attempt.requirements, *wishes), attempt.target, folder / "preferred")
        except pip.NoWheel:
            pass
    try:
        return _close(attempt.requirements, attempt.target, folder / "newest")
    except pip.NoWheel as error:
        raise _explained(error, attempt.target) from None


class _NoWheel(pip.NoWheel):
    """As pip's, with who required what."""

    def __init__(self, name: str, required: Sequence[tuple[Requirement, str]]) -> None:
        super().__init__(name)
        self.required = required


def _close(roots: Sequence[Requirement], target: Target, folder: Path) -> tuple[Found, ...]:
    """Fetch what is wanted until nothing is missing; a version that a later requirer excludes is looked for anew."""
    taken: dict[str, Found] = {}
    for count in range(_ROUNDS):
        wanted = _wanted(roots, taken, target)
        missing = [name for name in wanted if name not in taken or not _allows(wanted[name], taken[name])]
        if not missing:
            return tuple(taken[name] for name in sorted(wanted))
        taken.update(_fetch({name: wanted[name] for name in missing}, target, folder / str(count)))
    names = ", ".join(sorted(missing))
    raise DeviceError(f"after {_ROUNDS} rounds there is still no set of versions that fit together: {names}")


def _wanted(roots: Sequence[Requirement], taken: Mapping[str, Found], target: Target) -> _Wanted:
    """Walk from the roots through what is taken: what is wanted, and what nobody wants any more is left out."""
    wanted: _Wanted = {}
    seen: set[tuple[str, str]] = set()
    todo = [(root, "the runtime") for root in roots]
    while todo:
        requirement, by = todo.pop(0)
        name = canonicalize_name(requirement.name)
        wanted.setdefault(name, []).append((requirement, by))
        if name not in taken:
            continue
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                who = f"{name} {taken[name].version}"
                todo += [(one, who) for one in taken[name].requires if target.wants(one, extra)]
    return wanted


def _specifier(required: Sequence[tuple[Requirement, str]]) -> SpecifierSet:
    combined = SpecifierSet()
    for requirement, _ in required:
        combined &= requirement.specifier
    return combined


def _allows(required: Sequence[tuple[Requirement, str]], found: Found) -> bool:
    return _specifier(required).contains(found.version, prereleases=True)


def _fetch(wanted: _Wanted, target: Target, folder: Path) -> dict[str, Found]:
    try:
        files = pip.download([f"{name}{_specifier(wanted[name])}" for name in wanted], target, folder)
    except pip.NoWheel as error:
        name = canonicalize_name(error.name)
        raise _NoWheel(name, wanted.get(name, ())) from None
    found = {one.name: one for one in (_describe(file, target) for file in files)}
    absent = sorted(set(wanted) - set(found))
    if absent:
        raise _NoWheel(absent[0], wanted[absent[0]])
    return found


def _describe(file: Path, target: Target) -> Found:
    """Read a wheel's name and what it requires. Raises DeviceError for what is no wheel, or none for this board."""
    try:
        name, version, _, tags = parse_wheel_filename(file.name)
        if tags.isdisjoint(target.tags()):
            raise DeviceError(f"pip gave {file.name} for {target}", "Is pip told another platform (pip config list)?")
        return Found(name, str(version), file, tuple(_requires(file)))
    except (InvalidWheelFilename, InvalidRequirement, MessageError, zipfile.BadZipFile, UnicodeError) as error:
        raise DeviceError(f"{file.name}: not a wheel that can be read: {error}") from None


def _requires(file: Path) -> Iterator[Requirement]:
    with zipfile.ZipFile(file) as archive:
        places = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1]
        if len(places) != 1 or archive.getinfo(places[0]).file_size > _MOST_METADATA_BYTES:
            raise zipfile.BadZipFile("there is no one METADATA of a plausible size in it")
        raw, _ = parse_email(archive.read(places[0]))
    for text in raw.get("requires_dist", ()):
        requirement = Requirement(text)
        if requirement.url:
            raise InvalidRequirement(f"it requires an address: {text}")
        yield requirement


def _explained(error: pip.NoWheel, target: Target) -> DeviceError:
    """Say for what there is no wheel, who wants which, what there is elsewhere, and what to do."""
    required = error.required if isinstance(error, _NoWheel) else ()
    wants = [f"{one.specifier} ({by})" for one, by in required if one.specifier]
    message = f"no wheel of {error.name} {' and '.join(wants)}".rstrip() + f" for {target}"
    newest = pip.newest_here(error.name)
    if newest:
        message += f"; the newest for this machine is {newest}"
    if target.is_32_bit_on_64:
        hint = f"The board runs 32-bit programs on a 64-bit kernel ({target.machine}): install its 64-bit system."
        return DeviceError(f"{message}; its userland is 32-bit", hint)
    hint = "Use another runtime or a newer system there, or name a folder that has one: PIP_FIND_LINKS=DIR"
    return DeviceError(message, f"{hint} (docs/provisioning.md).")

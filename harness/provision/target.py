"""What a wheel must fit: the board's architecture, Python and C library, told by its agent's facts and checked here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags

from harness.errors import DeviceError

_OLDEST = (3, 8)  # of what travels
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}  # PEP 599, 571, 513: by glibc 2.x
_X86 = {"x86_64", "i686"}
_WITHOUT_MANYLINUX = {"armv6l"}
_UNDER_64_BIT = {"aarch64": ("armv8l", "armv7l"), "x86_64": ("i686",)}  # a 32-bit userland's, by its kernel's
_RULES = {
    "python": r"[0-9]{1,2}\.[0-9]{1,3}\.[0-9]{1,3}.{0,20}",
    "libc": r"glibc-2\.[0-9]{1,3}.{0,20}",
    "platform": r"linux-[a-z0-9_]{1,20}",
    "machine": r"[A-Za-z0-9_]{1,20}",
    "implementation": "cpython",
    "kernel": r".{0,200}",
}


@dataclass(frozen=True)
class Target:
    """A board, as far as wheels go. `archs`: of the userland, the likeliest last; `machine` is the kernel's word for it.

    `python` is x.y.z, `glibc` the y of 2.y.
    """

    archs: tuple[str, ...]
    machine: str
    python: str
    glibc: int
    kernel: str

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Target:
        """Read an agent's facts. Raises DeviceError for a board that no wheel of ours can serve."""
        said = {key: _checked(facts, key, rule) for key, rule in _RULES.items()}
        arch = said["platform"].removeprefix("linux-")
        archs = _UNDER_64_BIT.get(arch, (arch,)) if facts.get("bits") == 32 else (arch,)
        version = re.match(r"[0-9]+\.[0-9]+\.[0-9]+", said["python"])
        glibc = re.match(r"glibc-2\.([0-9]+)", said["libc"])
        assert version is not None and glibc is not None
        target = cls(archs, said["machine"], version[0], int(glibc[1]), said["kernel"])
        if target.version < _OLDEST:
            raise DeviceError(
                f"the board's Python is {target.python}, 3.8 is the oldest that works", "Install a newer one there."
            )
        return target

    @property
    def version(self) -> tuple[int, int]:
        """The x and y of Python x.y."""
        major, minor, _ = self.python.split(".")
        return int(major), int(minor)

    @property
    def minor(self) -> str:
        """Python's x.y."""
        return ".".join(map(str, self.version))

    @property
    def abi(self) -> str:
        """The tag of CPython's own interface: cp311."""
        return "cp" + "".join(map(str, self.version))

    @property
    def is_32_bit_on_64(self) -> bool:
        """Whether 32-bit programs run on a 64-bit kernel: `uname` then promises wheels that do not fit."""
        return self.machine in _UNDER_64_BIT and self.archs == _UNDER_64_BIT[self.machine]

    def __str__(self) -> str:
        return f"Python {self.python}, {self.archs[-1]}, glibc 2.{self.glibc}"

    def platforms(self) -> tuple[str, ...]:
        """Return every platform tag that fits, best first, each by itself: pip takes none of them to mean the lower ones."""
        every = [f"linux_{arch}" for arch in self.archs]
        return (
            *every,
            *(tag for arch in self.archs if arch not in _WITHOUT_MANYLINUX for tag in self._manylinux(arch)),
        )

    def _manylinux(self, arch: str) -> Iterator[str]:
        oldest = 5 if arch in _X86 else 17
        for glibc in range(self.glibc, oldest - 1, -1):
            yield f"manylinux_2_{glibc}_{arch}"
            if glibc in _LEGACY:
                yield f"{_LEGACY[glibc]}_{arch}"

    def tags(self) -> frozenset[Tag]:
        """Return the tags of all wheels that can be imported there."""
        every = self.platforms()
        own = cpython_tags(self.version, [self.abi], every)
        return frozenset((*own, *compatible_tags(self.version, self.abi, every)))

    def wants(self, requirement: Requirement, extra: str = "") -> bool:
        """Whether a requirement's marker holds there: pip would ask this machine's Python instead.

        Raises DeviceError for a marker that compares what cannot be compared, or names what installers do not tell.
        """
        if requirement.marker is None:
            return True
        environment = {
            "implementation_name": "cpython",
            "implementation_version": self.python,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": self.kernel,
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.python,
            "python_version": self.minor,
            "sys_platform": "linux",
        }
        try:
            return requirement.marker.evaluate({**environment, "extra": extra})
        except (UndefinedComparison, UndefinedEnvironmentName):
            raise DeviceError(
                f'nobody can say whether {requirement.name} is wanted there: its marker "{requirement.marker}" means nothing',
                "Ask for another version of the package that requires it, in a copy of the runtime's file.",
            ) from None


def _checked(facts: Mapping[str, Any], key: str, rule: str) -> str:
    value = facts.get(key)
    if not isinstance(value, str) or not re.fullmatch(rule, value):
        raise DeviceError(
            f"no packages for a board whose {key} is {value!r:.100}: CPython 3.8 or newer on Linux with glibc is served",
            "Let its own Python import the runtime, and take PACKAGES out of a copy of the runtime's file.",
        )
    return value

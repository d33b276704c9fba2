"""Options of runtimes from `--option key=value`: each goes to the runtimes that have it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from harness import content, wire
from harness.errors import UsageError


def read(given: Iterable[str], runtimes: Iterable[str]) -> dict[str, str]:
    """Parse `key=value` words; each goes to the runtimes that have it by their OPTIONS, and is an error if none does."""
    offered = {runtime: content.constant("runtime", runtime, "OPTIONS") for runtime in runtimes}
    options: dict[str, str] = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f'--option "{word}": must be key=value', "For example --option optimization=extended.")
        if key in options:
            raise UsageError(f"--option {word}: {key} was given before, as {options[key]}", "Give each option once.")
        options[key] = _cpus(value) if key == wire.CPUS else _offered(key, value, offered)
    return options


def _offered(key: str, value: str, offered: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    takers = {runtime: known[key] for runtime, known in offered.items() if key in known}
    if not takers:
        every = sorted({wire.CPUS, *(name for known in offered.values() for name in known)})
        content.require_known(f"option of runtime {', '.join(offered)}", key, every)
    for runtime, allowed in takers.items():
        if allowed:
            content.require_known(f"value of {runtime}'s option {key}", value, allowed)
    return value


def _cpus(word: str) -> str:
    """Return CPU numbers as the device will say them: `0-2,5` is `0,1,2,5`."""
    parts = [re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part) for part in word.split(",")]
    ranges = [range(int(found[1]), int(found[2] or found[1]) + 1) for found in parts if found]
    numbers = sorted({number for each in ranges for number in each})
    if None in parts or not all(ranges):
        raise UsageError(f'--option cpus={word}: must be CPU numbers, for example "2,3" or "0-3"')
    return ",".join(map(str, numbers))

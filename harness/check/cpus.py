"""Processors by the names that compilers use: how they call themselves, and what code made for them needs."""

from __future__ import annotations

from collections.abc import Sequence

from harness.check.points import listed

# The implementer and part that each core gives in /proc/cpuinfo (Arm's own, 0x41).
_PARTS = {
    "0x41 0xd03": "cortex-a53",
    "0x41 0xd04": "cortex-a35",
    "0x41 0xd05": "cortex-a55",
    "0x41 0xd07": "cortex-a57",
    "0x41 0xd08": "cortex-a72",
    "0x41 0xd09": "cortex-a73",
    "0x41 0xd0a": "cortex-a75",
    "0x41 0xd0b": "cortex-a76",
    "0x41 0xd0c": "neoverse-n1",
    "0x41 0xd0d": "cortex-a77",
    "0x41 0xd40": "neoverse-v1",
    "0x41 0xd41": "cortex-a78",
    "0x41 0xd42": "cortex-a78ae",
    "0x41 0xd44": "cortex-x1",
    "0x41 0xd49": "neoverse-n2",
    "0x41 0xd4b": "cortex-a78c",
    "0x41 0xd4f": "neoverse-v2",
}
_ARMV8 = "fp asimd crc32"
_ARMV8_2 = f"{_ARMV8} atomics fphp asimdhp asimdrdm asimddp"
_V2 = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
_V3 = f"{_V2} avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
# The words of /proc/cpuinfo for what compilers take for granted.
_NEEDED = {
    **dict.fromkeys(("cortex-a53", "cortex-a57", "cortex-a72", "cortex-a73"), _ARMV8),
    **dict.fromkeys(("cortex-a55", "cortex-a75", "cortex-a76", "cortex-a77", "cortex-a78", "cortex-a78ae"), _ARMV8_2),
    **dict.fromkeys(("cortex-a78c", "cortex-x1", "neoverse-n1", "neoverse-v1", "neoverse-n2", "neoverse-v2"), _ARMV8_2),
    "x86-64-v2": _V2,
    "x86-64-v3": _V3,
    "x86-64-v4": f"{_V3} avx512f avx512bw avx512cd avx512dq avx512vl",
}


def named(parts: Sequence[str]) -> str | None:
    """Return the names of a board's cores by their parts, a part that is not known as it is; None for no parts."""
    return listed([_PARTS.get(part, f"part {part}") for part in parts], " and ") or None


def is_part(name: str) -> bool:
    """Whether cores of this name can be known by their parts."""
    return name in _PARTS.values()


def lacking(name: str, features: str) -> tuple[str, ...]:
    """Return what code made for this processor needs and these features, as /proc/cpuinfo lists them, lack."""
    there = set(features.split())
    return tuple(word for word in _NEEDED.get(name, "").split() if word not in there)

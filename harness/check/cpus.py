"""Processors by the names that compilers use: what code made for them needs."""

from __future__ import annotations

from harness import wire

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


def is_part(name: str) -> bool:
    """Whether cores of this name can be known by their parts."""
    return name in wire.CORES.values()


def lacking(name: str, features: str) -> tuple[str, ...]:
    """Return what code made for this processor needs and these features, as /proc/cpuinfo lists them, lack."""
    there = set(features.split())
    return tuple(word for word in _NEEDED.get(name, "").split() if word not in there)

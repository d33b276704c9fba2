"""Arm's processor cores by the names that compilers use: both sides say the same of a board."""

from typing import List, Sequence

# The implementer and part that each core gives in /proc/cpuinfo (Arm's own, 0x41).
CORES = {
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


def core_names(parts: Sequence[str]) -> List[str]:
    """Return the names of a board's cores by their parts, a part that is not known as it is."""
    return [CORES.get(part, "part " + part) for part in parts]

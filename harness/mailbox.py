"""The Raspberry Pi firmware's mailbox, as `vcgencmd` uses it (raspberrypi/utils, vcgencmd.c), without starting a program."""

import fcntl
import os
import re
import struct
from pathlib import Path
from typing import Dict

from harness.sensing import AbsentError, UnavailableError

_IOCTL = 0xC0006400 | struct.calcsize("P") << 16  # _IOWR(100, 0, char *)
_GENCMD, _VALUE_BYTES = 0x00030080, 1024
_WORDS = struct.Struct("=6I%dsI" % _VALUE_BYTES)
_ADC = re.compile(r"(\S+)_(A current|V volt)\(\d+\)=(-?\d+(?:\.\d+)?)([AV])")


def throttled(device: Path) -> int:
    """Return the bits of `get_throttled`: 0-3 now, 16-19 since boot. Raises OSError, UnavailableError."""
    said = ask(device, "get_throttled")
    found = re.search(r"throttled=0x([0-9a-fA-F]+)", said)
    if not found:
        raise UnavailableError("the firmware answered %r to get_throttled" % said[:80])
    return int(found.group(1), 16)


def pmic_read_adc(device: Path) -> Dict[str, Dict[str, float]]:
    """Return what the power chip's converter measures: by rail its current "A" in A and its voltage "V" in V, as far as told.

    The numbers in brackets do not pair current and voltage of a rail; its name does. Raises AbsentError (a firmware
    without the command, which says so in its answer alone), UnavailableError (an answer that is no such list, or in
    other units), OSError.
    """
    said = ask(device, "pmic_read_adc")
    if "not registered" in said:
        raise AbsentError("this board's firmware has no pmic_read_adc: only that of a Raspberry Pi 5 has")
    rails: Dict[str, Dict[str, float]] = {}
    for line in filter(None, map(str.strip, said.splitlines())):
        found = _ADC.fullmatch(line)
        if not found or found.group(2)[0] != found.group(4):
            raise UnavailableError(
                "the firmware answered %r to pmic_read_adc: no current in A, no voltage in V" % line[:80]
            )
        rail, unit = rails.setdefault(found.group(1), {}), found.group(4)
        if unit in rail:
            raise UnavailableError("the firmware told %s_%s twice" % (found.group(1), unit))
        rail[unit] = float(found.group(3))
    return rails


def ask(device: Path, command: str) -> str:
    """Return the firmware's answer to a command. Raises OSError."""
    buffer = bytearray(_WORDS.pack(_WORDS.size, 0, _GENCMD, _VALUE_BYTES, 0, 0, command.encode(), 0))
    fd = os.open(str(device), os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _IOCTL, buffer, True)
    finally:
        os.close(fd)
    value: bytes = _WORDS.unpack(bytes(buffer))[6]
    return value.split(b"\0")[0].decode("ascii", "replace")

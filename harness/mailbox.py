"""The Raspberry Pi firmware's mailbox, as `vcgencmd` uses it (raspberrypi/utils, vcgencmd.c), without starting a program."""

import fcntl
import os
import re
import struct
from pathlib import Path

from harness.sensing import UnavailableError

_IOCTL = 0xC0006400 | struct.calcsize("P") << 16  # _IOWR(100, 0, char *)
_GENCMD, _VALUE_BYTES = 0x00030080, 1024
_WORDS = struct.Struct("=6I%dsI" % _VALUE_BYTES)


def throttled(device: Path) -> int:
    """Return the bits of `get_throttled`: 0-3 now, 16-19 since boot. Raises OSError, UnavailableError."""
    said = ask(device, "get_throttled")
    found = re.search(r"throttled=0x([0-9a-fA-F]+)", said)
    if not found:
        raise UnavailableError("the firmware answered %r to get_throttled" % said[:80])
    return int(found.group(1), 16)


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

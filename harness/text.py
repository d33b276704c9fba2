"""Words of a device, made fit for a terminal and for a line of ours; they may be anything."""

from __future__ import annotations

_LONGEST = 300


def printable(value: str) -> str:
    """Return a device's words fit for a terminal: one line, no control characters, not too long."""
    line = " ".join(value.split())
    return "".join(letter if letter.isprintable() else "?" for letter in line)[:_LONGEST]

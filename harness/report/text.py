"""How numbers and words are written in tables: digits, intervals, glyphs, colours, nothing that steers a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD, Box
from rich.console import Console

ASCII_HEAD = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
COLOURS = {"faster": "green", "slower": "red", "same": "cyan", "unclear": "yellow", "less": "green", "more": "red"}


@dataclass(frozen=True)
class Glyphs:
    """The few characters that a pipe gets in ASCII."""

    null: str
    micro: str
    plus_minus: str


UNICODE = Glyphs("–", "µs", "±")
ASCII = Glyphs("-", "us", "+-")


def boxed(console: Console) -> tuple[Glyphs, Box]:
    """The glyphs and lines that a console can show: ASCII where nobody looks, or where it has no more."""
    plain = not console.is_terminal or not console.encoding.startswith("utf")
    return (ASCII, ASCII_HEAD) if plain else (UNICODE, SIMPLE_HEAD)


def unfilled(console: Console, draw: Callable[[], None]) -> None:
    """Draw on the console; where that is no terminal, without the spaces that rich fills lines up with."""
    if console.is_terminal:
        draw()
        return
    with console.capture() as printed:
        draw()
    console.out("\n".join(line.rstrip() for line in printed.get().splitlines()), highlight=False)


def with_interval(
    value: float,
    low: float | None,
    high: float | None,
    scale: float = 1.0,
    digits: Callable[[float], str] | None = None,
) -> str:
    """A value with its interval, where it has one: 5.06 [4.98, 5.15]. `scale` divides the limits alone."""
    written = digits or _three_digits
    if low is None or high is None:
        return written(value)
    return f"{written(value)} [{written(low / scale)}, {written(high / scale)}]"


def _three_digits(value: float) -> str:
    return digits(value)


def thousandths(ratio: float) -> str:
    """A ratio to a thousandth, or to three digits from 10 on: all around 1 are read at the same precision."""
    return f"{ratio:.3f}" if ratio < 9.9995 else digits(ratio)


def digits(value: float, count: int = 3) -> str:
    """`value` with three (or `count`) significant digits, never in scientific notation: 0.0871, 2.40, 44.8, 1250."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = count - 1 - math.floor(math.log10(abs(float(f"{value:.{count - 1}e}"))))
    return f"{value:.{max(decimals, 0)}f}"


def printable(text: str) -> str:
    """Text without what would steer a terminal: a failure's detail is whatever a device said."""
    return "".join(char if char.isprintable() else " " for char in text)

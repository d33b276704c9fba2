"""Shared by sensors that run a program: one line of it as a number in J or W, or why it is none."""

import json
import math
import re
from typing import Any, Dict, Tuple

UNITS: Dict[str, Tuple[str, float]] = {  # what a program may say, in which unit of ours it is, and times what
    "W": ("W", 1.0),
    "mW": ("W", 1e-3),
    "uW": ("W", 1e-6),
    "J": ("J", 1.0),
    "mJ": ("J", 1e-3),
    "uJ": ("J", 1e-6),
    "Wh": ("J", 3600.0),
    "mWh": ("J", 3.6),
    "kWh": ("J", 3.6e6),
}
MOST_BYTES = 4096  # of a line
_LINE = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)[ \t]*([^\W\d_]*)")
_SHOWN = 60


def value(line: bytes, unit: str, key: str = "") -> float:
    """Return a line's number in J or W: a number with `unit` or none, or, with `key`, JSON that has it at this path.

    Raises ValueError for anything else: another unit, text, no finite number, a negative one, a line that is too long.
    """
    if len(line) > MOST_BYTES:
        raise ValueError("a line is longer than %d bytes: it must hold one number" % MOST_BYTES)
    text = line.decode("utf-8", "replace").strip()
    number = _found(text, key) if key else _plain(text, unit)
    scaled = number * UNITS[unit][1]
    if not math.isfinite(scaled):
        raise ValueError("%s is no finite number" % shown(text))
    if scaled < 0:
        raise ValueError("%s is negative: no board gives power back; turn the meter round, or its sign" % shown(text))
    return scaled + 0.0  # -0.0 becomes 0.0


def shown(text: str) -> str:
    """Return a program's words fit for a reason: short, printable."""
    short = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return '"%s"' % "".join(letter if letter.isprintable() else "?" for letter in short)


def _plain(text: str, unit: str) -> float:
    if not text:
        raise ValueError("an empty line: no number")
    found = _LINE.fullmatch(text)
    if not found:
        raise ValueError('%s is no number with a unit, such as "12.3 %s"' % (shown(text), unit))
    told = found.group(2).replace("µ", "u").replace("μ", "u")  # two letters that look the same
    if told and told != unit:
        raise ValueError("the program says %s where the option unit says %s: one of them is wrong" % (told, unit))
    return float(found.group(1))


def _found(text: str, key: str) -> float:
    try:
        here: Any = json.loads(text, parse_int=float, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError("%s is not JSON (%s)" % (shown(text), str(error)[:_SHOWN])) from None
    for word in key.split("."):
        here = _within(here, word, key)
    if not isinstance(here, float):
        raise ValueError("%s in the program's JSON is %s, not a number" % (key, shown(json.dumps(here))))
    return here


def _within(here: Any, word: str, key: str) -> Any:
    if isinstance(here, dict) and word in here:
        return here[word]
    if isinstance(here, list) and word.isdecimal() and len(word) < 5 and int(word) < len(here):
        return here[int(word)]
    raise ValueError("the program's JSON has no %s: the option key names a path such as output.power" % key)


def _refuse(word: str) -> Any:
    raise ValueError("%s is no number" % word)

"""Shared by sensors: their options are checked here. Every error names the option, the rule and the value."""

import difflib
from typing import Any, Iterable, Mapping, Optional, Tuple

from harness.decode import require

_MOST = 10_000  # characters of a text, words of a list: more is no option


def known(options: Mapping[str, Any], allowed: Iterable[str]) -> None:
    """Check that every option is one that the sensor has (the keys of its OPTIONS). Raises ValueError with the nearest."""
    names = sorted(allowed)
    for name in options:
        near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
        guess = '; did you mean "%s"?' % near[0] if near else ""
        require(name in names, "an option must be one of " + (", ".join(names) or "none") + guess, name)


def text(options: Mapping[str, Any], name: str, default: Optional[str] = None) -> str:
    """Return an option that is text, not empty and of one line. Raises ValueError; also where it is missing without default."""
    value = _value(options, name, default)
    plain = isinstance(value, str) and 0 < len(value) <= _MOST and value.isprintable()
    require(plain, "option %s must be text of one line" % name, value)
    return str(value)


def choice(options: Mapping[str, Any], name: str, allowed: Iterable[str], default: Optional[str] = None) -> str:
    """Return an option that is one of some words. Raises ValueError."""
    value = _value(options, name, default)
    words = tuple(allowed)
    require(isinstance(value, str) and value in words, "option %s must be one of %s" % (name, ", ".join(words)), value)
    return str(value)


def number(options: Mapping[str, Any], name: str, default: Optional[float], least: float, most: float) -> float:
    """Return an option that is a number from `least` to `most`, both in its unit. Raises ValueError."""
    value = _value(options, name, default)
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    require(plain and least <= value <= most, "option %s must be a number from %g to %g" % (name, least, most), value)
    return float(value)


def whole(options: Mapping[str, Any], name: str, default: Optional[int], least: int, most: int) -> int:
    """Return an option that is a whole number from `least` to `most`. Raises ValueError."""
    value = _value(options, name, default)
    plain = isinstance(value, int) and not isinstance(value, bool)
    require(
        plain and least <= value <= most, "option %s must be a whole number from %d to %d" % (name, least, most), value
    )
    return int(value)


def flag(options: Mapping[str, Any], name: str, default: bool) -> bool:
    """Return an option that is true or false. Raises ValueError."""
    value = _value(options, name, default)
    require(isinstance(value, bool), "option %s must be true or false" % name, value)
    return bool(value)


def names(options: Mapping[str, Any], name: str, default: Optional[Tuple[str, ...]] = None) -> Tuple[str, ...]:
    """Return an option that is a list of different texts, one at least (`()` as default: none is fine). Raises ValueError."""
    value = _value(options, name, default)
    listed = isinstance(value, (list, tuple)) and len(value) <= _MOST and all(isinstance(each, str) for each in value)
    require(listed and all(value), "option %s must be a list of texts" % name, value)
    require(len(set(value)) == len(value), "option %s must name nothing twice" % name, value)
    require(bool(value) or default == (), "option %s must name something" % name, value)
    return tuple(value)


def _value(options: Mapping[str, Any], name: str, default: Any) -> Any:
    """The option, or its default; None as default: it must be there."""
    value = options.get(name)
    value = default if value is None else value
    require(value is not None, "option %s must be given" % name, None)
    return value

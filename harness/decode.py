"""From JSON text to a frozen dataclass, checking everything on the way; knows no format of its own.

What both sides of the wire read is untrusted, so keys, types, ranges and sizes are checked all the way down, by the
dataclass's own type hints. Standard library only and Python 3.8: this file travels to devices.

    int                     0 <= n < 2**63: nothing that travels is negative, and every table column can hold it
    float                   finite
    Tuple[T, ...], Dict[str, T], Optional[T], Any, other dataclasses; a key with a default may be missing
"""

import dataclasses
import json
import math
import re
import typing
from typing import Any, Dict, List, Tuple, Type, TypeVar

from harness.errors import WireError

MAX_INT = 2**63 - 1
_SURROGATE = re.compile(r"[\ud800-\udfff]|\\u[dD][89a-fA-F]")

T = TypeVar("T")


def parse(text: str, most: int, where: str) -> Any:
    """Parse at most `most` characters of JSON; `where` names the source in errors.

    Refuses duplicate keys, NaN and infinities, wherever they stand. Half a character, as Python reads what is no UTF-8,
    becomes a question mark: no file of ours could hold it. Raises WireError.
    """
    if len(text) > most:
        raise WireError("%s: %d characters, at most %d are accepted" % (where, len(text), most))
    try:
        value = _loads(text)
        if _SURROGATE.search(text):
            value = _loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode())
        return value
    except (ValueError, RecursionError) as error:
        raise WireError("%s: not JSON: %s" % (where, error)) from None


def _loads(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_distinct)


def build(kind: Type[T], value: Any, where: str) -> T:
    """Turn parsed JSON into the dataclass `kind`. Raises WireError at the first broken rule, its own rules included."""
    try:
        return typing.cast(T, _convert(kind, value, where))
    except (ValueError, OverflowError, RecursionError) as error:
        raise WireError("%s: %s" % (where, error)) from None


def require(condition: bool, rule: str, value: Any) -> None:
    """Raise ValueError with the rule and the value unless the condition holds: for a dataclass's own rules."""
    if not condition:
        raise ValueError("%s, not %.200r" % (rule, value))


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _convert_fields(hint, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return _convert_any(value, where)
    if origin is typing.Union:  # Optional[X] is the only union there is
        return None if value is None else _convert(arguments[0], value, where)
    if origin is dict:
        _expect(isinstance(value, dict), "an object", value, where)
        return {key: _convert(arguments[1], item, where + "." + key) for key, item in value.items()}
    if origin is tuple:
        return _convert_items(arguments, value, where)
    return _convert_scalar(hint, value, where)


def _convert_fields(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), "an object", value, where)
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(known))
    _expect(not unknown, "an object without unknown keys", unknown, where)
    has_default = (
        f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING for f in known.values()
    )
    missing = [name for (name, optional) in zip(known, has_default) if not optional and name not in value]
    _expect(not missing, "an object with " + ", ".join(missing), sorted(value), where)
    return kind(**{name: _convert(hints[name], item, where + "." + name) for name, item in value.items()})


def _convert_any(value: Any, where: str) -> Any:
    """What a device says of itself may be anything, but no integer beyond 64 bits."""
    if isinstance(value, dict):
        return {key: _convert_any(item, where + "." + key) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_convert_any(item, where) for item in value]
    _expect(type(value) is not int or -MAX_INT <= value <= MAX_INT, "an integer of at most 64 bits", value, where)
    return value


def _convert_items(arguments: Tuple[Any, ...], value: Any, where: str) -> Tuple[Any, ...]:
    _expect(isinstance(value, (list, tuple)), "a list", value, where)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        if arguments[0] is int:
            return _convert_integers(value, where)
        return tuple(_convert(arguments[0], item, "%s[%d]" % (where, n)) for n, item in enumerate(value))
    _expect(len(value) == len(arguments), "a list of %d" % len(arguments), value, where)
    return tuple(_convert(hint, item, "%s[%d]" % (where, n)) for n, (hint, item) in enumerate(zip(arguments, value)))


def _convert_integers(value: Any, where: str) -> Tuple[int, ...]:
    """The long lists of samples: no call per item."""
    _expect(set(map(type, value)) <= {int}, "a list of integers", "another type", where)
    for extreme in (min(value, default=0), max(value, default=0)):
        _convert_scalar(int, extreme, where)
    return tuple(value)


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and type(value) in (int, float):
        _expect(math.isfinite(value), "a finite number", value, where)
        return float(value)
    _expect(type(value) is hint, "of type " + getattr(hint, "__name__", str(hint)), value, where)
    _expect(hint is not int or 0 <= value <= MAX_INT, "from 0 to 2**63 - 1", value, where)
    return value


def _expect(condition: bool, rule: str, value: Any, where: str) -> None:
    if not condition:
        raise WireError("%s: must be %s, it is %.200r" % (where, rule, value))


def _refuse(text: str) -> None:
    raise ValueError("%s is not a number that JSON has" % text)


def _finite(text: str) -> float:
    value = float(text)
    require(math.isfinite(value), "a number must be finite", text)
    return value


def _distinct(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    items = dict(pairs)
    if len(items) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return items

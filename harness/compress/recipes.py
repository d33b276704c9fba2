"""A method's Recipe from words: which settings there are, whether their values are allowed, what to call the ladder."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from harness import content
from harness.errors import ContentError, UsageError
from harness.records import digest

_KINDS = {bool: "true|false", int: "N", float: "NUMBER", str: "TEXT"}


@dataclass(frozen=True)
class Setting:
    """One field of a Recipe: `words` that it takes, with what each stands for, besides any of its `kind` (empty: no other).

    `many`: a comma-separated list of them.
    """

    name: str
    default: Any
    words: Mapping[str, Any]
    kind: str = ""
    many: bool = False

    @property
    def takes(self) -> str:
        """What may be written behind `name=`: `channel|position`, `NUMBER`, `TEXT[,TEXT]`."""
        one = "|".join(filter(None, (*self.words, self.kind)))
        return f"{one}[,{one}]" if self.many else one


def settings(method: str) -> tuple[Setting, ...]:
    """Return the settings of a method in the order of its Recipe. Raises UsageError, ContentError."""
    kind = content.load("method", method).Recipe
    with content.blaming(content.find("method", method)):
        hints = get_type_hints(kind)
    return tuple(_setting(method, field.name, _default(method, field), hints[field.name]) for field in fields(kind))


def parse(setting: Setting, text: str) -> Any:
    """Return what a word of the command line says of a setting. Raises UsageError for one that it does not take.

    Numbers are left to `resolve`, which judges values from anywhere.
    """
    words = [word.strip() for word in text.split(",")] if setting.many else [text]
    if "" in words:
        raise UsageError(f'{setting.name}="{text}": an item of the list is empty', f"Write {setting.takes}.")
    for word in () if setting.kind else words:
        content.require_known(setting.name, word, setting.words)
    values = [setting.words.get(word, word) for word in words]
    return values if setting.many else values[0]


def resolve(method: str, given: Mapping[str, Any]) -> Any:
    """Return the method's Recipe with `given` set and defaults for the rest. Raises UsageError."""
    from pydantic import TypeAdapter, ValidationError

    kind = content.load("method", method).Recipe
    for name in given:
        content.require_known(f"setting of method {method}", name, [field.name for field in fields(kind)])
    try:
        recipe = TypeAdapter(kind).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"method {method}: {where} = {first['input']!r}: {first['msg']}") from None
    for name, value in _numbers(plain(recipe)):
        if not math.isfinite(value):
            raise UsageError(f"method {method}: {name} = {value}: must be finite")
    return recipe


def plain(recipe: Any) -> dict[str, Any]:
    """Return all settings of a Recipe as JSON has them: what ladders record and keys hash."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()}


def ladder_name(method: str, recipe: Any, seed: int = 0) -> str:
    """Return a short name, one per method, recipe and seed: `easier`, `easier-position`, `tlc-joint`, `easier-s1`."""
    default, said = plain(type(recipe)()), plain(recipe)
    words = [method, *(_word(name, said[name]) for name in said if said[name] != default[name])]
    return "-".join([*words, f"s{seed}"] if seed else words)


def _word(name: str, value: Any) -> str:
    """A value in short; a number or a yes says nothing without the name of its setting."""
    if isinstance(value, bool):
        return name if value else f"no-{name}"
    text = f"{name}{value:g}" if isinstance(value, int | float) else str(value)
    return text if re.fullmatch(r"[A-Za-z0-9.]{1,16}", text) else digest(value)[:6]


def _numbers(said: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in said.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int | float):
                yield name, one


def _default(method: str, field: Any) -> Any:
    """The default of a Recipe's field: there must be one, for a method is named without its settings."""
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    file = content.find("method", method)
    raise ContentError(f"{file}: Recipe.{field.name} has no default", "See CONTRIBUTING.md, method.")


def _setting(method: str, name: str, default: Any, hint: Any) -> Setting:
    many = get_origin(hint) is tuple
    inner = get_args(hint)[0] if many else hint
    words: dict[str, Any] = {}
    if type(None) in get_args(inner):
        words["none"] = None
        inner = next(each for each in get_args(inner) if each is not type(None))
    if get_origin(inner) is Literal:
        words = {**{str(value): value for value in get_args(inner)}, **words}
    elif inner not in _KINDS:
        file = content.find("method", method)
        raise ContentError(f"{file}: Recipe.{name} is {hint}: no word of a command line says that")
    return Setting(name, default, words, _KINDS.get(inner, ""), many)

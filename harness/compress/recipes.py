"""A method's Recipe from words: which settings there are, whether their values are allowed, what to call the ladder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from harness import content
from harness.errors import UsageError
from harness.records import digest


def resolve(method: str, given: Mapping[str, Any]) -> Any:
    """Return the method's Recipe with `given` set and defaults for the rest. Raises UsageError."""
    from pydantic import TypeAdapter, ValidationError

    kind = content.load("method", method).Recipe
    for name in given:
        content.require_known(f"setting of method {method}", name, [field.name for field in fields(kind)])
    try:
        return TypeAdapter(kind).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"method {method}: {where} = {first['input']!r}: {first['msg']}") from None


def plain(recipe: Any) -> dict[str, Any]:
    """Return all settings of a Recipe as JSON has them: what ladders record and keys hash."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()}


def ladder_name(method: str, recipe: Any, seed: int = 0) -> str:
    """Return a short name, one per method, recipe and seed: `easier`, `easier-position`, `order-3f9c2a`, `easier-s1`."""
    default, said = plain(type(recipe)()), plain(recipe)
    words = [method, *(_word(said[name]) for name in said if said[name] != default[name])]
    return "-".join([*words, f"s{seed}"] if seed else words)


def _word(value: Any) -> str:
    text = str(value)
    return text if re.fullmatch(r"[A-Za-z0-9.]{1,16}", text) else digest(value)[:6]

"""YAML -> a tree that knows its lines -> a checked model. An error names file, line, key, rule and value."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from harness import content
from harness.errors import InventoryError

_MOST_BYTES, _MOST_NODES, _DEEPEST = 1_000_000, 50_000, 20

Step = str | int
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Tree:
    """A YAML file as it was read: `root` holds the reader's own types, which know their lines."""

    path: Path
    root: Any

    def broken(self, where: Sequence[Step], rule: str, hint: str = "") -> InventoryError:
        """Return the error for the value at `where`: file, line, key and rule."""
        return InventoryError(f"{self.place(where)}: {rule}", hint)

    def place(self, where: Sequence[Step]) -> str:
        """Return file, line and key of the value at `where`, as errors begin."""
        return f"{self.path}:{self.line(where)}: {'.'.join(_word(step) for step in where)}"

    def line(self, where: Sequence[Step]) -> int:
        """Return the 1-based line of the deepest step of `where` that is really there."""
        line, node = 0, self.root
        for step in where:
            position = getattr(getattr(node, "lc", None), "data", None) or {}
            if step not in position:
                break
            line = position[step][0]
            node = node[step]
        return int(line) + 1

    def require_options(self, sensor: str, options: Iterable[str], where: Sequence[Step]) -> None:
        """Raise InventoryError, with the nearest known one, for an option that the sensor's file does not have.

        A sensor without a file may say anything: whoever writes it checks it.
        """
        if sensor in content.names("sensor"):
            known = tuple(content.constant("sensor", sensor, "OPTIONS"))
            for option in options:
                self.require_listed(f"option of sensor {sensor}", option, known, (*where, option))

    def require_listed(self, what: str, name: str, known: Sequence[str], where: Sequence[Step]) -> None:
        """Raise InventoryError, with the nearest known name, unless `name` is among `known`."""
        if name not in known:
            raise self.broken(where, f'no {what} "{name}"', nearest(name, known))


def parse(path: Path) -> Tree:
    """Read a YAML file whose root is a mapping. Raises InventoryError, with the line where there is one."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InventoryError(f"{path}: larger than {_MOST_BYTES} bytes", "Is it the right file?")
        root = YAML(typ="rt", pure=True).load(StringIO(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryError(f"{path}: cannot be read: {error}") from None
    except (YAMLError, ValueError, LookupError, RecursionError, AttributeError, TypeError, AssertionError) as error:
        # Beside its own errors the reader lets through what a scalar such as 2026-13-01 or a misplaced tag makes it trip over.
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = (getattr(error, "problem", None) or str(error)).split("\n")[0]
        raise InventoryError(f"{path}{line}: not valid YAML: {problem}", "Mend that line and try again.") from None
    if not isinstance(root, Mapping):
        raise InventoryError(f"{path}:1: must be a mapping of keys to values", "Begin with a line such as `devices:`.")
    return Tree(path, root)


def validate(model: type[_Model], tree: Tree) -> _Model:
    """Return the tree as a model. Raises InventoryError for the first rule that it breaks."""
    try:
        return model.model_validate(_Plain(tree).value(tree.root, ()))
    except ValidationError as error:
        # An unknown key is most likely the missing one misspelt: say that first.
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        where = tuple(step for step in first["loc"] if step != "[key]")
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, where[:-1])
            raise tree.broken(where, f'no key "{_word(where[-1])}"', nearest(str(where[-1]), known)) from None
        said = _RULES.get(first["type"], first["msg"].removeprefix("Value error, "))
        value = "" if first["type"] == "missing" else f"; it is {_shown(first['input'])}"
        raise tree.broken(where, f"{said[0].lower()}{said[1:]}{value}", _means(model, where)) from None


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the hint for an unknown name: the nearest known one, and all of them."""
    within = [each for each in known if name and name in each]  # `trixie`
    near = difflib.get_close_matches(name[:100], known, n=1, cutoff=0.5) or within
    guess = f'Did you mean "{near[0]}"? ' if near else ""
    return f"{guess}Known: {', '.join(known) or 'none'}."


def _known_keys(model: type[BaseModel], where: Sequence[Step]) -> tuple[str, ...]:
    """Return the keys allowed at `where`."""
    return tuple(_walked(model, where).model_fields)


def _means(model: type[BaseModel], where: Sequence[Step]) -> str:
    """Return what the last key on the way to `where` is for, with its name; nothing where that is not known."""
    for place in reversed(range(len(where))):
        above = _walked(model, where[:place])
        field = getattr(above, "model_fields", {}).get(where[place])
        if field is not None:
            return f"{_word(where[place])}: {field.description}" if field.description else ""
    return ""


def _walked(model: type[BaseModel], where: Sequence[Step]) -> Any:
    """Walk a model along a path, through mappings and lists of models; None past its end."""
    annotation: Any = model
    for step in where:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(str(step))
            annotation = field and _said(field.annotation)
        else:
            annotation = _said((getattr(annotation, "__args__", None) or (None,))[-1])
    return annotation


_RULES = {"model_type": "must be a mapping of keys to values"}  # in other words than pydantic's


def _said(annotation: Any) -> Any:
    """What a value is where one is given: a field that may be left out is of a type or None."""
    return annotation.__args__[0] if isinstance(annotation, UnionType) else annotation


class _Plain:
    """Strips the reader's line-carrying types, so that strict validation sees dict, list and scalars.

    Aliases are written out, so how many values come of it is bounded: nine lines can stand for a billion. Raises InventoryError.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree, self.nodes = tree, 0

    def value(self, node: Any, where: tuple[Step, ...]) -> Any:
        self.nodes += 1
        if self.nodes > _MOST_NODES or len(where) > _DEEPEST:
            raise self.tree.broken(where[:3], f"holds more than {_MOST_NODES} values, or more than {_DEEPEST} levels")
        if isinstance(node, Mapping):
            return {self._key(key, where): self.value(item, (*where, key)) for key, item in node.items()}
        if isinstance(node, list):
            return [self.value(item, (*where, place)) for place, item in enumerate(node)]
        for scalar in (bool, int, float):
            if isinstance(node, scalar):
                return scalar(node)
        return self._text(str(node), where) if isinstance(node, str) else node

    def _key(self, key: Any, where: tuple[Step, ...]) -> str:
        if not isinstance(key, str):
            rule = f"a key must be text; it is {_shown(key)}"
            raise self.tree.broken((*where, key), rule, "Put it between quotes.")
        return self._text(str(key), (*where, key))

    def _text(self, text: str, where: tuple[Step, ...]) -> str:
        """No value may hold what no file, command or message can: NUL, or half a character."""
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise self.tree.broken(where, f"text must hold neither NUL nor half a character; it is {_shown(text)}")
        return text


def _word(step: Any) -> str:
    """A key as a message may show it: what could move a terminal's cursor is written as an escape."""
    text = step if isinstance(step, str) else _shown(step)
    return text if text.isprintable() and len(text) <= 80 else _shown(text)


def _shown(value: Any) -> str:
    try:
        return repr(value)[:80]
    except (ValueError, RecursionError):  # a number of more digits than Python prints
        return f"a {type(value).__name__} too long to show"

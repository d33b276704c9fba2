"""What a plan's folder holds, as files of JSON: written whole or not at all, with a version, refused if newer or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness import store
from harness.errors import StoreError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = 1
GO_ON = "nothing measured is lost: the same command goes on."
T = TypeVar("T")
_PLAN = "plan.json"


def write(file: Path, kind: type[T], value: T) -> None:
    """Write `value` whole or not at all. Raises StoreError."""
    store.write(file, json.dumps(plain(kind, value), indent=1, allow_nan=False).encode() + b"\n", GO_ON)


def plain(kind: type[T], value: T) -> dict[str, Any]:
    """A value as plain JSON."""
    made: dict[str, Any] = _adapter(kind).dump_python(value, mode="json")
    return made


def read(file: Path, kind: type[T]) -> T:
    """Read what `write` wrote. Raises StoreError: damaged, or from a newer program."""
    from pydantic import ValidationError

    try:
        text = file.read_text(encoding="utf-8")
        version = json.loads(text).get("schema", SCHEMA)
        if type(version) is not int or not 1 <= version <= SCHEMA:
            raise StoreError(f"{file}: schema {version!r}, this program reads up to {SCHEMA}", "Upgrade edge-harness.")
        return _adapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(file, f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}") from None
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise _damaged(file, str(error)) from None


def _damaged(file: Path, how: str) -> StoreError:
    if file.name == _PLAN:
        return StoreError(
            f"{file}: damaged: {how}", "Remove it: the same command makes it anew from what was measured."
        )
    return StoreError(f"{file}: damaged: {how}", f"Remove {file.parent}: the same command measures that anew.")


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)

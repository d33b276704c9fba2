"""JSON Schema of the two YAML files, for editors. `scripts/docs.py` writes it beside this file; a test says when it is stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel

from harness.inventory.shape import InventoryFile, ProfileFile

Which = Literal["inventory", "profile"]
WHICH: tuple[Which, ...] = get_args(Which)
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MODELS: dict[Which, type[BaseModel]] = {"inventory": InventoryFile, "profile": ProfileFile}
_HERE = Path(__file__).resolve().parent


def schema(which: Which) -> str:
    """Return the JSON Schema of `inventory.yaml` or of a profile, as text."""
    tree = {"$schema": _DIALECT, **_plain(_MODELS[which].model_json_schema())}
    return json.dumps(tree, indent=2) + "\n"


def place(which: Which) -> Path:
    """Return where the schema is kept in the package."""
    return _HERE / f"{which}.schema.json"


def _plain(node: Any) -> Any:
    """Drop what pydantic makes up: titles, which editors would show before descriptions; null for what may be left out."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _plain(value) for key, value in node.items() if key != "title" or not isinstance(value, str)}
    if "default" in kept and kept["default"] is None:
        (given, _), _ = kept.pop("anyOf"), kept.pop("default")
        return {**given, **kept}
    return kept

"""JSON Schema of the two YAML files, for editors. `scripts/docs.py` writes it beside this file; a test says when it is stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from harness.inventory.shape import InventoryFile, ProfileFile

Which = Literal["inventory", "profile"]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MODELS: dict[Which, type[BaseModel]] = {"inventory": InventoryFile, "profile": ProfileFile}
_HERE = Path(__file__).resolve().parent


def schema(which: Which) -> str:
    """Return the JSON Schema of `inventory.yaml` or of a profile, as text."""
    tree = {"$schema": _DIALECT, **_untitled(_MODELS[which].model_json_schema())}
    return json.dumps(tree, indent=2) + "\n"


def place(which: Which) -> Path:
    """Return where the schema is kept in the package."""
    return _HERE / f"{which}.schema.json"


def _untitled(node: Any) -> Any:
    """Drop the titles that pydantic makes up from names: an editor would show them before the description."""
    if isinstance(node, dict):
        return {key: _untitled(value) for key, value in node.items() if key != "title" or not isinstance(value, str)}
    return [_untitled(item) for item in node] if isinstance(node, list) else node

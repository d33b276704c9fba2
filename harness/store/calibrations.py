"""A device's newest calibration: `results/<device>/calibration.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import calibration
from harness.calibration import Calibration
from harness.errors import StoreError
from harness.store.writing import write

FILE = "calibration.json"


def save_calibration(folder: Path, found: Calibration) -> None:
    """Write a calibration into a device's folder of results, whole or not at all. Raises StoreError."""
    write(folder / FILE, json.dumps(asdict(found), indent=1, allow_nan=False).encode() + b"\n")


def load_calibration(results: Path, device: str) -> Calibration | None:
    """Read the device's newest calibration; None where there is none. Raises StoreError: damaged, or from a newer program."""
    from pydantic import TypeAdapter, ValidationError

    file = results / device / FILE
    if not file.is_file():
        return None
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        if tree["schema"] > calibration.SCHEMA:
            raise StoreError(
                f"{file}: schema {tree['schema']}, this program reads up to {calibration.SCHEMA}", "Upgrade."
            )
        return TypeAdapter(Calibration).validate_json(json.dumps(tree), strict=True)
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise StoreError(f"{file}: damaged: {error}", "Remove it, and calibrate again.") from None


def calibration_of(results: Path, device: str) -> dict[str, Any] | None:
    """The device's newest calibration as a run keeps it: its numbers, and as `quote` what it came to. Raises StoreError."""
    found = load_calibration(results, device)
    if found is None:
        return None
    said = quote_calibration(results, device).replace(" ago ", " before this run ", 1)
    return {"quote": said, **asdict(found)}


def quote_calibration(results: Path, device: str, probed: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """One sentence on what a device was found to resolve, or how to find out. Raises StoreError.

    `probed`: {"facts", "versions"} by runtime, where the device was just asked: what changed since then is said.
    """
    found = load_calibration(results, device)
    if found is None:
        return f"none yet: harness calibrate --device {device} says what it can resolve"
    age_s = (datetime.now(UTC) - datetime.fromisoformat(found.created)).total_seconds()
    known = (probed or {}).get(found.runtime, {})
    reasons = calibration.outdated(found, known.get("facts", {}), known.get("versions", {}), age_s)
    return calibration.quote(found, age_s) + (f"; OUTDATED: {'; '.join(reasons)}" if reasons else "")

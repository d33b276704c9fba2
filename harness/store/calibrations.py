"""A device's newest calibration: `results/<device>/calibration.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import StoreError
from harness.records import Plan, Run
from harness.store.writing import write

if TYPE_CHECKING:
    from harness import wire
    from harness.calibration import Calibration  # NumPy comes with it: only who reads one waits for that

FILE = "calibration.json"
_ANEW = "Remove it, and calibrate again."


def save_calibration(folder: Path, found: Calibration) -> None:
    """Write a calibration into a device's folder of results, whole or not at all. Raises StoreError."""
    write(folder / FILE, json.dumps(asdict(found), indent=1, allow_nan=False).encode() + b"\n")


def load_calibration(results: Path, device: str) -> Calibration | None:
    """Read the device's newest calibration; None where there is none. Raises StoreError: damaged, or from a newer program."""
    from pydantic import ValidationError

    from harness import calibration

    file = results / device / FILE
    if not file.is_file():
        return None
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        if tree["schema"] > calibration.SCHEMA:
            raise StoreError(
                f"{file}: schema {tree['schema']}, this program reads up to {calibration.SCHEMA}",
                "Upgrade edge-harness.",
            )
        found = _parsed(json.dumps(tree))
        if datetime.fromisoformat(found.created).tzinfo is None:
            raise ValueError(f"created: {found.created} has no time zone")
        return found
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}"
        raise StoreError(f"{file}: damaged: {what}", _ANEW) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{file}: damaged: {error}", _ANEW) from None


def calibration_of(results: Path, plan: Plan) -> dict[str, Any] | None:
    """The device's newest calibration as a run of this plan keeps it: its numbers, as `quote` what it came to, as `unlike`
    what was otherwise. One that cannot be read is no reason not to measure: then the quote says so, alone.
    """
    from harness import calibration

    try:
        found = load_calibration(results, plan.device)
    except StoreError as error:
        return {"quote": _unreadable(error), "unlike": []}
    if found is None:
        return None
    said = calibration.quote(found, _age_s(found)).replace(" ago ", " before this run ", 1)
    return {"quote": said, "unlike": calibration.unlike(found, {}, {}, _age_s(found)), **asdict(found)}


def compared_calibration(run: Run, replies: Mapping[str, wire.Reply | None]) -> Mapping[str, Any] | None:
    """What a run keeps of its device's calibration, `unlike` completed by what the device said of itself in its replies."""
    from harness import calibration

    kept = run.calibration
    if kept is None or kept.get("schema") != calibration.SCHEMA:
        return kept
    found = _parsed(json.dumps({key: value for key, value in kept.items() if key not in ("quote", "unlike")}))
    same = replies.get(found.runtime)
    known = same or next((reply for reply in replies.values() if reply), None)
    facts, versions = known.facts if known else {}, same.versions if same else {}
    age_s = (datetime.fromisoformat(run.created) - datetime.fromisoformat(found.created)).total_seconds()
    reasons = [*calibration.unlike(found, facts, versions, age_s), *calibration.unlike_plan(found, run.plan)]
    return {**kept, "unlike": reasons}


def quote_calibration(results: Path, device: str, probed: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """One sentence on what a device was found to resolve, or how to find out.

    `probed`: {"facts", "versions"} by runtime, where the device was just asked: what changed since then is said.
    """
    from harness import calibration

    try:
        found = load_calibration(results, device)
    except StoreError as error:
        return _unreadable(error)
    if found is None:
        return f"none yet: harness calibrate --device {device} says what it can resolve"
    known = (probed or {}).get(found.runtime, {})
    reasons = calibration.unlike(found, known.get("facts", {}), known.get("versions", {}), _age_s(found))
    return calibration.quote(found, _age_s(found)) + (f"; OUTDATED: {'; '.join(reasons)}" if reasons else "")


def _parsed(text: str) -> Calibration:
    from pydantic import TypeAdapter

    from harness.calibration import Calibration

    return TypeAdapter(Calibration).validate_json(text, strict=True)


def _age_s(found: Calibration) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(found.created)).total_seconds()


def _unreadable(error: StoreError) -> str:
    return f"unreadable: {error.message}; {error.hint}"

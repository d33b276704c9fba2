"""What the user said, word by word, and the checks that any word may need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError


@dataclass(frozen=True)
class Words:
    """What the user said, flag by flag; None where nothing was said. Lists are still comma-separated text."""

    device: str
    model: str = "resnet18"
    task: str | None = None
    data: Path | None = None
    method: str = "easier"
    eligible: str = "mergeable"
    entropy: str | None = None
    order: str | None = None
    recipe: tuple[str, ...] = ()
    schedule: str | None = None
    budget_epochs: int | None = None
    rungs: int | None = None
    step: int = 1
    delta: float | None = None
    distil: float | None = None
    seeds: int = 1
    train_on: str | None = None
    runtime: str | None = None
    precision: str = "fp32"
    threads: int | None = None
    batch: int = 1
    option: tuple[str, ...] = ()
    budget: float = 240.0
    seed: int = 0
    controls: bool = True
    tune: str | None = None
    regime: str | None = None
    onnx: tuple[Path, ...] = ()
    power_mode: str | None = None
    profile: bool = False
    energy: str = "auto"
    windows: int | None = None
    window: float | None = None
    rate: float | None = None


def split(text: str, flag: str) -> tuple[str, ...]:
    """Split a comma-separated list, dropping repeats. Raises UsageError when an item is empty."""
    items = tuple(dict.fromkeys(item.strip() for item in text.split(",")))
    if "" in items:
        raise UsageError(f'{flag} "{text}": an item of the list is empty', f"Write {flag} a,b without blanks or ends.")
    return items


def require_range(flag: str, value: float, low: float, high: float, hint: str = "") -> None:
    """Raise UsageError unless low <= value <= high; NaN is not."""
    if not low <= value <= high:
        raise UsageError(f"{flag} {value:g}: must be from {low:g} to {high:g}", hint)

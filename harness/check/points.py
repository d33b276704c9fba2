"""What an examination says, and the door that a device's answers pass before they are said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from harness.records import Device
from harness.text import printable

Severity = Literal["missing", "differs", "unknown", "ok"]
SEVERITIES: tuple[Severity, ...] = ("missing", "differs", "unknown", "ok")  # the gravest first
_MOST_LISTED = 8
_LARGEST = 2.0**63


@dataclass(frozen=True)
class Point:
    """One thing that was looked at: `found` there, and `expected` where there is something to expect.

    `stops`: as it is no run can work; then there is an `advice`.
    """

    what: str
    found: str
    severity: Severity = "ok"
    expected: str | None = None
    advice: str = ""
    stops: bool = False


@dataclass(frozen=True)
class Examination:
    """All that was said of a device; `facts` as its agent told them, empty where it could not be reached."""

    device: Device
    points: tuple[Point, ...]
    calibration: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether a run can work."""
        return not any(point.stops for point in self.points)

    def ordered(self) -> tuple[Point, ...]:
        """Return the points, those with something to do first."""
        return tuple(sorted(self.points, key=lambda point: (not point.stops, SEVERITIES.index(point.severity))))

    def to_json(self) -> dict[str, Any]:
        """Return a plain object for machines; its keys stay."""
        profile = self.device.profile
        return {
            "device": self.device.name,
            "profile": profile.name,
            "virtual": self.device.virtual,
            "ready": self.ready,
            "points": [asdict(point) for point in self.ordered()],
            "tune": list(profile.tune),
            "power_modes": list(profile.power_modes),
            "calibration": self.calibration,
            "facts": dict(self.facts),
        }


class Said:
    """What a device said, read by key: printable text of bounded length, numbers, or None. It may say anything."""

    def __init__(self, answer: Any) -> None:
        self.answer: Mapping[str, Any] = answer if isinstance(answer, dict) else {}

    def text(self, key: str) -> str | None:
        """Return the text behind `key`, None where there is none."""
        value = self.answer.get(key)
        return printable(value) if isinstance(value, str) and value.strip() else None

    def number(self, key: str) -> float | None:
        """Return the number behind `key`, None where there is none of a size that numbers have."""
        value = self.answer.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return value if abs(value) < _LARGEST else None

    def numbers(self) -> Iterator[tuple[str, float]]:
        """Yield what there is of numbers, with their keys."""
        for key in self.answer:
            value = self.number(key)
            if value is not None:
                yield key, value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the texts in the list behind `key`."""
        value = self.answer.get(key)
        return tuple(printable(each) for each in value if isinstance(each, str)) if isinstance(value, list) else ()

    def objects(self, key: str) -> tuple[Said, ...]:
        """Return the objects in the list behind `key`."""
        value = self.answer.get(key)
        return tuple(Said(each) for each in value) if isinstance(value, list) else ()

    def inner(self, key: str) -> Said:
        """Return the object behind `key`, an empty one where there is none."""
        return Said(self.answer.get(key))


def listed(words: Sequence[str], separator: str = ", ") -> str:
    """Return a device's words in a row; of many the first, and how many more there are."""
    more = len(words) - _MOST_LISTED
    shown = separator.join(words[:_MOST_LISTED])
    return f"{shown} and {more} more" if more > 0 else shown


def bytes_said(count: float) -> str:
    """Return a number of bytes in words."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"

"""Words for names and numbers in what is told of plans. Pure."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 3  # names of a group, before the rest is counted


def some(names: Sequence[str]) -> str:
    """a, b and c; of many the first few and how many more."""
    if len(names) > SHOWN + 1:
        return f"{', '.join(names[:SHOWN])} and {len(names) - SHOWN} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def count(n: int, word: str) -> str:
    """1 option, 2 options."""
    return f"{n} {word}{'s' * (n != 1)}"


def share(n: int, total: int, word: str) -> str:
    """1 of 8 segments is; 2 of 8 segments are."""
    return f"{n} of {count(total, word)} {'is' if 1 in (n, total) else 'are'}"


def time(middle_ns: float, low_ns: float, high_ns: float) -> str:
    """350 µs [100, 600]: in µs below a millisecond, to three digits of the widest or so."""
    widest = max(map(abs, (middle_ns, low_ns, high_ns)))
    unit, worth, digits = ("ms", 1e6, 2) if widest >= 1e6 else ("µs", 1e3, 0) if widest >= 1e5 else ("µs", 1e3, 1)
    return f"{middle_ns / worth:.{digits}f} {unit} [{low_ns / worth:.{digits}f}, {high_ns / worth:.{digits}f}]"


def ratio(middle: float, low: float, high: float) -> str:
    """1.19x [1.06, 1.34]."""
    return f"{middle:.2f}x [{low:.2f}, {high:.2f}]"

"""How fast something moves: the slope of a line through its last values."""

from typing import List, Optional, Sequence, Tuple

Curve = List[Tuple[float, float]]  # time in s, value


def last(curve: Sequence[Tuple[float, float]], seconds: float) -> Curve:
    """Return the points of the last `seconds`."""
    return [point for point in curve if point[0] >= curve[-1][0] - seconds]


def per_minute(curve: Sequence[Tuple[float, float]]) -> Optional[float]:
    """Return the least-squares slope per minute; None below two moments. Averages out the steps of a coarse sensor."""
    n = len(curve)
    times, values = [t for t, _ in curve], [v - curve[0][1] for _, v in curve]  # of what is level, exactly 0
    if n < 2 or times[-1] <= times[0]:
        return None
    middle, mean = sum(times) / n, sum(values) / n
    rise = sum((t - middle) * (v - mean) for t, v in zip(times, values))
    return 60 * rise / sum((t - middle) ** 2 for t in times)

"""Shared by sensors: what readings tell together: a counter that fell, a value that stands still."""

from typing import Optional, Tuple

_MENDS = 2


class Counter:
    """A counter that must never fall. After a fall it is believed again once it has risen twice."""

    def __init__(self) -> None:
        self._last: Optional[float] = None
        self._mends = 0

    def judge(self, value: float, unit: str) -> str:
        """Return why this reading is of no use, "" where it is."""
        last, self._last = self._last, value
        if last is not None and value < last:
            self._mends = _MENDS
            said = "the counter fell from %g to %g %s: it was reset or wrapped, and what lies between is not known"
            return said % (last, value, unit)
        if last is not None and value > last and self._mends:
            self._mends -= 1
        return "the counter fell and has not risen %d times since" % _MENDS if self._mends else ""


class Stall:
    """Values that must change within some time."""

    def __init__(self) -> None:
        self._last: Tuple[Optional[float], ...] = ()
        self._since_ns = 0

    def seconds(self, values: Tuple[Optional[float], ...], t_ns: int) -> float:
        """Return for how long these have been the same, s."""
        if values != self._last:
            self._last, self._since_ns = values, t_ns
        return (t_ns - self._since_ns) / 1e9

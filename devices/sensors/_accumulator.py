"""Shared by sensors: a counter of energy that may wrap, fall, jump or stall, read again and again."""

from typing import TYPE_CHECKING, Optional, Tuple

from harness.sensing import UnavailableError

if TYPE_CHECKING:
    from devices.sensors import _outcome
else:
    import _outcome

_STALL_NS = 2_000_000_000
_MENDS = 2  # rises that a counter must show before it is believed again
_LEAST_S = 0.2  # counters become new ones in steps: two reads close together may see all of a step


class Accumulator:
    """One counter, in steps of `scale` J.

    `range_steps`: where it begins again at 0 (None: nowhere). `most_w`: the power in W that nothing behind it can
    exceed. A wrap is told from a reset by it: after a fall the counter must have wrapped exactly once, at less than
    `most_w`. Where it was not read for so long that it may have wrapped twice, nobody can tell, and it is not believed.
    """

    def __init__(self, name: str, scale: float, most_w: float, range_steps: Optional[int] = None) -> None:
        self._name, self._scale, self._most_w, self._range = name, scale, most_w, range_steps
        self._last: Optional[int] = None
        self._last_ns = self._moved_ns = 0
        self._sum = self._mends = 0
        self._moved = False

    def energy(self, steps: int, t_ns: int) -> float:
        """Return the energy in J, over all wraps, of a reading at `t_ns` (monotonic): it begins with the first reading.

        After a break it goes on from the new value, and what was used meanwhile is missing: no difference across the
        break means anything. Raises UnavailableError (a break, until the counter rose twice), StaleError.
        """
        if self._last is None:
            self._last, self._last_ns, self._moved_ns, self._sum = steps, t_ns, t_ns, steps
        rise, broken = self._rise(self._last, steps, (t_ns - self._last_ns) * 1e-9)
        self._last, self._last_ns = steps, t_ns
        if broken:
            self._mends, self._moved_ns = _MENDS, t_ns
            raise UnavailableError("%s %s" % (self._name, broken))
        if rise:
            self._moved, self._moved_ns = True, t_ns
            self._mend()
        self._require_alive(steps, t_ns)
        self._sum += rise
        return round(self._sum * self._scale, 6)

    def _rise(self, last: int, steps: int, elapsed_s: float) -> Tuple[int, str]:
        """How far it rose since, and what is wrong with it ("": nothing)."""
        most = self._most_w * max(elapsed_s, _LEAST_S) / self._scale
        if self._range is not None:
            if steps > self._range:
                return 0, "stands at %d, above its own range of %d" % (steps, self._range)
            if most > self._range:
                return 0, "was not read for %.0f s and may have wrapped more than once" % elapsed_s
        rise = steps - last
        if rise < 0 and self._range is not None:
            rise += self._range
        if rise < 0 or (steps < last and rise > most):
            return 0, "fell from %d to %d, which is no wrap: it was reset" % (last, steps)
        if rise > most:
            return 0, "rose by %.0f J in %.1f s, more than %.0f W" % (rise * self._scale, elapsed_s, self._most_w)
        return rise, ""

    def _mend(self) -> None:
        if self._mends:
            self._mends -= 1
            if self._mends:
                raise UnavailableError("%s has only begun to rise again" % self._name)

    def _require_alive(self, steps: int, t_ns: int) -> None:
        if self._mends:
            raise UnavailableError("%s has not risen again since it broke" % self._name)
        if steps == 0 and not self._moved:
            raise _outcome.StaleError("%s stands at 0: nothing is counted" % self._name)
        if t_ns - self._moved_ns > _STALL_NS:
            raise _outcome.StaleError("%s has not moved for more than %d s" % (self._name, _STALL_NS // 10**9))

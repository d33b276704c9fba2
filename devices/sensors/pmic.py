"""A Raspberry Pi 5's power chip, asked by way of the firmware's mailbox: the rails behind it.

Scope `board_partial`: the sum over the 12 rails whose current and voltage the chip measures. Not in it: all that is fed
from 5 V directly (USB devices, HATs, NVMe, the fan) and the chip's own loss, together a sixth and more of what the board
takes. There is no option to scale it up to the whole: that is another scope, which a meter at the wall measures. EXT5V and
BATT have a voltage alone and are never added. Part channels are the rails that `rails` names.

Readings are noisy, so windows are long; more than 10 a second disturb the board. Needs /dev/vcio, that is the group
`video`. Boards before the 5 measure no current at all.

    sensors:
      pmic: {}
"""

import contextlib
from typing import TYPE_CHECKING, Any, Dict, FrozenSet, Iterator, Mapping, Sequence, Tuple

from harness import mailbox, wire
from harness.decode import require
from harness.sensing import AbsentError, Taken, UnavailableError, sysroot

if TYPE_CHECKING:
    from devices.sensors import _options, _outcome
else:
    import _options
    import _outcome

WINDOW_S = (
    45.0,
    60.0,
)  # shorter ones meet pulses of paced inferences by chance: 0.6 % off at 30 s (docs/benchmarks.md)
OPTIONS: Dict[str, str] = {
    "period_s": "how often the rails are read, s: from 0.1 to 5, else 0.1",
    "rails": "rails that are kept by themselves beside the sum, else [VDD_CORE]",
}

_RAILS = 12
_VOLTAGE_ALONE = frozenset(("EXT5V", "BATT"))
_STALE_READINGS = 20  # noise moves some of 24 numbers each time
_NAME = "12 rails"
_STEP_W = 0.008  # currents of the core, the largest, are multiples of 8.93 mA, at 0.9 V; all others' steps are smaller

Rails = Dict[str, Dict[str, float]]


def probe(options: Mapping[str, Any]) -> Tuple[str, str]:
    """Return a status and its reason, after one reading."""
    return _outcome.probed(lambda: _look(options))


def _look(options: Mapping[str, Any]) -> Tuple[str, str]:
    with open(options) as session:
        total = session.read()[0]
        return total.status, total.reason or "board_partial: the sum of 12 rails, %.2f W" % (total.value or 0.0)


@contextlib.contextmanager
def open(options: Mapping[str, Any]) -> Iterator["Session"]:
    """Give a session. Raises AbsentError, PermissionError, UnavailableError, OSError, ValueError."""
    _options.known(options, OPTIONS)
    period_s = _options.number(options, "period_s", 0.1, 0.1, 5.0)
    parts = _options.names(options, "rails", ("VDD_CORE",))
    known = frozenset(_pairs())
    for part in parts:
        require(part in known, "option rails must name rails of " + ", ".join(sorted(known)), part)
    yield Session(known, parts, period_s)


class Session:
    """The sum of the rails, then the rails that were asked for, each its current times its voltage, W."""

    def __init__(self, known: FrozenSet[str], parts: Sequence[str], period_s: float) -> None:
        self.period_s = period_s
        self._known, self._parts = known, tuple(parts)
        self._last: Rails = {}
        self._same = 0
        self.channels: Tuple[wire.Channel, ...] = (
            wire.Channel("pmic", _NAME, "board_partial", "instant_power", True, resolution=_STEP_W),
            *(wire.Channel("pmic", part, "rail", "instant_power", False, resolution=_STEP_W) for part in self._parts),
        )

    def read(self) -> Sequence[Taken]:
        """Return each channel's power; all come from one answer of the firmware, and fail together."""
        try:
            powers_w = self._powers()
        except _outcome.FAILURES as error:
            return [Taken(n, None, *_outcome.of(error)) for n in range(len(self.channels))]
        shown = [sum(powers_w.values()), *(powers_w[part] for part in self._parts)]
        return [Taken(n, round(power_w, 6)) for n, power_w in enumerate(shown)]

    def _powers(self) -> Dict[str, float]:
        rails = _pairs()
        if frozenset(rails) != self._known:
            changed = sorted(self._known.symmetric_difference(rails))
            raise UnavailableError("the firmware lists other rails than at first: " + ", ".join(changed))
        self._same = self._same + 1 if rails == self._last else 1
        self._last = rails
        if self._same >= _STALE_READINGS:
            raise _outcome.StaleError("the firmware gave the same numbers for %d readings and more" % _STALE_READINGS)
        powers_w = {rail: told["A"] * told["V"] for rail, told in rails.items()}
        if sum(powers_w.values()) <= 0:
            raise _outcome.StaleError("all rails together read no power: nothing is measured")
        return powers_w


def _pairs() -> Rails:
    """The rails that have both current and voltage, all 12 of them. Raises as `open` does."""
    device = sysroot() / "dev/vcio"
    try:
        told = mailbox.pmic_read_adc(device)
    except FileNotFoundError:
        raise AbsentError("%s is not there: no Raspberry Pi, or one whose firmware cannot be asked" % device) from None
    except PermissionError:
        raise PermissionError(
            "%s may be read by the group video alone: sudo usermod -aG video $USER, then log in again" % device
        ) from None
    half = sorted(rail for rail, values in told.items() if len(values) == 1 and not _alone(rail, values))
    if half:
        raise UnavailableError("these rails came with their current or their voltage alone: " + ", ".join(half))
    pairs = {rail: values for rail, values in told.items() if len(values) == 2}
    if len(pairs) != _RAILS:
        raise UnavailableError("the firmware lists %d rails with current and voltage, not %d" % (len(pairs), _RAILS))
    return pairs


def _alone(rail: str, values: Mapping[str, float]) -> bool:
    return rail in _VOLTAGE_ALONE and "V" in values

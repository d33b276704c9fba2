"""A meter with Tasmota between the wall and the device, read over the network.

What the device draws at the wall, its power supply's losses included; anything else behind the meter too. Tasmota tells
power in whole watts and energy in steps of 0.001 kWh (3600 J: 10 minutes at 6 W) unless it is told otherwise; say in its
console `Backlog WattRes 1; EnergyRes 5`. What steps it has is read from the decimals of its answers. Phases are added.

    sensors:
      tasmota: {host: 192.168.1.22}
      tasmota: {host: plug.local, password_env: PLUG_PASSWORD}

The password stands in an environment variable of this machine, never in the inventory. It travels in the question, as
Tasmota wants it, and unencrypted. The commands: tasmota.github.io/docs/Commands.
"""

import decimal
import urllib.parse
from typing import TYPE_CHECKING, Any, ContextManager, Mapping, Optional, Tuple

from harness.sensing import AbsentError, UnavailableError

if TYPE_CHECKING:
    from devices.sensors import _http, _options, _plug
else:
    import _http
    import _options
    import _plug

WINDOW_S = (300.0, 600.0)
OPTIONS = {
    "host": "the meter's name or address, with a port where it is not 80",
    "password_env": "the environment variable that holds the meter's password, where it has one",
}
WHERE = "controller"

_KWH = 3.6e6
_NEW, _OLD, _STATE = 10, 8, 11  # numbers of the command Status: sensors, sensors as before 2018, relays
_MOST_PHASES = 16


def probe(options: Mapping[str, Any]) -> Tuple[str, str]:
    """Return a status and its reason: the meter has been asked once or twice."""
    return _plug.probed(lambda: open(options))


def open(options: Mapping[str, Any]) -> "ContextManager[_plug.Session]":
    """Give a session. Raises AbsentError, PermissionError, UnavailableError; ValueError for an option."""
    _options.known(options, OPTIONS)
    host, password = _http.host(options), _http.password(options)
    asked = _Asked(_http.Meter(host, password), password)
    return _plug.opened("tasmota", host, asked.look, asked.steps)


class _Asked:
    """What is asked of one meter."""

    def __init__(self, meter: "_http.Meter", password: str) -> None:
        self._meter = meter
        words = {"user": _http.USER, "password": password}
        self._secret = "&" + urllib.parse.urlencode(words, quote_via=urllib.parse.quote) if password else ""
        self._number = _NEW
        self._energy: Mapping[str, Any] = {}

    def look(self) -> "_plug.Seen":
        """Ask for power and energy; for the relays too where there is no power."""
        said, t_ns = self._sensors()
        self._energy = energy = _plug.section(said, "ENERGY", self._meter.host)
        for key in ("Power", "Total"):
            if key not in energy:
                raise AbsentError("%s tells no %s under ENERGY: it does not measure it" % (self._meter.host, key))
        powers = energy["Power"] if isinstance(energy["Power"], list) else [energy["Power"]]
        idle = all(power == 0 for power in powers)
        return _plug.Seen(
            t_ns,
            lambda: sum(_phases(energy["Total"], "Total", self._meter.host)) * _KWH,
            lambda: sum(_phases(energy["Power"], "Power", self._meter.host)),
            idle and self._is_off(),
        )

    def steps(self) -> "_plug.Steps":
        """How fine the answers are, by the decimals of the last one."""
        return _plug.Steps(1.0, _step(self._energy["Total"]) * _KWH, _step(self._energy["Power"]), 1.0)

    def _sensors(self) -> Tuple[Mapping[str, Any], int]:
        said, t_ns = self._ask(self._number)
        if said is None and self._number == _NEW:
            said, t_ns = self._ask(_OLD)
            if said is not None:
                self._number = _OLD
        if said is None:
            raise AbsentError("%s tells no StatusSNS: is this a meter with Tasmota?" % self._meter.host)
        return said, t_ns

    def _ask(self, number: int, key: str = "StatusSNS") -> Tuple[Optional[Mapping[str, Any]], int]:
        fields, t_ns = self._meter.get("/cm?cmnd=Status%%20%d%s" % (number, self._secret))
        if "WARNING" in fields:  # a wrong password, in the words of the firmware's language and with HTTP status 200
            raise PermissionError(self._meter.denied())
        found = fields.get(key)
        return (found if isinstance(found, dict) else None), t_ns

    def _is_off(self) -> bool:
        """Whether every relay is off; a meter need not have one."""
        said, _ = self._ask(_STATE, "StatusSTS")
        relays = [value for key, value in (said or {}).items() if key.startswith("POWER")]
        return bool(relays) and all(value == "OFF" for value in relays)


def _phases(value: Any, key: str, host: str) -> Tuple[float, ...]:
    """Return a number, or one of each phase. Raises UnavailableError."""
    values = value if isinstance(value, list) else [value]
    if not 0 < len(values) <= _MOST_PHASES:
        raise UnavailableError("%s gives %s as a list of %d" % (host, key, len(values)))
    return tuple(_plug.plain(each, key, host) for each in values)


def _step(value: Any) -> float:
    """Return the smallest step that a value's decimals can tell; the coarsest of several, 0 where it is no number."""
    values = value if isinstance(value, list) else [value]
    exponents = [int(each.as_tuple().exponent) for each in values if isinstance(each, decimal.Decimal)]
    return 10.0 ** max(-9, min(0, max(exponents))) if exponents else 0.0

"""A Shelly meter between the wall and the device: plugs, PM and EM modules, read over the network.

What the device draws at the wall, its power supply's losses included; anything else behind the meter too. Energy comes as
a counter in Wh of 0.001 Wh (3.6 J), once a second; an EM counts in steps of 0.01 Wh and a first generation in W min, both
once a minute, so that they need far longer windows. Windows of less than 5 minutes measure the steps.

    sensors:
      shelly: {host: 192.168.1.20}                            # second generation and later, component switch
      shelly: {host: plug.local, component: pm1, password_env: PLUG_PASSWORD}
      shelly: {host: 192.168.1.21, generation: 1}

The password stands in an environment variable of this machine, never in the inventory. The API: shelly-api-docs.shelly.cloud.
"""

from typing import TYPE_CHECKING, Any, Callable, ContextManager, Dict, Mapping, NamedTuple, Tuple

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
    "generation": "1 for the first generation; else 2, which is right for all later ones (the default)",
    "component": "what measures, second generation and later: switch (the default), pm1, em1 or em (three phases, their sum)",
    "id": "which of several, from 0 (the default)",
    "password_env": "the environment variable that holds the meter's password, where it has one",
}
WHERE = "controller"

_WH = 3600.0
_WATT_MINUTE = 60.0


class Kind(NamedTuple):
    """How a component names itself and what it measures; `data`: the component that holds its counter, "" for itself."""

    name: str
    power: str
    energy: Tuple[str, ...]
    data: str
    steps: "_plug.Steps"


_QUICK = _plug.Steps(update_s=1.0, energy_j=0.001 * _WH, power_w=0.1, energy_update_s=1.0)
_SLOW = _plug.Steps(update_s=1.0, energy_j=0.01 * _WH, power_w=0.1, energy_update_s=60.0)
_FIRST = _plug.Steps(update_s=1.0, energy_j=_WATT_MINUTE, power_w=0.01, energy_update_s=60.0)
_KINDS: Dict[str, Kind] = {
    "switch": Kind("Switch", "apower", ("aenergy", "total"), "", _QUICK),
    "pm1": Kind("PM1", "apower", ("aenergy", "total"), "", _QUICK),
    "em1": Kind("EM1", "act_power", ("total_act_energy",), "EM1Data", _SLOW),
    "em": Kind("EM", "total_act_power", ("total_act",), "EMData", _SLOW),
}


def probe(options: Mapping[str, Any]) -> Tuple[str, str]:
    """Return a status and its reason: the meter has been asked once or twice."""
    return _plug.probed(lambda: open(options))


def open(options: Mapping[str, Any]) -> "ContextManager[_plug.Session]":
    """Give a session. Raises AbsentError, PermissionError, UnavailableError; ValueError for an option."""
    _options.known(options, OPTIONS)
    host = _http.host(options)
    index = _options.whole(options, "id", 0, 0, 99)
    first = _options.whole(options, "generation", 2, 1, 99) == 1
    kind = _KINDS[_options.choice(options, "component", _KINDS, "switch")]
    if first and "component" in options:
        raise ValueError("option component belongs to generation 2 and later, not %r" % options["component"])
    meter = _http.Meter(host, _http.password(options), "basic" if first else "digest")
    look = _first(meter, index) if first else _later(meter, kind, index)
    return _plug.opened("shelly", host, look, lambda: _FIRST if first else kind.steps)


def _later(meter: "_http.Meter", kind: Kind, index: int) -> "Callable[[], _plug.Seen]":
    def look() -> "_plug.Seen":
        said, t_ns = meter.get("/rpc/%s.GetStatus?id=%d" % (kind.name, index))
        errors = said.get("errors")
        if isinstance(errors, list) and "power_meter_failure" in errors:
            raise UnavailableError("%s says power_meter_failure: restart the meter" % meter.host)
        if kind.power not in said:
            raise AbsentError(
                "%s has no power meter in %s %d: another component or id?" % (meter.host, kind.name, index)
            )
        counted = meter.get("/rpc/%s.GetStatus?id=%d" % (kind.data, index)).fields if kind.data else said

        def energy() -> float:
            inner = counted
            for key in kind.energy[:-1]:
                inner = _plug.section(inner, key, meter.host)  # type: ignore[assignment]
            return _plug.number(inner, kind.energy[-1], meter.host, _WH)

        return _plug.Seen(t_ns, energy, lambda: _plug.number(said, kind.power, meter.host), said.get("output") is False)

    return look


def _first(meter: "_http.Meter", index: int) -> "Callable[[], _plug.Seen]":
    def look() -> "_plug.Seen":
        said, t_ns = meter.get("/meter/%d" % index)
        if said.get("is_valid") is not True:
            raise UnavailableError("%s says that its own reading is not valid: restart the meter" % meter.host)
        return _plug.Seen(
            t_ns,
            lambda: _plug.number(said, "total", meter.host, _WATT_MINUTE),
            lambda: _plug.number(said, "power", meter.host),
            said.get("power") == 0 and _is_off(meter, index),
        )

    return look


def _is_off(meter: "_http.Meter", index: int) -> bool:
    """Whether the relay of a meter that tells no power is off; a meter need not have one."""
    try:
        return meter.get("/relay/%d" % index).fields.get("ison") is False
    except AbsentError:
        return False

"""A power chip on the I2C bus (INA219, INA226, INA238 and their kin), read from the kernel's hwmon files.

By default `dc_input`: the chip sits in the supply's cable before the board. One chip is one channel; where there are
several, its bus address says which. Power comes in microwatts, or else as voltage (mV) times current (mA); it must
agree with them. A shunt with another value than the kernel believes scales everything: say what yours has
(`shunt_uohm`), and any other is refused. 0.1 Ohm drops 0.3 V at 3 A, which can brown-out a Pi: take 20 mOhm or less.

    sensors:
      hwmon: {address: 1-0040, shunt_uohm: 10000}
"""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Tuple

from harness import sensing, wire
from harness.decode import require

if TYPE_CHECKING:
    from devices.sensors import _hwmon, _options, _probing
else:
    import _hwmon
    import _options
    import _probing

WINDOW_S = (5.0, 20.0)
OPTIONS = {
    "chip": "the chip's name as the kernel tells it, such as ina226 (default: any of the known ones)",
    "address": "bus and address of the chip, such as 1-0040 (default: the only one)",
    "scope": "what it measures: dc_input (default), module, ...",
    "shunt_uohm": "the shunt resistor that is really there, in uOhm: the kernel's must be the same",
}
PERIOD_S = 0.02
CHIPS = (
    "ina209",
    "ina219",
    "ina220",
    "ina226",
    "ina228",
    "ina230",
    "ina231",
    "ina233",
    "ina234",
    "ina237",
    "ina238",
    "ina260",
)
# W per count of power, at most: older drivers fix 1 mA a step, newer ones follow the shunt (Linux, drivers/hwmon/ina2xx.c).
_FIXED_W = {"ina219": 0.02, "ina220": 0.02, "ina226": 0.025, "ina230": 0.025, "ina231": 0.025}
_SHUNT_STEP_V = {"ina219": 10e-6, "ina220": 10e-6, "ina226": 2.5e-6, "ina230": 2.5e-6, "ina231": 2.5e-6}
_POWER_FACTOR = {"ina219": 20, "ina220": 20, "ina226": 25, "ina230": 25, "ina231": 25}


def probe(options: Mapping[str, Any]) -> Tuple[str, str]:
    """Return status and reason; with ok: chip, bus address, shunt."""
    return _probing.probe(open, options)


@contextmanager
def open(options: Mapping[str, Any]) -> Iterator[_hwmon.Session]:
    """Give a session of one channel.

    Raises ValueError for an option, AbsentError where it is not one chip, PermissionError, OSError, UnavailableError.
    """
    _options.known(options, OPTIONS)
    scope = _options.choice(options, "scope", [each for each in wire.SCOPES if each != "rail"], "dc_input")
    _options.whole(options, "shunt_uohm", 1, 1, 10**9)  # a wrong value is told also where there is no chip
    chip = _only(options)
    rail = _rail(chip)
    _require_shunt(options, rail)
    _hwmon.check_unit(rail)
    step = _step_w(chip, rail)
    channel = wire.Channel("hwmon", chip.name + " " + chip.address, scope, "instant_power", True, rail.update_s, step)
    shunt = "shunt %d uOhm" % rail.shunt_uohm if rail.shunt_uohm else "shunt unknown"
    words = "%s: %s at %s (%s)" % (scope, chip.name, chip.address, shunt)
    yield _hwmon.Session([(channel, (rail,))], words, PERIOD_S)


def _only(options: Mapping[str, Any]) -> _hwmon.Chip:
    """The one chip that the options leave. Raises AbsentError, with what is there."""
    name, address = _options.text(options, "chip", "any"), _options.text(options, "address", "any")
    require(name == "any" or name in CHIPS, "option chip must be one of " + ", ".join(CHIPS), name)
    there = _hwmon.chips(CHIPS)
    fit = [chip for chip in there if name in ("any", chip.name) and address in ("any", chip.address)]
    listed = ", ".join("%s at %s" % (chip.name, chip.address) for chip in there) or "none"
    if not fit:
        asked = " ".join(word for word in (name, address) if word != "any") or "power chip"
        raise sensing.AbsentError("no %s among the chips of /sys/class/hwmon; there are: %s" % (asked, listed))
    if len(fit) > 1:
        raise sensing.AbsentError("several chips fit (%s): say which, `address: %s`" % (listed, fit[0].address))
    return fit[0]


def _rail(chip: _hwmon.Chip) -> _hwmon.Rail:
    """The chip's bus side. Its in0 is the voltage over the shunt."""
    volt, curr, power = (chip.folder / name for name in ("in1_input", "curr1_input", "power1_input"))
    if not power.exists() and not (volt.exists() and curr.exists()):
        raise sensing.AbsentError("%s at %s has neither power1_input nor in1_input and curr1_input" % chip[:2])
    shunt = max(_hwmon.optional(chip.folder / "shunt_resistor") or 0, 0)
    told = power if power.exists() else None
    return _hwmon.Rail("bus", chip.address, volt, curr, told, 1e-6, 102_400, shunt, _hwmon.update_s(chip))


def _require_shunt(options: Mapping[str, Any], rail: _hwmon.Rail) -> None:
    """Refuse a shunt that is not the one that was said."""
    if "shunt_uohm" not in options:
        return
    said = _options.whole(options, "shunt_uohm", None, 1, 10**9)
    if not rail.shunt_uohm:
        raise sensing.UnavailableError("the kernel does not tell the shunt at %s: it cannot be compared" % rail.address)
    if abs(rail.shunt_uohm - said) > said * 0.01:  # rounded through a calibration register
        raise sensing.UnavailableError(
            "the kernel takes the shunt at %s for %d uOhm, not %d: `echo %d | sudo tee %s`"
            % (rail.address, rail.shunt_uohm, said, said, rail.volt.parent / "shunt_resistor")
        )


def _step_w(chip: _hwmon.Chip, rail: _hwmon.Rail) -> float:
    """W by which power changes, at most; 0: unknown."""
    fixed = _FIXED_W.get(chip.name, 0.0)
    if not (fixed and rail.shunt_uohm):
        return fixed
    return max(fixed, _POWER_FACTOR[chip.name] * _SHUNT_STEP_V[chip.name] * 1e6 / rail.shunt_uohm)

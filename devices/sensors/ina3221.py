"""Jetson's own power chips (INA3221; INA238 on Thor), read from the kernel's files.

Rails are found by chip, bus address and label, since hwmon numbers change between boots. The total is one rail that
holds all others (VDD_IN; POM_5V_IN on JetPack 4), or the sum of VDD_GPU_SOC, VDD_CPU_CV and VIN_SYS_5V0 on AGX Orin,
whose VDDQ_VDD2_1V8AO is a part of the last. Scope `module`: without the carrier board (VIN on Thor: `dc_input`, with it).

Traps: reading a file waits for a conversion (6.6 to 13 ms), so only rails of the total are read unless all are asked for.
Voltage and current come from different conversions: W = mean of the voltages before and after the current, times current.
Steps are 8 mV and 40 uV over the shunt; the resistor's value can be written by root and scales everything: it is told.
Disconnected rails (NC) and the sums of shunt voltages are no rails. USB-C's power_supply entries are agreed, not measured.

    sensors:
      ina3221: {total: [VDD_IN], rails: all}
"""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from harness import sensing, wire

if TYPE_CHECKING:
    from devices.sensors import _hwmon, _jetson, _options, _probing
else:
    import _hwmon
    import _jetson
    import _options
    import _probing

WINDOW_S = (5.0, 20.0)
OPTIONS = {
    "total": "rails whose sum is the module's total (default: as the module's rails tell)",
    "rails": "total (default), or all: parts are read too, at a fraction of the rate",
}
PERIOD_S = 0.05  # three files that block for about 10 ms each, and time to spare
AVERAGED_S = 0.1  # from here on a chip that takes the mean of many conversions is one that averages
_VOLT_LSB_MV, _SHUNT_LSB_UV = 8, 40
_SUM_LABEL = "sum of shunt voltages"
_DRIVERS = ("ina3221", "ina3221x", "ina238")


def probe(options: Mapping[str, Any]) -> Tuple[str, str]:
    """Return status and reason; with ok: rails, bus addresses, shunts, steps."""
    return _probing.probe(open, options)


@contextmanager
def open(options: Mapping[str, Any]) -> Iterator[_hwmon.Session]:
    """Give a session of the total, and of its parts where all rails are asked for.

    Raises ValueError for an option, AbsentError where no total can be made, PermissionError, OSError, UnavailableError.
    """
    _options.known(options, OPTIONS)
    wanted = _jetson.total_option(options)
    everything = _options.choice(options, "rails", ("total", "all"), "total") == "all"
    rails = _named(_rails())
    total = _jetson.choose(wanted, list(rails))
    for name in total:
        _hwmon.check_unit(rails[name])
    groups = [(_channel(total, [rails[name] for name in total]), tuple(rails[name] for name in total))]
    if everything:
        groups += [(_part(name, rail), (rail,)) for name, rail in rails.items() if (name,) != total]
    yield _hwmon.Session(groups, _words(total, rails, groups[0][0]), PERIOD_S)


def _named(found: Sequence[_hwmon.Rail]) -> Dict[str, _hwmon.Rail]:
    """Rails by the name that selects them: the label alone where it is there once, else with the bus address before it."""
    labels = [rail.name for rail in found]
    return {rail.name if _plain(rail, labels) else rail.full_name: rail for rail in found}


def _plain(rail: _hwmon.Rail, labels: Sequence[str]) -> bool:
    return labels.count(rail.name) == 1 and not rail.name.startswith("channel")


def _rails() -> List[_hwmon.Rail]:
    """All rails that are connected and switched on, of all chips. Raises AbsentError where there is none."""
    found = [_of_ina3221(chip, i) for chip in _hwmon.chips(("ina3221",)) for i in (1, 2, 3)]
    found += [_of_ina238(chip) for chip in _hwmon.chips(("ina238",))]
    found += [] if any(found) else _of_jetpack_4()
    rails = [rail for rail in found if rail is not None]
    if not rails:
        where = " or ".join(_DRIVERS)
        raise sensing.AbsentError("no %s with a rail below /sys/class/hwmon or /sys/bus/i2c/drivers" % where)
    return rails


def _of_ina3221(chip: _hwmon.Chip, i: int) -> Optional[_hwmon.Rail]:
    """Channel i of a chip; None where it is not connected, switched off (reading gives ENODATA) or not there."""
    volt, curr = chip.folder / ("in%d_input" % i), chip.folder / ("curr%d_input" % i)
    label = sensing.text(chip.folder / ("in%d_label" % i)) or "channel%d" % i
    unused = label in (_jetson.NOT_CONNECTED, _SUM_LABEL) or _hwmon.optional(chip.folder / ("in%d_enable" % i)) == 0
    if unused or not (volt.exists() and curr.exists()):
        return None
    shunt = max(_hwmon.optional(chip.folder / ("shunt%d_resistor" % i)) or 0, 0)
    return _hwmon.Rail(label, chip.address, volt, curr, shunt_uohm=shunt, update_s=_hwmon.update_s(chip))


def _of_ina238(chip: _hwmon.Chip) -> _hwmon.Rail:
    """Thor's chip before the carrier board, which tells microwatts."""
    label = sensing.text(chip.folder / "in1_label") or "VIN"
    volt, curr, power = (chip.folder / name for name in ("in1_input", "curr1_input", "power1_input"))
    return _hwmon.Rail(label, chip.address, volt, curr, power, 1e-6, 102_400, 0, _hwmon.update_s(chip))


def _of_jetpack_4() -> List[Optional[_hwmon.Rail]]:
    """JetPack 4's own driver: iio, with power in milliwatts."""
    chips = (sensing.sysroot() / "sys/bus/i2c/drivers/ina3221x").glob("*-*")
    folders = [folder for chip in sorted(chips) for folder in sorted(chip.glob("iio*device*"))]
    return [_of_iio(folder, i) for folder in folders for i in (0, 1, 2)]


def _of_iio(folder: Path, i: int) -> Optional[_hwmon.Rail]:
    label = sensing.text(folder / ("rail_name_%d" % i)) or "channel%d" % (i + 1)
    volt, curr, power = (folder / ("in_%s%d_input" % (what, i)) for what in ("voltage", "current", "power"))
    if label == _jetson.NOT_CONNECTED or not power.exists():
        return None
    return _hwmon.Rail(label, folder.parent.name, volt, curr, power, 1e-3)


def _channel(total: Sequence[str], rails: Sequence[_hwmon.Rail]) -> wire.Channel:
    """The total's channel; its step is the sum of its rails', 0 where one is not known."""
    steps = [_step_w(rail) for rail in rails]
    step = sum(steps) if all(steps) else 0.0
    return _of(rails, "+".join(total), _jetson.scope(total), True, step)


def _part(name: str, rail: _hwmon.Rail) -> wire.Channel:
    return _of((rail,), name, "rail", False, _step_w(rail))


def _of(rails: Sequence[_hwmon.Rail], name: str, scope: str, total: bool, step: float) -> wire.Channel:
    update = max(rail.update_s for rail in rails)
    if update >= AVERAGED_S:
        return wire.Channel("ina3221", name, scope, "averaged_power", total, update, step, update)
    return wire.Channel("ina3221", name, scope, "instant_power", total, update, step)


def _step_w(rail: _hwmon.Rail) -> float:
    """W by which a rail's power changes at least: 8 mV times the current plus 40 uV over the shunt times the voltage.

    0 where the shunt is not known, or the rail does not answer now.
    """
    if rail.shunt_uohm <= 0 or rail.power is not None:
        return 0.0
    try:
        voltage, current = _hwmon.product(rail)
    except (OSError, sensing.UnavailableError):
        return 0.0
    return _VOLT_LSB_MV * abs(current) / 1e6 + _SHUNT_LSB_UV / rail.shunt_uohm * voltage / 1e3


def _words(total: Sequence[str], rails: Mapping[str, _hwmon.Rail], channel: wire.Channel) -> str:
    parts = ", ".join("%s at %s%s" % (name, rails[name].address, _shunt(rails[name])) for name in total)
    others = ", ".join(name for name in rails if name not in total)
    step = "steps of %.0f mW" % (channel.resolution * 1e3) if channel.resolution else "steps unknown"
    every = "new every %.0f ms" % (channel.update_s * 1e3) if channel.update_s else "how often new: unknown"
    return "%s: %s; %s, %s%s" % (channel.scope, parts, every, step, "; parts: " + others if others else "")


def _shunt(rail: _hwmon.Rail) -> str:
    return " (shunt %d uOhm)" % rail.shunt_uohm if rail.shunt_uohm else ""

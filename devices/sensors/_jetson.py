"""Shared by the sensors of Jetson modules: which rails make up the total, so that none is counted twice."""

from typing import TYPE_CHECKING, Any, Mapping, Sequence, Tuple

from harness import sensing
from harness.decode import require

if TYPE_CHECKING:
    from devices.sensors import _options
else:
    import _options

NOT_CONNECTED = "NC"
# Rails that hold all others, and what they measure. VIN (Thor) lies before the carrier board.
_INPUTS = {"VDD_IN": "module", "POM_5V_IN": "module", "VIN": "dc_input"}
# AGX Orin has no such rail: its module is the sum of these.
_SUM = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
_WITHIN = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}  # memory is fed from the 5 V that are measured already
_USUAL = (("VDD_IN",), ("POM_5V_IN",), _SUM, ("VIN",))  # in this order, where no option says it


def total_option(options: Mapping[str, Any]) -> Tuple[str, ...]:
    """Return the rails of the option `total`, () where it is not given. Raises ValueError where a rail would count twice."""
    total = _options.names(options, "total", ())
    bare = [name.rsplit("/", 1)[-1] for name in total]
    for name in bare:
        require(name != NOT_CONNECTED, "option total must not name NC: nothing is connected there", list(total))
        require(
            name not in _INPUTS or len(total) == 1, "option total must not add to %s what it holds" % name, list(total)
        )
        holder = _WITHIN.get(name, "")
        require(holder not in bare, "option total must not add %s to %s, which holds it" % (name, holder), list(total))
    return total


def choose(total: Sequence[str], there: Sequence[str]) -> Tuple[str, ...]:
    """Return the rails of the total: those asked for, else the usual ones of the module that has these rails.

    Raises AbsentError, with the rails that are there, where one is missing.
    """
    listed = "there are " + ", ".join(there) if there else "there are none"
    hint = "Name those that make up the total: `total: [...]`"
    missing = [name for name in total if name not in there]
    if missing:
        raise sensing.AbsentError("no rail %s, so there is no total; %s. %s" % (", ".join(missing), listed, hint))
    for usual in () if total else _USUAL:
        if set(usual) <= set(there):
            return usual
    if not total:
        raise sensing.AbsentError("it is not known which rails make up this module's total; %s. %s" % (listed, hint))
    return tuple(total)


def scope(total: Sequence[str]) -> str:
    """Return what a total of these rails measures."""
    return _INPUTS.get(total[0].rsplit("/", 1)[-1], "module")

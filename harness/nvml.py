"""NVIDIA's management library, through ctypes: why a GPU's clock is what it is, its energy and its power.

Every query is asked for itself: a GPU that answers one may not know the next. Structures and codes are those of NVML's API
reference (nvml.h); what it says of power is quoted at `power_w`.
"""

import ctypes
from typing import Any, List, NamedTuple, Optional, Tuple

from harness.sensing import AbsentError, UnavailableError

LIBRARY = "libnvidia-ml.so.1"
POWER_AVERAGE, POWER_INSTANT = 185, 186  # NVML_FI_DEV_*, mW
_NAMES = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")  # new and old
_INVALID, _NOT_SUPPORTED, _NO_PERMISSION, _NO_DRIVER, _NO_FUNCTION, _UNSET = 2, 3, 4, 9, 13, 999
_WORDS = {
    1: "it was shut down",
    6: "it does not find the GPU",
    9: "its driver is not loaded",
    15: "the GPU is lost: it fell off the bus or its driver was reloaded",
    16: "the GPU must be reset",
    18: "library and driver are of different versions: restart the machine",
}


class _Value(ctypes.Union):
    _fields_ = [  # by nvmlValueType_t, 0 first
        ("double", ctypes.c_double),
        ("uint", ctypes.c_uint),
        ("ulong", ctypes.c_ulong),
        ("ulonglong", ctypes.c_ulonglong),
        ("longlong", ctypes.c_longlong),
        ("int", ctypes.c_int),
        ("ushort", ctypes.c_ushort),
    ]


class _Field(ctypes.Structure):
    _fields_ = [
        ("field", ctypes.c_uint),
        ("scope", ctypes.c_uint),
        ("timestamp_us", ctypes.c_longlong),
        ("latency_us", ctypes.c_longlong),
        ("type", ctypes.c_uint),
        ("code", ctypes.c_uint),
        ("value", _Value),
    ]


class Gpu(NamedTuple):
    """A GPU and the library that knows it."""

    number: int
    library: Any
    handle: Any


def gpus() -> List[Gpu]:
    """Return the GPUs; none where there is no driver."""
    try:
        library = ctypes.CDLL(LIBRARY)
        if library.nvmlInit_v2() != 0:
            return []
        return [_gpu(library, index) for index in range(_count(library))]
    except (OSError, AttributeError):
        return []


def _gpu(library: Any, index: int) -> Gpu:
    handle = ctypes.c_void_p()
    library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle))
    return Gpu(index, library, handle)


def _count(library: Any) -> int:
    count = ctypes.c_uint()
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    return count.value


def connect(number: int) -> Tuple[Gpu, int]:
    """Return a GPU by its number (that of nvidia-smi), and how many there are; give it to `disconnect` in the end.

    Raises AbsentError (no library, no driver, no such GPU), PermissionError, UnavailableError.
    """
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        raise AbsentError("no NVIDIA driver is installed here (no %s)" % LIBRARY) from None
    code = library.nvmlInit_v2()
    if code == _NO_DRIVER:
        raise AbsentError("no NVIDIA GPU with a loaded driver is here")
    _check(code, "anything")
    try:
        return _connected(library, number), _count(library)
    except BaseException:
        library.nvmlShutdown()
        raise


def _connected(library: Any, number: int) -> Gpu:
    count = _count(library)
    if number >= count:
        raise AbsentError("there is no GPU %d: this machine has %d, counted from 0" % (number, count))
    handle = ctypes.c_void_p()
    _check(library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(number), ctypes.byref(handle)), "itself")
    return Gpu(number, library, handle)


def disconnect(gpu: Gpu) -> None:
    """Undo one `connect`."""
    gpu.library.nvmlShutdown()


def clock_reasons(gpu: Gpu) -> int:
    """Return the bit mask of clock event reasons. Raises AbsentError (an old driver), UnavailableError."""
    ask = next((getattr(gpu.library, name) for name in _NAMES if hasattr(gpu.library, name)), None)
    if ask is None:
        raise AbsentError("this NVIDIA driver does not tell clock event reasons")
    mask = ctypes.c_ulonglong()
    _check(ask(gpu.handle, ctypes.byref(mask)), "clock event reasons")
    return mask.value


def energy_mj(gpu: Gpu) -> int:
    """Return the energy since the driver was loaded, mJ (Volta and newer). Raises as `power_w` does."""
    counter = ctypes.c_ulonglong()
    _ask(gpu, "nvmlDeviceGetTotalEnergyConsumption", "its energy", ctypes.byref(counter))
    return counter.value


def power_w(gpu: Gpu) -> float:
    """Return the power of `nvmlDeviceGetPowerUsage`, W: a mean over 1 s on Ampere (but GA100) and newer, else of a moment.

    Raises AbsentError (neither the GPU nor an old driver tells it), PermissionError, UnavailableError.
    """
    power = ctypes.c_uint()
    _ask(gpu, "nvmlDeviceGetPowerUsage", "its power", ctypes.byref(power))
    return power.value / 1000


def field_w(gpu: Gpu, field: int, scope: int) -> float:
    """Return a field of power, W; `scope` is 0 for the GPU, 1 for its module. Raises as `power_w` does."""
    asked = _Field(field=field, scope=scope, code=_UNSET)
    what = "its power as field %d" % field
    _ask(gpu, "nvmlDeviceGetFieldValues", what, ctypes.c_int(1), ctypes.byref(asked))
    if asked.code == _INVALID:
        raise AbsentError("this NVIDIA driver does not know %s" % what)
    _check(asked.code, what)
    if asked.type >= len(_Value._fields_):
        raise UnavailableError("NVML gave %s as type %d, which is none" % (what, asked.type))
    return float(getattr(asked.value, _Value._fields_[asked.type][0])) / 1000


def capability(gpu: Gpu) -> Optional[Tuple[int, int]]:
    """Return the compute capability, None where it is not told."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    ask = getattr(gpu.library, "nvmlDeviceGetCudaComputeCapability", None)
    if ask is None or ask(gpu.handle, ctypes.byref(major), ctypes.byref(minor)) != 0:
        return None
    return major.value, minor.value


def name(gpu: Gpu) -> Optional[str]:
    """Return what the GPU is called, None where it is not told."""
    return _text(gpu.library, "nvmlDeviceGetName", gpu.handle)


def driver(gpu: Gpu) -> Optional[str]:
    """Return the driver's version, None where it is not told."""
    return _text(gpu.library, "nvmlSystemGetDriverVersion")


def _text(library: Any, function: str, *handle: Any) -> Optional[str]:
    words = ctypes.create_string_buffer(96)
    ask = getattr(library, function, None)
    if ask is None or ask(*handle, words, ctypes.c_uint(len(words))) != 0:
        return None
    return words.value.decode("utf-8", "replace") or None


def _ask(gpu: Gpu, function: str, what: str, *arguments: Any) -> None:
    ask = getattr(gpu.library, function, None)
    if ask is None:
        raise AbsentError("this NVIDIA driver does not tell %s" % what)
    _check(ask(gpu.handle, *arguments), what)


def _check(code: int, what: str) -> None:
    if code in (_NOT_SUPPORTED, _NO_FUNCTION):
        raise AbsentError("this GPU does not tell %s" % what)
    if code == _NO_PERMISSION:
        raise PermissionError("NVML may not be asked for %s by this user" % what)
    if code != 0:
        words = "NVML answered with error %d" % code
        raise UnavailableError(words + (": " + _WORDS[code] if code in _WORDS else ""))

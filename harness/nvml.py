"""NVIDIA's management library, through ctypes: why a GPU's clock is what it is."""

import ctypes
from typing import Any, List, NamedTuple

from harness.sensing import AbsentError, UnavailableError

_NAMES = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")  # new and old


class Gpu(NamedTuple):
    """A GPU and the library that knows it."""

    number: int
    library: Any
    handle: Any


def gpus() -> List[Gpu]:
    """Return the GPUs; none where there is no driver."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        if library.nvmlInit_v2() != 0:
            return []
        count = ctypes.c_uint()
        library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        return [_gpu(library, index) for index in range(count.value)]
    except (OSError, AttributeError):
        return []


def _gpu(library: Any, index: int) -> Gpu:
    handle = ctypes.c_void_p()
    library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle))
    return Gpu(index, library, handle)


def clock_reasons(gpu: Gpu) -> int:
    """Return the bit mask of clock event reasons. Raises AbsentError (an old driver), UnavailableError."""
    ask = next((getattr(gpu.library, name) for name in _NAMES if hasattr(gpu.library, name)), None)
    if ask is None:
        raise AbsentError("this NVIDIA driver does not tell clock event reasons")
    mask = ctypes.c_ulonglong()
    code = ask(gpu.handle, ctypes.byref(mask))
    if code == 3:  # NVML_ERROR_NOT_SUPPORTED
        raise AbsentError("this GPU does not tell clock event reasons")
    if code != 0:
        raise UnavailableError("NVML answered with error %d" % code)
    return mask.value

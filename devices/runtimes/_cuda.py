"""CUDA's driver through ctypes: memory, a stream, graphs. Nothing else is needed but the driver that every GPU has.

The driver's own library (`libcuda.so.1`), not the toolkit's `libcudart`: it comes with each driver, on Jetson too, under one
name, and the functions used here have kept their binary interface since CUDA 11.4 (JetPack 5). Signatures: cuda.h.
"""

import ctypes
from typing import Any, Dict, List

from harness import wire

LIBRARY = "libcuda.so.1"
_SPIN, _NON_BLOCKING, _THREAD_LOCAL = 1, 1, 1  # CU_CTX_SCHED_SPIN, CU_STREAM_NON_BLOCKING, capture of this thread alone
_WAITS = {0: "auto", 1: "spin", 2: "yield", 4: "blocking"}
_ACTIVE = 708  # CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE
_MULTIPROCESSORS, _MAJOR, _MINOR = 16, 75, 76  # CUdevice_attribute
_U64 = ctypes.c_uint64


class NoDriverError(ImportError):
    """This machine has no CUDA driver, or no GPU that it can use."""

    installed = True  # no package of the runtime's would help: `harness runtimes` names none


class CudaError(RuntimeError):
    """A call of the driver failed; says which, and the driver's own words."""


class Driver:
    """The driver's library with every call checked. Raises NoDriverError where there is none."""

    def __init__(self, library: str = LIBRARY) -> None:
        try:
            self.library: Any = ctypes.CDLL(library)
        except OSError as error:
            raise NoDriverError(
                "no CUDA driver on this machine (%s): install NVIDIA's driver; on a Jetson, JetPack brings it" % error
            ) from None
        code = self.library.cuInit(ctypes.c_uint(0))
        if code:
            raise NoDriverError("the CUDA driver finds no GPU it can use: cuInit said %s" % self.words(code))

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the driver. Raises CudaError, MemoryError where the device's memory is exhausted."""
        code = getattr(self.library, name)(*arguments)
        if code == 2:
            raise MemoryError("%s: out of memory on the GPU" % name)
        if code:
            raise CudaError("%s said %s" % (name, self.words(code)))

    def words(self, code: int) -> str:
        """Return a result as the driver calls it, with its number."""
        text = ctypes.c_char_p()
        if self.library.cuGetErrorString(ctypes.c_int(code), ctypes.byref(text)) or not text.value:
            return "error %d" % code
        return "%s (error %d)" % (text.value.decode(), code)

    def version(self) -> str:
        """Return the newest CUDA version that this driver serves, such as "12.6"."""
        number = ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(number))
        return "%d.%d" % (number.value // 1000, number.value % 1000 // 10)


class Buffer:
    """Room for a tensor on the GPU, and beside it on the host in pinned memory. Addresses are plain integers."""

    def __init__(self, driver: Driver, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        device, host = _U64(), ctypes.c_void_p()
        driver.call("cuMemAlloc_v2", ctypes.byref(device), ctypes.c_size_t(max(1, size_bytes)))
        driver.call("cuMemHostAlloc", ctypes.byref(host), ctypes.c_size_t(max(1, size_bytes)), ctypes.c_uint(0))
        self.device, self.host = int(device.value), int(host.value or 0)

    def write(self, content: bytes) -> None:
        """Fill the host's half. Raises ValueError for another size."""
        if len(content) != self.size_bytes:
            raise ValueError("a tensor of %d bytes was given %d" % (self.size_bytes, len(content)))
        ctypes.memmove(self.host, content, self.size_bytes)

    def read(self) -> bytes:
        """Return the host's half."""
        return ctypes.string_at(self.host, self.size_bytes)


class Gpu:
    """The first GPU with its primary context, which other users of CUDA in this process share, and a stream of its own.

    Whoever waits for the stream spins: the shortest wait, at the price of a busy core. `wait` says what is in force.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        device, context, stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        driver.call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self.device = device
        code = driver.library.cuDevicePrimaryCtxSetFlags_v2(device, ctypes.c_uint(_SPIN))
        if code not in (0, _ACTIVE):  # older drivers refuse while somebody uses the context; `wait` tells what holds
            raise CudaError("cuDevicePrimaryCtxSetFlags_v2 said %s" % driver.words(code))
        driver.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        driver.call("cuCtxSetCurrent", context)
        driver.call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(_NON_BLOCKING))
        self.stream = int(stream.value or 0)
        self._stream = stream
        self._synchronise = driver.library.cuStreamSynchronize

    def facts(self) -> Dict[str, Any]:
        """Return `gpu` (its name), `compute_capability` ("8.7") and `multiprocessors`."""
        name = ctypes.create_string_buffer(256)
        self.driver.call("cuDeviceGetName", name, ctypes.c_int(len(name)), self.device)
        capability = "%d.%d" % (self._attribute(_MAJOR), self._attribute(_MINOR))
        processors = self._attribute(_MULTIPROCESSORS)
        return {"gpu": name.value.decode(), "compute_capability": capability, "multiprocessors": processors}

    def wait(self) -> str:
        """Return how the host waits for the GPU, read back from the context."""
        flags = ctypes.c_uint()
        self.driver.call("cuCtxGetFlags", ctypes.byref(flags))
        return _WAITS.get(flags.value & 7, "unknown")

    def buffer(self, size_bytes: int) -> Buffer:
        """Return room for a tensor. Raises MemoryError."""
        return Buffer(self.driver, size_bytes)

    def upload(self, buffers: List[Buffer]) -> None:
        """Enqueue the copies of buffers to the GPU."""
        for each in buffers:
            size = ctypes.c_size_t(each.size_bytes)
            self.driver.call("cuMemcpyHtoDAsync_v2", _U64(each.device), ctypes.c_void_p(each.host), size, self._stream)

    def download(self, buffers: List[Buffer]) -> None:
        """Enqueue the copies of buffers from the GPU."""
        for each in buffers:
            size = ctypes.c_size_t(each.size_bytes)
            self.driver.call("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(each.host), _U64(each.device), size, self._stream)

    def synchronise(self) -> None:
        """Wait until all that was enqueued is done. Raises CudaError for what went wrong in it."""
        if self._synchronise(self._stream):
            self.driver.call("cuStreamSynchronize", self._stream)

    def begin_capture(self) -> None:
        """Let what is enqueued from now on be recorded instead of done."""
        self.driver.call("cuStreamBeginCapture_v2", self._stream, ctypes.c_int(_THREAD_LOCAL))

    def end_capture(self) -> "Graph":
        """Return what was recorded. Raises CudaError where something in between cannot be."""
        graph = ctypes.c_void_p()
        self.driver.call("cuStreamEndCapture", self._stream, ctypes.byref(graph))
        return Graph(self.driver, graph, self._stream)

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self.driver.call("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(number), self.device)
        return value.value


class Graph:
    """A recorded inference, ready to be enqueued by one call. Raises CudaError when nothing was recorded."""

    def __init__(self, driver: Driver, graph: Any, stream: Any) -> None:
        count, self._ready = ctypes.c_size_t(), ctypes.c_void_p()
        driver.call("cuGraphGetNodes", graph, None, ctypes.byref(count))
        if not count.value:
            raise CudaError("nothing was recorded into the CUDA graph")
        self.nodes = count.value
        driver.call("cuGraphInstantiateWithFlags", ctypes.byref(self._ready), graph, ctypes.c_ulonglong(0))
        self._driver, self._stream = driver, stream
        self._launch = driver.library.cuGraphLaunch

    def launch(self) -> None:
        """Enqueue it."""
        if self._launch(self._ready, self._stream):
            self._driver.call("cuGraphLaunch", self._ready, self._stream)


def narrowed(tensor: wire.Tensor, dtype: str) -> bytes:
    """Return a tensor's bytes as the engine takes them: tokens as `int32` where it has no 64-bit integers.

    Raises ValueError for numbers that do not fit, TypeError for types that have nothing to do with each other.
    """
    import array

    if tensor.dtype == dtype:
        return tensor.raw()
    if (tensor.dtype, dtype) != ("int64", "int32"):
        raise TypeError("the engine takes %s, the network's input is %s" % (dtype, tensor.dtype))
    try:
        return array.array("i", array.array("q", tensor.raw())).tobytes()
    except OverflowError:
        raise ValueError("a token does not fit into 32 bits") from None

"""Shared by TensorRT and TensorRT-RTX, on the device: an engine with memory of its own, timed from call to synchronised end.

An inference is enqueued on one stream, and the call returns when the GPU is done. With `transfers=on` the copies of inputs to
the GPU and of outputs from it (pinned memory) lie within the call, else around it. With `cuda_graph=on` everything between was
recorded once and is launched by one call; where it cannot be recorded, that is an error.
"""

import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

from harness import wire

if TYPE_CHECKING:
    from devices.runtimes import _cuda, _tensorrt_build, _tensorrt_walk
else:
    import _cuda
    import _tensorrt_build
    import _tensorrt_walk

_DTYPES = {"FLOAT": ("float32", 4), "INT64": ("int64", 8), "INT32": ("int32", 4)}
_GRAPH_HINT = "leave `--option cuda_graph=on` out for this network"


class Place(NamedTuple):
    """A tensor of the engine: its shape, its numbers, and where it lies."""

    shape: Tuple[int, ...]
    dtype: str
    buffer: Any


class Session:
    """One engine, ready. `told`: what is known of how it was made, for `effective`."""

    def __init__(self, trt: Any, engine: Any, gpu: "_cuda.Gpu", options: Dict[str, Any], told: Dict[str, Any]) -> None:
        self.engine, self.gpu, self.told = engine, gpu, told
        self.transfers = options.get("transfers", "off") == "on"
        self.graph_wanted = options.get("cuda_graph", "off") == "on"
        self.context = engine.create_execution_context()
        if self.context is None:
            raise _tensorrt_build.Failed("TensorRT cannot make an execution context: too little memory on the GPU?")
        names = [engine.get_tensor_name(n) for n in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        self.inputs = [self._place(name) for name in names if modes[name]]
        self.outputs = [self._place(name) for name in names if not modes[name]]
        self.uploads: List[Any] = [place.buffer for place in self.inputs]
        self.downloads: List[Any] = [place.buffer for place in self.outputs]
        self.graph: Any = None
        self.enqueue: Callable[[], None] = self._steps
        self.layers = _tensorrt_walk.layers(inspected(trt, engine, self.context))

    def _place(self, name: str) -> Place:
        shape, word = tuple(self.context.get_tensor_shape(name)), self.engine.get_tensor_dtype(name).name
        if word not in _DTYPES or any(size < 0 for size in shape):
            raise _tensorrt_build.Failed(
                "tensor %s is %s of shape %s: float32, tokens and fixed shapes are taken" % (name, word, shape)
            )
        dtype, size = _DTYPES[word]
        for length in shape:
            size *= length
        buffer = self.gpu.buffer(size)
        if not self.context.set_tensor_address(name, buffer.device):
            raise _tensorrt_build.Failed("TensorRT refuses an address for tensor %s" % name)
        return Place(shape, dtype, buffer)

    def feed(self, inputs: Sequence[wire.Tensor]) -> None:
        """Take the network's inputs, in its order, and copy them to the GPU; the first time, record the graph."""
        for place, tensor in zip(self.inputs, inputs):
            if tuple(tensor.shape) != place.shape:
                raise ValueError("the engine takes %s, not %s" % (place.shape, tuple(tensor.shape)))
            place.buffer.write(_cuda.narrowed(tensor, place.dtype))
        self.gpu.upload(self.uploads)
        self.gpu.synchronise()
        if self.graph_wanted and self.graph is None:
            self._record()

    def __call__(self) -> None:
        """Do one inference; returns when the GPU is done. Its outputs stay where they are."""
        self.enqueue()
        self.gpu.synchronise()

    def fetch(self, result: Any) -> Tuple[wire.Tensor, ...]:
        """Return the outputs of the last inference."""
        if not self.transfers:
            self.gpu.download(self.downloads)
            self.gpu.synchronise()
        return tuple(wire.Tensor.of(place.shape, place.buffer.read()) for place in self.outputs)

    def effective(self) -> Dict[str, Any]:
        """Return the settings in force, read back from the engine, its configuration and the GPU."""
        counts = _tensorrt_walk.counted(self.layers)
        return {
            **self.told,
            "precision": self.precision(),
            **{"layers_" + name: count for name, count in counts.items()},
            "engine_layers": len(self.layers),
            "batch": self.inputs[0].shape[0],
            "transfers": "on" if self.transfers else "off",
            "cuda_graph": "off" if self.graph is None else "on",
            **({} if self.graph is None else {"cuda_graph_nodes": self.graph.nodes}),
            "wait": self.gpu.wait(),
            **self.gpu.facts(),
        }

    def precision(self) -> str:
        """The lowest numbers that a layer computes in; where none tells, those of a strongly typed network, else unknown."""
        read = _tensorrt_walk.precision(_tensorrt_walk.counted(self.layers))
        written = self.told.get("written", "") if self.told.get("typing") == "strong" else ""
        return read or written or "unknown"

    def _steps(self) -> None:
        if self.transfers:
            self.gpu.upload(self.uploads)
        if not self.context.execute_async_v3(self.gpu.stream):
            raise _tensorrt_build.Failed("TensorRT could not enqueue an inference")
        if self.transfers:
            self.gpu.download(self.downloads)

    def _record(self) -> None:
        """Record an inference; one goes before it, for the first does what none after it does (loading, compiling)."""
        self._steps()
        self.gpu.synchronise()
        capturable = getattr(self.context, "is_stream_capturable", None)
        if capturable is not None and not capturable(self.gpu.stream):
            raise _cuda.CudaError("TensorRT says that this engine cannot be recorded into a CUDA graph: " + _GRAPH_HINT)
        try:
            self.gpu.begin_capture()
            self._steps()
            self.graph = self.gpu.end_capture()
        except (_cuda.CudaError, _tensorrt_build.Failed) as error:
            raise _cuda.CudaError("the CUDA graph cannot be recorded (%s): %s" % (error, _GRAPH_HINT)) from None
        self.enqueue = self.graph.launch


def require_precision(session: Session, asked: str) -> None:
    """Raise Failed where an engine computes in other numbers than asked for: nothing falls back in silence."""
    got = session.precision()
    if got != asked:
        counts = {name: n for name, n in _tensorrt_walk.counted(session.layers).items() if n}
        raise _tensorrt_build.Failed(
            "precision: asked for %s, the engine computes in %s (layers: %s)"
            % (asked, got, counts or "none that tells")
        )


def inspected(trt: Any, engine: Any, context: Any) -> str:
    """Return what the engine's inspector says, as JSON."""
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def profiled(trt: Any, session: Session, seconds: float) -> Tuple[Dict[str, int], int]:
    """Return the median time of each layer by name, in ns, over inferences for `seconds`, and how many those were."""
    import statistics

    seen: Dict[str, List[float]] = {}

    class Clock(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            seen.setdefault(layer_name, []).append(ms)

    clock = Clock()
    session.context.profiler = clock
    count, end = 0, time.monotonic() + seconds
    while count == 0 or time.monotonic() < end:
        session._steps()
        session.gpu.synchronise()
        count += 1
    return {name: int(statistics.median(times) * 1e6) for name, times in seen.items()}, count

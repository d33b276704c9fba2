"""TensorRT on Jetson and desktop GPUs (`--runtime tensorrt`): ONNX is sent, the engine is built on the device itself.

    --precision fp16           by the builder's flag where the target says `tensorrt_typing: weak` (JetPack), else by fp16 weights
    --precision int8           explicit QDQ, symmetric, signed, calibrated on the task; what is not quantised stays fp32
    --option cuda_graph=on     an inference is recorded once and launched by one call
    --option transfers=on      copies to and from the GPU lie within what is timed
    --option optimization=5    the builder's level, 0 to 5 (3); TensorRT 8.5 has none
    --option builds=3          so many engines of each network, taken in turn by blocks: which tactics win varies by build

Engines are kept in the device's workdir, by model, versions, GPU, power mode, settings and number of the build; a session that
built its own says so, and its `load_ns` then holds the build. Timing ends when the GPU is done. TF32 is off. Which numbers
layers compute in is read back from the engine, and another precision than asked for is an error. docs/tensorrt.md has more.
"""

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Sequence, Tuple

from harness import wire

if TYPE_CHECKING:
    from devices.runtimes import (
        _cuda,
        _onnx_graph,
        _tensorrt_build,
        _tensorrt_engines,
        _tensorrt_export,
        _tensorrt_session,
        _tensorrt_versions,
        _tensorrt_walk,
    )
else:
    import _cuda
    import _onnx_graph
    import _tensorrt_build
    import _tensorrt_engines
    import _tensorrt_export
    import _tensorrt_session
    import _tensorrt_versions
    import _tensorrt_walk

PRECISIONS = ("fp32", "fp16", "int8")
FORMS = ("torch", "onnx")
OPTIONS: Dict[str, Tuple[str, ...]] = {
    "cuda_graph": ("off", "on"),
    "transfers": ("off", "on"),
    "optimization": ("3", "0", "1", "2", "4", "5"),
    "builds": ("1", "2", "3", "4", "5", "6", "8", "10"),
}
CONVERTERS = ("torch", "onnx", "onnxscript", "onnxruntime")
INSTALL = "sudo apt install python3-libnvinfer   (on a Jetson with JetPack; elsewhere: pip install tensorrt, from NVIDIA's index)"
TARGET: Dict[str, Tuple[str, ...]] = {
    "fp32": ("tensorrt_opset",),
    "fp16": ("tensorrt_opset", "tensorrt_typing"),
    "int8": ("tensorrt_opset",),
}


# --- on the controller ---------------------------------------------------------------------------------------------


def export(variant: Any, target: Any, precision: str, options: Dict[str, str], out: Path) -> Dict[str, Any]:
    """Write the variant as ONNX, as the exporter made it; how many operators are left is known on the device alone."""
    out.write_bytes(
        _tensorrt_export.model(variant, target, precision, options, target.get("tensorrt_typing", "strong"))
    )
    return {"ops_executed": None}


# --- on the device -------------------------------------------------------------------------------------------------


class Recipe(NamedTuple):
    """All that an engine is made of. `ingredients` say the same as names and hashes: two equal ones are the same engine."""

    model: bytes
    settings: "_tensorrt_versions.Settings"
    level: str
    threads: int
    ingredients: Dict[str, Any]

    @property
    def name(self) -> str:
        """What its engine is kept under."""
        return _tensorrt_engines.key(self.ingredients)

    @property
    def timings(self) -> str:
        """What timings are kept under: other networks share them, other builds do not."""
        return _tensorrt_engines.key({name: it for name, it in self.ingredients.items() if name != "model"})


def versions() -> Dict[str, str]:
    """Return the versions of TensorRT and of the CUDA that the driver serves. Raises ImportError when one is not there."""
    return {"tensorrt": str(_tensorrt().__version__), "cuda_driver": _cuda.Driver().version()}


def prepare(path: str, options: Dict[str, Any]) -> None:
    """Build what blocks will need and is not kept yet: minutes, which no measured process should take."""
    trt, gpu = _tensorrt(), _cuda.Gpu(_cuda.Driver())
    store, log = _tensorrt_engines.Store(path), _tensorrt_build.Log(_tensorrt())
    for number in range(_builds(options)):
        recipe = recipe_of(path, options, number, facts(trt, gpu))
        if store.find(recipe.name) is None:
            store.keep(recipe.name, _built(trt, log, recipe, store))


def load(path: str, options: Dict[str, Any]) -> "_tensorrt_session.Session":
    """Return a session with the engine that belongs to the block, built first where it is not kept yet.

    Raises Failed with TensorRT's own words, ImportError without TensorRT or a GPU.
    """
    trt, gpu = _tensorrt(), _cuda.Gpu(_cuda.Driver())
    store, log = _tensorrt_engines.Store(path), _tensorrt_build.Log(trt)
    number = int(options.get("block", 0)) % _builds(options)
    recipe = recipe_of(path, options, number, facts(trt, gpu))
    runtime = trt.Runtime(log.sink)
    told = {"builds": str(_builds(options)), "build": number, "threads": _threads(runtime, recipe.threads)}
    engine, how = _engine(trt, runtime, log, recipe, store)
    session = _tensorrt_session.Session(trt, engine, gpu, options, {**told, **how})
    _tensorrt_session.require_precision(session, str(options["precision"]))
    return session


def operators(
    path: str, options: Dict[str, Any], inputs: Sequence[wire.Tensor], seconds: float
) -> Tuple[List[Dict[str, Any]], int]:
    """Return the engine's layers as fields of `wire.Operator`, and over how many inferences their times are medians.

    No times with `seconds` 0. A graph launch has no layers, so nothing is recorded for it.
    """
    session = load(path, {**options, "cuda_graph": "off"})
    session.feed(inputs)
    times, count = _tensorrt_session.profiled(_tensorrt(), session, seconds) if seconds > 0 else ({}, 0)
    return _tensorrt_walk.operators(session.layers, times), count


def recipe_of(path: str, options: Dict[str, Any], number: int, machine: Dict[str, Any]) -> Recipe:
    """Return how the engine of a build is made on a machine (`facts`). Raises ValueError where that version cannot."""
    model = Path(path).read_bytes()
    precision, level = str(options["precision"]), str(options.get("optimization", OPTIONS["optimization"][0]))
    half = _onnx_graph.read(path).holds_float16()
    settings = _tensorrt_versions.settings(machine["tensorrt"], precision, half)
    made_of = {"model": hashlib.sha256(model).hexdigest(), "build": number, "precision": precision}
    asked = {"batch": int(options["batch"]), "optimization": level, "settings": list(settings)}
    return Recipe(model, settings, level, int(options["threads"]), {**machine, **made_of, **asked})


def facts(trt: Any, gpu: "_cuda.Gpu") -> Dict[str, Any]:
    """Return what an engine depends on of this machine."""
    return {"tensorrt": str(trt.__version__), "power_mode": _tensorrt_engines.power_mode(), **gpu.facts()}


def _tensorrt() -> Any:
    try:
        import tensorrt
    except ImportError as error:
        raise ImportError(
            "TensorRT is not installed for this Python (%s): on a Jetson, `sudo apt install python3-libnvinfer` and leave"
            " `python:` at the system's; elsewhere NVIDIA's package `tensorrt`" % error
        ) from None
    return tensorrt


def _builds(options: Dict[str, Any]) -> int:
    return int(options.get("builds", OPTIONS["builds"][0]))


def _threads(runtime: Any, threads: int) -> int:
    """Give the runtime its threads and read them back; the enqueueing one is the only one where it has no such setting."""
    if not hasattr(runtime, "max_threads"):
        return 1
    runtime.max_threads = threads
    return int(runtime.max_threads)


def _engine(
    trt: Any, runtime: Any, log: "_tensorrt_build.Log", recipe: Recipe, store: "_tensorrt_engines.Store"
) -> Tuple[Any, Dict[str, Any]]:
    """Return the engine, kept or built, and how it was made; a kept one that does not load is removed and built again."""
    kept = store.find(recipe.name)
    if kept is not None:
        engine = runtime.deserialize_cuda_engine(kept.plan)
        if engine is not None:
            return engine, {**kept.about, "engine": "kept"}
        store.drop(recipe.name)
    built = _built(trt, log, recipe, store)
    store.keep(recipe.name, built)
    engine = runtime.deserialize_cuda_engine(built.plan)
    if engine is None:
        raise _tensorrt_build.Failed("TensorRT cannot load the engine that it built: %s" % log.last_words())
    return engine, {**built.about, "engine": "built in this process"}


def _built(
    trt: Any, log: "_tensorrt_build.Log", recipe: Recipe, store: "_tensorrt_engines.Store"
) -> "_tensorrt_engines.Engine":
    began = time.monotonic()
    timings = store.timings(recipe.timings)
    built = _tensorrt_build.build(trt, log, recipe.model, recipe.settings, recipe.level, recipe.threads, timings)
    store.keep_timings(recipe.timings, built.timings)
    known = {name: recipe.ingredients[name] for name in ("power_mode", "build")}
    about = {**built.told, **known, "build_s": round(time.monotonic() - began, 3), "written": _written(recipe)}
    return _tensorrt_engines.Engine(built.plan, about)


def _written(recipe: Recipe) -> str:
    """The numbers that the network itself is written in, which a strongly typed engine keeps to."""
    return str(recipe.ingredients["precision"]) if recipe.settings.strongly_typed else ""

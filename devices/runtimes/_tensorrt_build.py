"""Shared by TensorRT and TensorRT-RTX: an ONNX model through parser and builder, to a plan, with the words of what went wrong."""

import sys
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence

if TYPE_CHECKING:
    from devices.runtimes import _tensorrt_versions
else:
    import _tensorrt_versions

_KEPT = 8  # of the log's messages


class Built(NamedTuple):
    """A serialised engine, what is in force of its settings (read back), and the timings that the builder took."""

    plan: bytes
    told: Dict[str, Any]
    timings: bytes


class Failed(RuntimeError):
    """Parser, builder or loader refused; says in whose words."""


class Log:
    """What TensorRT says: warnings and errors go to standard error, the last are kept to be quoted."""

    def __init__(self, trt: Any) -> None:
        said: List[str] = []
        self.said = said

        class Sink(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR, trt.ILogger.WARNING):
                    said.append(message.strip())
                    sys.stderr.write(message.strip() + "\n")

        self.sink: Any = Sink()

    def last_words(self) -> str:
        """Return the newest messages, newest first."""
        return " | ".join(reversed(self.said[-_KEPT:])) or "it said nothing"


def build(
    trt: Any,
    log: Log,
    model: bytes,
    settings: "_tensorrt_versions.Settings",
    level: str,
    threads: int = 1,
    timings: Optional[bytes] = None,
    capabilities: Sequence[Any] = (),
) -> Built:
    """Build an engine. `timings`: those of earlier builds, b"" to begin, None to neither read nor give any.

    Raises Failed: the parser's errors by node, or the log's last words where the builder gives nothing.
    """
    builder = trt.Builder(log.sink)
    if hasattr(builder, "max_threads"):
        builder.max_threads = threads
    network = builder.create_network(_bits(trt.NetworkDefinitionCreationFlag, settings.network_flags))
    parser = trt.OnnxParser(network, log.sink)
    if not parser.parse(model):
        raise Failed("TensorRT cannot read this network: %s" % complaints(parser))
    config = _configured(trt, builder, settings, level, capabilities)
    cache = None if timings is None else _timings(config, timings)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Failed("TensorRT cannot build this network: %s" % log.last_words())
    learnt = b"" if cache is None else bytes(cache.serialize())
    return Built(bytes(plan), _told(trt, config, settings, network), learnt)


def complaints(parser: Any) -> str:
    """Return the parser's errors, each with its node and operator where it names them."""
    found = []
    for each in map(parser.get_error, range(parser.num_errors)):
        operator, name = (getattr(each, word, str)() for word in ("node_operator", "node_name"))
        where = " ".join(part for part in (operator, name) if part) or "node %d" % each.node()
        found.append("%s: %s" % (where, each.desc()))
    return "; ".join(found) or "no reason given"


def _bits(kind: Any, names: Sequence[str]) -> int:
    return sum(1 << int(getattr(kind, name)) for name in names)


def _configured(trt: Any, builder: Any, settings: Any, level: str, capabilities: Sequence[Any]) -> Any:
    config = builder.create_builder_config()
    for name in settings.flags:
        config.set_flag(getattr(trt.BuilderFlag, name))
    for name in settings.cleared:
        config.clear_flag(getattr(trt.BuilderFlag, name))
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else the inspector tells names alone
    if settings.levels:
        config.builder_optimization_level = int(level)
    elif level != _tensorrt_versions.LEVELS[0]:
        raise Failed("optimization=%s: TensorRT before 8.6 has no levels, leave the option out" % level)
    if capabilities:
        config.num_compute_capabilities = len(capabilities)
        for place, each in enumerate(capabilities):
            config.set_compute_capability(each, place)
    return config


def _timings(config: Any, timings: bytes) -> Any:
    """Give the builder the timings of earlier builds; what it refuses (another version, damage) is begun anew."""
    cache = config.create_timing_cache(timings)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _told(trt: Any, config: Any, settings: Any, network: Any) -> Dict[str, Any]:
    """Read the settings back from the configuration."""
    flags = [name for name in ("FP16", "INT8", "BF16") if hasattr(trt.BuilderFlag, name)]
    in_force = [name for name in flags if config.get_flag(getattr(trt.BuilderFlag, name))]
    return {
        "optimization": str(config.builder_optimization_level) if settings.levels else "fixed",
        "tf32": "on" if config.get_flag(trt.BuilderFlag.TF32) else "off",
        "flags": ",".join(in_force),
        "typing": "strong" if settings.strongly_typed else "weak",
        "network_layers": network.num_layers,
    }

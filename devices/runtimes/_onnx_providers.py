"""ONNX Runtime's execution providers, on the device: what `--option provider=` means, and a session that has no other.

    cpu        every ONNX Runtime has it
    cuda       `pip install onnxruntime-gpu`, or the wheel that NVIDIA makes for JetPack; CUDA and cuDNN of its version
    tensorrt   the same wheels, and TensorRT; engines are kept in the device's workdir, by everything they depend on

Asked for alone, with ONNX Runtime's own fall-back to the CPU switched off: a node that the provider cannot take is an error
at load (onnxruntime_session_options_config_keys.h, `session.disable_cpu_ep_fallback`, since 1.16).
"""

import hashlib
import os
from pathlib import Path
from typing import Any, Dict, List, Tuple

CPU = "CPUExecutionProvider"
NAMES = {"cpu": CPU, "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_NO_FALLBACK = "session.disable_cpu_ep_fallback"
_STRICT_SINCE = (1, 16)  # before, the setting is taken and ignored
_HOW = {
    "cuda": "install onnxruntime-gpu with its CUDA and cuDNN (on a Jetson: NVIDIA's wheel for its JetPack) instead of "
    "onnxruntime, in the Python that runs the runtime",
    "tensorrt": "install onnxruntime-gpu with its CUDA, cuDNN and TensorRT (on a Jetson: NVIDIA's wheel for its JetPack) "
    "instead of onnxruntime, in the Python that runs the runtime",
}


class ProviderError(RuntimeError):
    """The provider that was asked for is not there, or does not take the whole network."""


def session(path: str, settings: Any, name: str, precision: str = "fp32") -> Any:
    """Return a session in which the provider of NAMES `name` computes everything. Raises ProviderError, else ONNX Runtime's."""
    import onnxruntime

    wanted = NAMES.get(name, name)
    if wanted != CPU:
        _require(onnxruntime, name, wanted)
        settings.add_session_config_entry(_NO_FALLBACK, "1")  # allowed only where the CPU is not asked for itself
    try:
        made = onnxruntime.InferenceSession(path, settings, providers=[(wanted, _settings(path, name, precision))])
    except Exception as error:
        if "assigned to the default CPU EP" not in str(error):
            raise
        raise ProviderError(
            "%s does not take every node of this network, and the CPU is not to help out: measure it with "
            "--option provider=cpu, or with another precision or optimization (%s)" % (name, error)
        ) from error
    if made.get_providers() != list(dict.fromkeys((wanted, CPU))):
        raise ProviderError(
            "asked for %s, in force is %s: its libraries could not be loaded; %s"
            % (wanted, ", ".join(made.get_providers()), _HOW.get(name, "see ONNX Runtime's log"))
        )
    made.disable_fallback()
    return made


def _require(onnxruntime: Any, name: str, wanted: str) -> None:
    there = onnxruntime.get_available_providers()
    if wanted not in there:
        raise ProviderError(
            "provider %s (%s) is not in this onnxruntime %s, which has %s: %s"
            % (name, wanted, onnxruntime.__version__, ", ".join(there), _HOW.get(name, "install another build"))
        )
    if _release(onnxruntime.__version__) < _STRICT_SINCE:
        raise ProviderError(
            "onnxruntime %s cannot be kept from falling back to the CPU without a word: provider %s needs 1.16 or newer"
            % (onnxruntime.__version__, name)
        )


def _release(version: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _settings(path: str, name: str, precision: str) -> Dict[str, str]:
    """Return the provider's own settings: nothing tuned while it is timed, no TF32, engines kept where others are."""
    if name == "cuda":
        return {"cudnn_conv_algo_search": "EXHAUSTIVE", "use_tf32": "0"}
    if name != "tensorrt":
        return {}
    flags = {"trt_fp16_enable": str(int(precision == "fp16")), "trt_int8_enable": str(int(precision == "int8"))}
    folder = _engines(path, flags)
    if folder is None:
        return flags
    kept = {"trt_engine_cache_enable": "1", "trt_timing_cache_enable": "1"}
    places = {"trt_engine_cache_path": str(folder), "trt_timing_cache_path": str(folder)}
    return {**flags, **kept, **places}


def _engines(path: str, flags: Dict[str, str]) -> Any:
    """Return the folder of a network's engines in the workdir, made; None for an artifact that lies elsewhere.

    ONNX Runtime itself names engines by graph, TensorRT and GPU; here the rest: its own version, artifact and flags.
    """
    import onnxruntime

    holder = Path(path).absolute().parent
    if holder.name != "artifacts":
        return None
    said = [Path(path).name, onnxruntime.__version__, *sorted("%s=%s" % item for item in flags.items())]
    folder = holder.parent / "engines" / ("onnxruntime-" + hashlib.sha256("\n".join(said).encode()).hexdigest()[:16])
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(str(folder))  # used just now: the last to go when the workdir is full
    return folder


def in_force(made: Any) -> Dict[str, str]:
    """Return the provider by its short name, all that the session has, and settings that it says are in force."""
    providers: List[str] = made.get_providers()
    short = {full: name for name, full in NAMES.items()}
    told = made.get_provider_options().get(providers[0], {})
    read = {key: str(told[key]) for key in ("use_tf32", "trt_fp16_enable", "trt_int8_enable") if key in told}
    return {"provider": short.get(providers[0], providers[0]), "providers": ",".join(providers), **read}

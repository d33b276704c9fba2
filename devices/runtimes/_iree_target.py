"""What IREE compiles for: a processor, or a GPU of NVIDIA's, whose driver finishes the code (PTX) when it is loaded."""

import re
from typing import Any, Dict, List, Optional

_OPTIMISED = "--iree-opt-level=O3"
_LOCAL = ("--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu")
_CPU = ("cpu", "triple")
# The GPUs that IREE 3.13 has code for. It refuses sm_90 ("missing GPU target") and dies of "h100"; PTX runs on what is newer.
_KNOWN = ("6.0", "7.0", "7.5", "8.0", "8.6", "8.7", "8.9")
_HALF = ("+fullfp16", "+avx512fp16")  # features by which a processor computes in half precision


class WrongTargetError(RuntimeError):
    """An artifact was made for another processor or GPU than is here; a second process would fail alike."""

    cause = "wrong-target"


def flags(target: Any, device: str) -> List[str]:
    """Return the compiler's flags. Raises ValueError where the target does not say enough."""
    if device == "cuda":
        return [_OPTIMISED, "--iree-hal-target-device=cuda", "--iree-cuda-target=" + _architecture(target)]
    known = {key: target[key] for key in _CPU if key in target} or {"cpu": "host"}
    if "triple" in known and "cpu" not in known:  # the compiler would take a generic one
        raise ValueError("the device's target says triple %s, but not which cpu" % known["triple"])
    return [_OPTIMISED, *_LOCAL, *("--iree-llvmcpu-target-%s=%s" % item for item in known.items())]


def _architecture(target: Any) -> str:
    asked = target.get("compute_capability")
    if asked is None:
        raise ValueError(
            "the device's target says no compute_capability: name its GPU's, such as \"8.9\", under `target:` of a profile "
            "of its own (there: nvidia-smi --query-gpu=compute_cap --format=csv)"
        )
    fitting = [each for each in _KNOWN if _number(each) <= _number(asked)]
    if not fitting:
        raise ValueError("IREE compiles for compute capability %s and newer, not %s" % (_KNOWN[0], asked))
    return "sm_" + fitting[-1].replace(".", "")


def _number(capability: str) -> List[int]:
    if not re.fullmatch(r"[0-9]{1,2}\.[0-9]", capability):
        raise ValueError('a compute_capability is a number such as "8.7", not %r' % capability)
    return [int(part) for part in capability.split(".")]


def about(said: str, target: Any, device: str) -> Dict[str, str]:
    """Return what an artifact says of itself, from what the compiler printed of its target."""
    if device == "cuda":
        architecture = re.search(r'#iree_gpu.target<arch = "(sm_[0-9]+)"', said)
        if architecture is None:
            raise RuntimeError("iree-compile has no code for compute capability %s" % target["compute_capability"])
        capability = target["compute_capability"]
        return {"cpu": architecture[1], "compute_capability": capability, "half_arithmetic": "fp16", "device": "cuda"}
    found = dict(re.findall(r'\b(cpu|cpu_features|target_triple) = "([^"]*)"', said))
    half = not set(_HALF).isdisjoint(found["cpu_features"].split(","))
    kind = "fp16" if half else "fp32"
    return {"cpu": found["cpu"], "triple": found["target_triple"], "half_arithmetic": kind, "device": "cpu"}


def require_architecture(triple: str, here: str) -> None:
    """Raise WrongTargetError unless a processor of this architecture is here: IREE would say INCOMPATIBLE, and no more."""
    made_for = triple.partition("-")[0]
    if made_for != here:
        raise WrongTargetError(
            "compiled for %s, this is %s: give the device the profile of what it is in the inventory" % (made_for, here)
        )


def require_gpu(made_for: str, here: Optional[str]) -> None:
    """Raise WrongTargetError unless the GPU here is the one that an artifact was made for."""
    if made_for != here:
        raise WrongTargetError(
            "compiled for compute capability %s, the GPU here has %s: give the device a profile whose `target:` says "
            "compute_capability %s" % (made_for, here, here)
        )

"""What differs between TensorRT's versions, as one decision: a version and a precision in, settings by name out.

                     8.5, 8.6                 10.x                               11, TensorRT-RTX 1.7
    network flags    EXPLICIT_BATCH           none; STRONGLY_TYPED for fp16      none: every network is strongly typed
                                              weights
    fp16             flag FP16                flag FP16, or fp16 weights         fp16 weights; the flag is gone
    int8             flag INT8 and QDQ        flag INT8 and QDQ                  QDQ; the flag is gone
    tokens           int32                    int64                              int64
    level            8.6: 0 to 5; 8.5: none   0 to 5                             0 to 5

Alike in all: execute_async_v3 and named tensors (from 8.5), the TF32 flag, which stands until it is cleared, the inspector.
Known from the Python bindings of 8.6.1, 10.3.0, 10.16.1, 11.4.0 and TensorRT-RTX 1.7.1 themselves, of 8.5 from its documentation.
"""

from typing import NamedTuple, Tuple

OLDEST = (8, 5)
LEVELS = ("3", "0", "1", "2", "4", "5")  # of the builder's optimisation, its own default first


class Settings(NamedTuple):
    """Names of flags to set and to clear, and whether there are levels of optimisation."""

    network_flags: Tuple[str, ...]
    flags: Tuple[str, ...]
    cleared: Tuple[str, ...]
    strongly_typed: bool
    levels: bool


def number(version: str) -> Tuple[int, int]:
    """Return major and minor version. Raises ValueError where it is none, or too old."""
    parts = version.split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts[:2]):
        raise ValueError("TensorRT's version %r is none" % version)
    found = int(parts[0]), int(parts[1])
    if found < OLDEST:
        raise ValueError("TensorRT %s is too old: named tensors need 8.5 (JetPack 5.1)" % version)
    return found


def settings(version: str, precision: str, half: bool) -> Settings:
    """Return the settings for a network whose weights are fp16 (`half`) or not.

    Raises ValueError where that version cannot build such a network at that precision, with what to export instead.
    """
    major, minor = number(version)
    typed = major >= 11 or half
    if precision != "fp16" and half:
        raise ValueError("the network has fp16 weights, but %s is asked for" % precision)
    if half and major < 10:
        raise ValueError(
            "TensorRT %s knows no fp16 weights: say `tensorrt_typing: weak` in the profile's target" % version
        )
    if precision == "fp16" and typed and not half:
        raise ValueError(
            "TensorRT %s takes fp16 from the network's own types alone: say `tensorrt_typing: strong` in the profile's"
            " target, or leave that line out" % version
        )
    by_flag = {"fp16": ("FP16",), "int8": ("INT8",)}.get(precision, ()) if not typed else ()
    network = ("EXPLICIT_BATCH",) if major < 10 else ("STRONGLY_TYPED",) if typed and major < 11 else ()
    return Settings(network, by_flag, ("TF32",), typed, (major, minor) >= (8, 6))


def settings_of_rtx(precision: str, half: bool) -> Settings:
    """Return those for TensorRT-RTX, which is typed as TensorRT 11 is. Raises ValueError likewise."""
    return settings("11.0", precision, half)

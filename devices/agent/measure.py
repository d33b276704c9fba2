"""Measures one artifact in this process: load, check, warm up until steady, time.

A session is what a runtime's `load(path, options)` returns: `feed(inputs)` takes the network's inputs, `session()` does
one inference and returns a raw result, `fetch(result)` turns that into tensors, `effective()` says what is in force,
read back: "threads", "precision", "batch" (that of the inputs fed last), every option by its name, and what else helps.
"""

import array
import gc
import statistics
import sys
from pathlib import Path
from time import monotonic_ns as clock  # the journal's clock; on Linux perf_counter_ns reads the same one
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

from devices.agent import pinning
from harness import wire
from harness.decode import build

_STEADY_WINDOWS = 3
_WINDOW_LEAST = 5  # iterations

Tensors = Tuple[wire.Tensor, ...]


class WrongOutputError(Exception):
    """An artifact computes something else than the network it was made from."""

    cause = "wrong-output"


class SettingIgnoredError(Exception):
    """What is in force is not what the case asked for, or the runtime does not say."""

    cause = "setting-ignored"


def measure(runtime: Any, request: Dict[str, Any]) -> Dict[str, Any]:
    """Measure one case; returns the measured fields of a `process` event. Raises whatever the runtime raises."""
    case = build(wire.JobCase, request["case"], "case")
    protocol = build(wire.Protocol, request["protocol"], "protocol")
    before = clock()
    session = runtime.load(request["artifact"], options_of(request))
    load_ns = clock() - before
    error, effective = prove(session, request["sample"], case)
    warmup_ns, steady = warm_up(session.__call__, protocol)
    start_ns, latency_ns = time_session(session.__call__, protocol)
    return {
        "load_ns": load_ns,
        "artifact_error": error,
        "effective": effective,
        "warmup_ns": warmup_ns,
        "steady": steady,
        "start_ns": start_ns,
        "latency_ns": latency_ns,
    }


def prove(session: Any, sample: str, case: wire.JobCase) -> Tuple[float, Dict[str, Any]]:
    """Check the outputs on the sample at that path and what is in force; returns the error and the latter.

    Raises WrongOutputError, SettingIgnoredError, WireError.
    """
    error = check(session, read_sample(sample), case)
    effective = session.effective()
    if wire.CPUS in case.options:
        effective[wire.CPUS] = pinning.in_force()
    require_effective(case, effective)
    return error, effective


def options_of(request: Dict[str, Any]) -> Dict[str, Any]:
    """Return what a runtime is told of a case: its own options, what all cases have, its sample's path, the block (from 1)."""
    case = request["case"]
    named = {name: case[name] for name in ("threads", "batch", "precision")}
    return {**case["options"], **named, "sample": request["sample"], "block": request.get("block", 1)}


def read_sample(path: str) -> wire.Sample:
    """Read the inputs and the torch network's outputs. Raises WireError."""
    return wire.decode(wire.Sample, Path(path).read_text(encoding="utf-8"), path)


def check(session: Any, sample: wire.Sample, case: wire.JobCase) -> float:
    """Return the greatest relative max-abs error over the sample, fed in sets of the case's batch; raises WrongOutputError.

    Relative to the largest expected magnitude. The first set stays fed, for the timing.
    """
    worst = 0.0
    sets = list(input_sets(sample, case.batch))
    for inputs, expected in reversed(sets):
        session.feed(inputs)
        worst = max(worst, relative_error(session.fetch(session()), expected))
    if not worst <= case.tolerance:
        raise WrongOutputError("relative max-abs error %.3g, tolerated %.3g" % (worst, case.tolerance))
    return worst


def require_effective(case: wire.JobCase, effective: Dict[str, Any]) -> None:
    """Raise SettingIgnoredError unless threads, precision and the case's options are in force as asked for.

    So is the batch, where the runtime tells; that the sample could be fed in sets of it has been seen already.
    """
    asked: Dict[str, Any] = {"threads": case.threads, "precision": case.precision, **case.options}
    if "batch" in effective:
        asked["batch"] = case.batch
    for key, value in asked.items():
        got = effective.get(key, "unknown")
        if str(got) != str(value):
            raise SettingIgnoredError("%s: asked for %s, in force is %s" % (key, value, got))


def input_sets(sample: wire.Sample, batch: int) -> Iterator[Tuple[Tensors, Tensors]]:
    """Cut the sample's rows into sets of `batch`: (inputs, expected outputs) of one inference each."""
    rows = sample.inputs[0].shape[0]
    if rows % batch or any(t.shape[0] != rows for t in (*sample.inputs, *sample.outputs)):
        raise ValueError("a sample of %d rows cannot be fed in batches of %d" % (rows, batch))
    for first in range(0, rows, batch):
        inputs, outputs = (tuple(t.rows(first, batch) for t in side) for side in (sample.inputs, sample.outputs))
        yield inputs, outputs


def relative_error(actual: Sequence[wire.Tensor], expected: Sequence[wire.Tensor]) -> float:
    """max |actual - expected| / max |expected| over all outputs; infinite when a value is not finite or shapes differ."""
    if [tensor.shape for tensor in actual] != [tensor.shape for tensor in expected]:
        return float("inf")
    difference = magnitude = 0.0
    for ours, theirs in zip(map(_floats, actual), map(_floats, expected)):
        difference = max(difference, *(abs(a - b) if a - b == a - b else float("inf") for a, b in zip(ours, theirs)))
        magnitude = max(magnitude, *map(abs, theirs))
    return difference / magnitude if magnitude else difference


def _floats(tensor: wire.Tensor) -> Sequence[float]:
    values = array.array("f", tensor.raw())
    if sys.byteorder == "big":
        values.byteswap()
    return values if len(values) > 1 else [values[0], values[0]]


def warm_up(infer: Callable[[], object], protocol: wire.Protocol) -> Tuple[List[int], bool]:
    """Run until the medians of the last three windows lie within the tolerance; returns every latency, and whether so.

    A window is at least 5 inferences and `warmup_window_s` long, but no longer than a third of the cap, so that a slow
    network is judged too. Ends unsteady at the cap (in time, or `max_samples` inferences).
    """
    end = clock() + int(protocol.warmup_cap_s * 1e9)
    latencies: List[int] = []
    medians: List[float] = []
    while True:
        window = _window(infer, protocol)
        latencies += window
        medians.append(statistics.median(window))
        last = medians[-_STEADY_WINDOWS:]
        if len(last) == _STEADY_WINDOWS and max(last) <= min(last) * (1 + protocol.warmup_tolerance):
            return latencies, True
        if len(medians) >= _STEADY_WINDOWS and (clock() >= end or len(latencies) >= protocol.max_samples):
            return latencies, False


def _window(infer: Callable[[], object], protocol: wire.Protocol) -> List[int]:
    start = clock()
    long_enough = start + int(protocol.warmup_window_s * 1e9)
    too_long = start + int(protocol.warmup_cap_s * 1e9) // _STEADY_WINDOWS
    most = max(_WINDOW_LEAST, protocol.max_samples // (2 * _STEADY_WINDOWS))
    latencies: List[int] = []
    while True:
        before = clock()
        infer()
        after = clock()
        latencies.append(after - before)
        enough = len(latencies) >= _WINDOW_LEAST and (after >= long_enough or len(latencies) >= most)
        if enough or after >= too_long:
            return latencies


def time_session(infer: Callable[[], object], protocol: wire.Protocol) -> Tuple[List[int], List[int]]:
    """Time inference by inference for `timed_s` and at least `min_samples`; returns start times and latencies, in ns.

    Between the two clock reads lies nothing but the call. Garbage collection is off; what lives already is frozen.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        return _time(infer, int(protocol.timed_s * 1e9), protocol.min_samples, protocol.max_samples)
    finally:
        gc.enable()
        gc.unfreeze()


def _time(infer: Callable[[], object], timed_ns: int, least: int, most: int) -> Tuple[List[int], List[int]]:
    starts: List[int] = []
    latencies: List[int] = []
    keep_start, keep_latency, read = starts.append, latencies.append, clock
    end = read() + timed_ns
    for count in range(1, most + 1):
        before = read()
        infer()
        after = read()
        keep_start(before)
        keep_latency(after - before)
        if after >= end and count >= least:
            break
    return starts, latencies

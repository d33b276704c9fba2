"""The process of one energy pass: loads a case and proves it as `measure` does, then infers for a window; or is idle.

    load, check, warm up | a stretch without the sampler | "go" | the same stretch with it | lead, phase | window | lead

No latency that is compared comes from here: the medians of the two stretches are the sampler's effect, nothing else. The
phase is random, so that windows do not keep step with the sensor's updates. `closed` infers back to back; `paced` begins
inference k at start + k periods, asleep until then, and its window is a whole number of periods, idle time included.
"""

import array
import contextlib
import gc
import json
import os
import select
import statistics
import time
from time import monotonic_ns as clock
from typing import Any, Callable, Dict, Iterator, Optional, Sequence

from devices.agent import measure as measuring
from devices.agent import pinning, worker
from harness import wire
from harness.decode import build

_ACK_S = 10.0
_STRETCH_NS, _STRETCH_LEAST, _STRETCH_MOST_NS = 300_000_000, 10, 2_000_000_000
_PACED_LEAST = 3  # inferences of a paced window
_LATE = 0.1  # of a period
_OVERRUN = 0.001  # of a window, or a period: so much later may its last inference end
_BUSY = 0.9  # who infers for so much of the time cannot keep up

Infer = Callable[[], object]


class TooSlowError(Exception):
    """A case cannot keep up with the rate that all are measured at."""

    cause = "too-slow"


class HeldUpError(Exception):
    """A paced window ran over its end for another reason: whatever it was, it need not come again."""

    cause = "held-up"


class SamplerError(Exception):
    """The sampler did not answer."""


def measure(request: Dict[str, Any]) -> Dict[str, Any]:
    """Make one pass; returns the measured fields of a `pass` event. Raises whatever the runtime raises."""
    sampler = Sampler(request["go"], request["ack"])
    infer = None if request["scenario"] == wire.IDLE else _session(request)
    with _uncollected():
        unsampled = sampled = None
        update_s = 0.0
        if sampler.present:
            sampler.opened()
            unsampled = _stretch(infer)
            update_s = sampler.go()
            sampled = _stretch(infer)
        time.sleep(request["lead_s"] + request["phase"] * max(update_s, request["least_phase_s"]))
        found = _window(infer, request)
        time.sleep(request["lead_s"])
        sampler.stop()
    return {**found, "unsampled_ns": _median(unsampled), "sampled_ns": _median(sampled)}


def _session(request: Dict[str, Any]) -> Infer:
    """Load the case and prove it, warm it up; returns what infers."""
    pinning.pin(request["case"]["options"])  # before the runtime asks how many there are
    case = build(wire.JobCase, request["case"], "case")
    runtime = worker.load_runtime(request["runtime"])
    runtime.versions()  # imports the runtime's packages
    session = runtime.load(request["artifact"], measuring.options_of(request))
    measuring.prove(session, request["sample"], case)
    infer: Infer = session.__call__
    measuring.warm_up(infer, build(wire.Protocol, request["protocol"], "protocol"))
    return infer


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection inside; what lives already is frozen."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _stretch(infer: Optional[Infer]) -> Optional[Sequence[int]]:
    """Latencies in ns back to back for 0.3 s and 10 inferences, 2 s at most; None where there is nothing to infer."""
    if infer is None:
        return None
    latencies = array.array("q")
    began = after = clock()
    while after - began < _STRETCH_MOST_NS and (after - began < _STRETCH_NS or len(latencies) < _STRETCH_LEAST):
        before = clock()
        infer()
        after = clock()
        latencies.append(after - before)
    return latencies


def _median(latencies: Optional[Sequence[int]]) -> Optional[int]:
    return None if latencies is None else int(statistics.median(latencies))


def _window(infer: Optional[Infer], request: Dict[str, Any]) -> Dict[str, Any]:
    window_ns = int(request["window_s"] * 1e9)
    if infer is None:
        return _idle(window_ns)
    if request["scenario"] == "closed":
        return _closed(infer, window_ns)
    return _paced(infer, request["window_s"], request["rate_hz"])


def _idle(window_ns: int) -> Dict[str, Any]:
    start = clock()
    _sleep_until(start + window_ns)
    return {"start_ns": start, "end_ns": start + window_ns, "inferences": 0}


def _closed(infer: Infer, window_ns: int) -> Dict[str, Any]:
    read, count = clock, 0
    start = after = read()
    while after - start < window_ns:
        infer()
        count += 1
        after = read()
    return {"start_ns": start, "end_ns": after, "inferences": count}


def _paced(infer: Infer, window_s: float, rate_hz: float) -> Dict[str, Any]:
    """Infer at the rate; raises TooSlowError or HeldUpError as soon as it is clear that the last ends too late."""
    count, period_ns = periods(window_s, rate_hz), 1e9 / rate_hz
    most_ns = max(period_ns, _OVERRUN * count * period_ns)
    latencies, late, read = array.array("q"), 0, clock
    start = read()
    end = start + round(count * period_ns)
    for k in range(count):
        due = start + round(k * period_ns)
        _sleep_until(due)
        before = read()
        infer()
        after = read()
        latencies.append(after - before)
        late += before - due > _LATE * period_ns
        if after - end > most_ns:
            raise _overrun(latencies, after - start, rate_hz)
    _sleep_until(end)
    return {"start_ns": start, "end_ns": end, "inferences": count, "late": late}


def _overrun(latencies: Sequence[int], elapsed_ns: int, rate_hz: float) -> Exception:
    """Why a window ran over its end: the case infers all the time, or something held it up."""
    words = "%g inferences per second were asked for, one takes %.6g ms" % (rate_hz, statistics.median(latencies) / 1e6)
    if sum(latencies) >= _BUSY * elapsed_ns and statistics.median(latencies) > _BUSY * 1e9 / rate_hz:
        return TooSlowError(words)
    return HeldUpError("its last inferences ended too late, of %d: %s" % (len(latencies), words))


def periods(window_s: float, rate_hz: float) -> int:
    """How many inferences a paced window holds: whole periods, at least 3, for which the window is made longer."""
    return max(_PACED_LEAST, int(window_s * rate_hz * (1 + 1e-9)))


def _sleep_until(moment_ns: int) -> None:
    left = moment_ns - clock()
    if left > 0:
        time.sleep(left / 1e9)


class Sampler:
    """The window's ends of the two pipes to the sampler; `present` is False where nothing is sampled (both -1)."""

    def __init__(self, go: int, ack: int) -> None:
        self.present = go >= 0
        self._go, self._ack = go, ack
        if self.present:
            os.set_inheritable(go, False)  # what a runtime starts and leaves behind must not hold it open

    def opened(self) -> None:
        """Wait until it has opened its sensors. Raises SamplerError."""
        self._answer("did not open its sensors")

    def go(self) -> float:
        """Let it read; returns the longest time between two updates of a sensor, once first readings are in."""
        try:
            os.write(self._go, b"g")
        except BrokenPipeError:
            raise SamplerError("the sampler has ended") from None
        return float(self._answer("has no first readings")["update_s"])

    def stop(self) -> None:
        """Let it end."""
        if self.present:
            with contextlib.suppress(BrokenPipeError):  # the agent will hear of it
                os.write(self._go, b"e")
            os.close(self._go)

    def _answer(self, failed: str) -> Dict[str, Any]:
        text, end = b"", time.monotonic() + _ACK_S
        while not text.endswith(b"\n"):
            ready, _, _ = select.select([self._ack], [], [], max(0.0, end - time.monotonic()))
            piece = os.read(self._ack, 4096) if ready else b""
            if not piece:
                raise SamplerError("the sampler %s %s" % (failed, "within %g s" % _ACK_S if not ready else "and ended"))
            text += piece
        answer: Dict[str, Any] = json.loads(text.decode())
        return answer

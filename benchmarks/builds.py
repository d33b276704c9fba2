"""How long a build takes, cold and cached, per runtime and precision: ResNet-18 at full depth. `python -m benchmarks builds`.

Cold is what a user waits for: a child process, its imports, the conversion. The second build must be a look-up. A cache of
its own, one worker.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from benchmarks import cases, ends
from benchmarks.figures import Figure
from benchmarks.matrix_rows import short
from harness import build, content
from harness.compress import client
from harness.records import Artifact, Device, LadderRequest

MODEL = "resnet18"
LOOK_UP_S = 0.05
GPU = {"compute_capability": "8.9"}  # what TensorRT-RTX builds for: no GPU is needed for it


def measure() -> list[Figure]:
    """Every runtime whose packages are here, at every precision."""
    request = LadderRequest("order", MODEL, content.constant("model", MODEL, "TASK"))
    variant = ends.make(request).rungs[0].variant
    examples = client.examples(request.task, None, cases.quiet)
    found = []
    for runtime, precision in cases.wanted():
        target = build.target_of(_machine(), runtime, precision)
        calibration = examples.calibration if precision == "int8" else None
        asked = build.BuildRequest(variant, runtime, precision, 1, target, calibration=calibration)
        with _own_cache():
            found.append(_figure(asked, *_timed(asked), _timed(asked)[1]))
        print(f"  {found[-1].what}: {found[-1].measured}", flush=True)
    return found


def _machine() -> Device:
    """This machine, as if it had a GPU: builds ask for no more than its generation."""
    device = cases.this_machine()
    return replace(device, profile=replace(device.profile, target={**GPU, **device.profile.target}))


def _timed(asked: build.BuildRequest) -> tuple[Artifact | str, float]:
    began = time.perf_counter()
    (outcome,) = build.build([asked], cases.quiet, workers=1)
    return outcome, time.perf_counter() - began


def _figure(asked: build.BuildRequest, outcome: Artifact | str, cold_s: float, cached_s: float) -> Figure:
    what = f"{asked.runtime} {asked.precision}: {MODEL} built"
    if isinstance(outcome, str):
        return Figure(what, "", "failed", None, short(outcome))
    measured = f"{cold_s:.1f} s cold, {1e3 * cached_s:.1f} ms cached"
    inside = f"conversion alone {outcome.seconds:.1f} s; {outcome.size_bytes / 1e6:.1f} MB"
    return Figure(what, f"cached <= {1e3 * LOOK_UP_S:.0f} ms", measured, cached_s <= LOOK_UP_S, inside)


@contextmanager
def _own_cache() -> Iterator[None]:
    usual = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(usual)

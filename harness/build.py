"""Variant -> Artifact through a runtime's `export`, in child processes, cached by content.

The parent looks up and waits; torch and the converters live in the children (`python -m harness.build`). A variant that
a runtime cannot compile is a failure of that case alone. Beside each artifact lies its sample: inputs and the network's
own outputs (torch's; of a given file, those with optimisations off), against which the device checks the artifact before
it is timed. An artifact has its time and memory (`limits`): what goes beyond them is ended with all its descendants and
fails, the others go on. What is made of rounded numbers is judged by more: its own accuracy, where it can be run here.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from harness import accuracy, cache, child, content, extras, host, limits, samples, wire
from harness.child import ChildBoundedError, ChildDied, OnProgress, Progress
from harness.errors import ContentError, HarnessError, StoreError
from harness.records import Artifact, Calibration, Device, Exam, Variant, digest

# Relative max-abs difference of outputs that float32 arithmetic in another order may make in a network of tens of
# layers; what computes something else is off by far more (wrong borders: 0.1 and above). Rounded numbers are bound only so
# far that another network is still told (docs/runtimes.md): what rounding costs is told by the artifact's own accuracy.
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.35}
_ASIDE = 0  # the total of a line of progress that is of no artifact
_GIVEN = Path(__file__).resolve().parent / "given"


@dataclass(frozen=True)
class BuildRequest:
    """One artifact to make. `target` is what the runtime asks to know of the device, `options` come from `--option`.

    `calibration` is for int8 alone; with an `exam` the artifact's own accuracy is found.
    """

    variant: Variant
    runtime: str
    precision: str
    batch: int
    target: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    calibration: Calibration | None = None
    exam: Exam | None = None

    @functools.cached_property
    def key(self) -> str:
        """What the artifact depends on: variant, runtime file, converter versions, precision, batch, target, options.

        And what the examples hold that it is calibrated and judged on, wherever they lie. Files are read once.
        """
        runtime = content.find("runtime", self.runtime)
        given = sorted(_GIVEN.glob("*.py")) if self.variant.form == "onnx" else []
        own = [Path(__file__), Path(samples.__file__), *([Path(accuracy.__file__)] if self.exam else [])]
        sources = content.source_hash(runtime, *sorted(runtime.parent.glob("_*.py")), *own, *given)
        converters = {name: _version(name) for name in content.constant("runtime", self.runtime, "CONVERTERS")}
        examples = [None if each is None else each.sha256 for each in (self.calibration, self.exam)]
        described = {**asdict(self), "variant": [self.variant.name, self.variant.vocabulary]}
        described |= dict(zip(("calibration", "exam"), examples, strict=True))
        if self.exam and (said := limits.said()):  # an exam that they ended is tried again when they are set higher
            described["limits"] = said
        return digest({"request": described, "sources": sources, "converters": converters})


def target_of(device: Device, runtime: str, precision: str) -> dict[str, str]:
    """Return what a runtime's file asks by TARGET to know of a device; where it asks nothing, devices share artifacts.

    It may ask by precision. `arch` is the profile's architecture, or this machine's where that is any. Where no `cpu` is named,
    compilers take the processor that they run on: then `host` says which that is.
    """
    wanted = content.constant("runtime", runtime, "TARGET", default=())
    keys = wanted.get(precision, ()) if isinstance(wanted, dict) else wanted
    arch = host.arch() if device.profile.arch == "any" else device.profile.arch
    here = {} if "cpu" in device.target else {"host": host.processor()}
    return {key: value for key, value in {"arch": arch, **here, **device.target}.items() if key in keys}


def build(
    requests: Sequence[BuildRequest], on_progress: OnProgress, workers: int | None = None
) -> list[Artifact | str]:
    """Return, for each request in order, its artifact or the reason why it could not be built.

    Cached ones are looked up, without a process; the others are shared among `workers` child processes (None: as cores and
    memory allow), which Ctrl-C ends. Raises ContentError for a runtime's file that breaks its contract, StoreError when
    the cache cannot be written, UsageError for a limit that is no number.
    """
    workers = limits.workers() if workers is None else workers
    bounds = limits.of_build(workers)
    known = {request.key: _cached(request) for request in requests}
    missing = [request for request in {request.key: request for request in requests}.values() if not known[request.key]]
    done = _Count(on_progress, len(missing))
    shares = [share for share in (missing[n::workers] for n in range(workers)) if share]
    with ThreadPoolExecutor(max(1, len(shares))) as pool, child.Group() as group:
        answers = list(pool.map(lambda share: _build_share(share, group, done, bounds), shares))
    failures = {key: reason for answer in answers for key, reason in answer.items()}
    return [known[r.key] or failures.get(r.key) or _require_cached(r) for r in requests]


def require_room(size_bytes: int) -> None:
    """Check that the cache can be written and has `size_bytes` free.

    Raises StoreError; UsageError for a cap or a limit of the user's that is no number, which would else be met after training.
    """
    home = cache.root()
    cache.cap_bytes()
    limits.of_build(1)
    with cache.storing():
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            free = shutil.disk_usage(home).free
    if free < size_bytes:
        raise StoreError(
            f"{home}: {free / 2**20:.0f} MiB free, rungs and artifacts need {size_bytes / 2**20:.0f} MiB",
            "Free some space, or set XDG_CACHE_HOME to a roomier folder.",
        )


class _Count:
    """Progress over several children: how many artifacts have been tried, each counted once."""

    def __init__(self, on_progress: OnProgress, total: int) -> None:
        self.on_progress, self.total = on_progress, total
        self.tried: set[str] = set()
        self.lock = threading.Lock()

    def __call__(self, key: str, text: str) -> None:
        with self.lock:
            self.tried.add(key)
            self.on_progress(Progress(text, len(self.tried), self.total))

    def aside(self, text: str) -> None:
        """Say something that is of no artifact."""
        with self.lock:
            self.on_progress(Progress(text))


def _build_share(
    share: Sequence[BuildRequest], group: child.Group, tell: _Count, bounds: child.Bounds
) -> dict[str, str]:
    """Build a share, one child after the other; return the reasons of those that failed, by key.

    A child that dies (a converter crashed, or went beyond its bounds) fails the artifact that it was making; the next child
    goes on with the others. What had failed in it before is tried again, for its reason died too.
    """
    failures: dict[str, str] = {}
    left = list(share)
    while left:
        tried = 0

        def on_progress(progress: Progress, left: Sequence[BuildRequest] = left) -> None:
            nonlocal tried
            if progress.total == _ASIDE:
                tell.aside(progress.text)
                return
            if progress.done is not None:  # of an exam: the artifact is not done yet
                return
            tell(left[tried].key, progress.text)
            tried += 1

        try:
            asked = {"requests": [asdict(request) for request in left], "bounds": asdict(bounds)}
            answer = group.call("harness.build", asked, on_progress, bounds=bounds)
        except ChildDied as error:
            fatal = left[min(tried, len(left) - 1)]
            tell(fatal.key, f"{fatal.runtime} {fatal.precision} {fatal.variant.name[:8]}")
            if not _cached(fatal):  # it may have died just after
                failures[fatal.key] = _fatal(error)
            left = [request for request in left if request is not fatal and not _cached(request)]
        else:
            return failures | {left[int(n)].key: reason for n, reason in answer.items()}
    return failures


def _fatal(error: ChildDied) -> str:
    if isinstance(error, ChildBoundedError):
        return f"the build {error.message} and was ended: {limits.ADVICE}"
    return f"the build process died: {error.message}: the converter crashed; name another runtime or precision"


def _cached(request: BuildRequest) -> Artifact | None:
    return cache.read("artifact", request.key, _parse)


def _parse(folder: Path) -> Artifact:
    record = Artifact(**json.loads((folder / "artifact.json").read_text()))
    path, sample = folder / record.path, folder / record.sample_path
    if (path.stat().st_size, sample.stat().st_size) != (record.size_bytes, record.sample_bytes):
        raise ValueError(f"{folder}: files are incomplete")
    return replace(record, path=str(path), sample_path=str(sample))


def _require_cached(request: BuildRequest) -> Artifact:
    artifact = _cached(request)
    if artifact is None:
        raise HarnessError("an artifact vanished from the cache while it was being used", "Run the command again.")
    return artifact


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


# --- in the child --------------------------------------------------------------------------------------------------


def _serve(asked: dict[str, Any], on_progress: OnProgress) -> dict[int, str]:
    """Build every requested artifact into the cache; return the reasons of those that failed, by position."""
    requests, bounds = [_request(fields) for fields in asked["requests"]], child.Bounds(**asked["bounds"])
    if any(wanted.variant.form == "torch" for wanted in requests):
        import torch

        torch.set_num_threads(1)
    failures = {}
    for n, wanted in enumerate(requests):
        try:
            _make(wanted, bounds, on_progress)
        except (ContentError, StoreError):
            raise  # no artifact could be made here
        except Exception as error:  # a converter may raise anything; one failed case leaves the others alone
            failures[n] = _reason(wanted.runtime, error)
        on_progress(Progress(f"{wanted.runtime} {wanted.precision} {wanted.variant.name[:8]}"))
    return failures


def _reason(runtime: str, error: Exception) -> str:
    """Say what failed, and what to do about it where that is known."""
    said = f"{type(error).__name__}: {error}"[:2000]
    if isinstance(error, ImportError) and (commands := extras.commands(runtime)):
        return f"{said}; what {runtime} needs is brought by: {'; or '.join(commands)}"
    return said


def _request(fields: dict[str, Any]) -> BuildRequest:
    kinds = {"variant": Variant, "calibration": Calibration, "exam": Exam}
    made = {name: kind(**fields[name]) for name, kind in kinds.items() if fields[name] is not None}
    return BuildRequest(**{**fields, **made})


def _make(request: BuildRequest, bounds: child.Bounds, on_progress: OnProgress) -> None:
    import time

    runtime = content.load("runtime", request.runtime)
    calibration = {"calibration": request.calibration.path} if request.calibration else {}

    def gone(entries: Sequence[cache.Entry]) -> None:
        on_progress(Progress(cache.said_of(entries), 0, _ASIDE))

    with cache.put("artifact", request.key, on_gone=gone) as folder:
        began = time.monotonic()
        sample = wire.encode(samples.make(request.variant, request.batch, request.calibration))
        (folder / "sample.json").write_text(sample)
        facts = runtime.export(
            request.variant,
            request.target,
            request.precision,
            {**request.options, **calibration, "batch": str(request.batch)},
            folder / "artifact",
        )
        seconds = round(time.monotonic() - began, 3)
        correct, no_accuracy = _judge(request, folder, bounds, on_progress)
        artifact = (folder / "artifact").read_bytes()
        record = Artifact(
            sha256=hashlib.sha256(artifact).hexdigest(),
            path="artifact",
            size_bytes=len(artifact),
            variant=request.variant.name,
            runtime=request.runtime,
            precision=request.precision,
            batch=request.batch,
            sample_sha256=hashlib.sha256(sample.encode()).hexdigest(),
            sample_path="sample.json",
            sample_bytes=len(sample.encode()),
            tolerance=TOLERANCE[request.precision],
            ops_executed=facts.get("ops_executed"),
            versions={name: _version(name) for name in content.constant("runtime", request.runtime, "CONVERTERS")},
            seconds=seconds,
            accuracy=correct,
            no_accuracy=no_accuracy,
            made_for=facts.get("made_for", request.target.get("cpu", "")),
        )
        (folder / "artifact.json").write_text(json.dumps(asdict(record)))


def _judge(
    request: BuildRequest, folder: Path, bounds: child.Bounds, on_progress: OnProgress
) -> tuple[float | None, str]:
    """Return the accuracy of the artifact just made, or why there is none; neither where nobody asked."""
    if request.exam is None:
        return None, ""
    settings = {"threads": 1, "batch": request.batch, "precision": request.precision}
    options = {**request.options, **settings, "sample": str(folder / "sample.json")}
    sitting = accuracy.Sitting(bounds.seconds, limits.of_exam(bounds), on_progress)
    return accuracy.measure(request.runtime, folder / "artifact", options, request.exam, sitting)


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    child.serve(_serve)

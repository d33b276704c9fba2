"""Variant -> Artifact through a runtime's `export`, in child processes, cached by content.

The parent looks up and waits; torch and the converters live in the children (`python -m harness.build`). A variant that
a runtime cannot compile is a failure of that case alone. Beside each artifact lies its sample: inputs and the network's
own outputs (torch's; of a given file, those with optimisations off), against which the device checks the artifact before
it is timed.
"""

from __future__ import annotations

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

from harness import cache, child, content, wire
from harness.child import ChildDied, OnProgress, Progress
from harness.errors import ContentError, HarnessError, StoreError
from harness.records import Artifact, Device, Variant, digest

# Relative max-abs difference of outputs that float32 arithmetic in another order may make in a network of tens of
# layers; what computes something else is off by far more (wrong borders: 0.1 and above).
TOLERANCE = {"fp32": 1e-4}
_GIVEN = Path(__file__).resolve().parent / "given"


@dataclass(frozen=True)
class BuildRequest:
    """One artifact to make. `target` is what the runtime asks to know of the device, `options` come from `--option`."""

    variant: Variant
    runtime: str
    precision: str
    batch: int
    target: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What the artifact depends on: variant, runtime file, converter versions, precision, batch, target, options."""
        runtime = content.find("runtime", self.runtime)
        given = sorted(_GIVEN.glob("*.py")) if self.variant.form == "onnx" else []
        sources = content.source_hash(runtime, *sorted(runtime.parent.glob("_*.py")), Path(__file__), *given)
        converters = {name: _version(name) for name in content.constant("runtime", self.runtime, "CONVERTERS")}
        described = {**asdict(self), "variant": [self.variant.name, self.variant.vocabulary]}
        return digest({"request": described, "sources": sources, "converters": converters})


def target_of(device: Device, runtime: str) -> dict[str, str]:
    """Return what a runtime's file asks by TARGET to know of a device; where it asks nothing, devices share artifacts."""
    wanted = content.constant("runtime", runtime, "TARGET", default=())
    return {key: value for key, value in device.target.items() if key in wanted}


def build(requests: Sequence[BuildRequest], on_progress: OnProgress, workers: int = 2) -> list[Artifact | str]:
    """Return, for each request in order, its artifact or the reason why it could not be built.

    Cached ones are looked up; the others are shared among `workers` child processes, which Ctrl-C ends. Raises
    ContentError for a runtime's file that breaks its contract, StoreError when the cache cannot be written.
    """
    known = {request.key: _cached(request) for request in requests}
    missing = [request for request in {request.key: request for request in requests}.values() if not known[request.key]]
    done = _Count(on_progress, len(missing))
    shares = [share for share in (missing[n::workers] for n in range(workers)) if share]
    with ThreadPoolExecutor(max(1, len(shares))) as pool, child.Group() as group:
        answers = list(pool.map(lambda share: _build_share(share, group, done), shares))
    failures = {key: reason for answer in answers for key, reason in answer.items()}
    return [known[r.key] or failures.get(r.key) or _require_cached(r) for r in requests]


def require_room(size_bytes: int) -> None:
    """Check that the cache can be written and has `size_bytes` free. Raises StoreError; UsageError for its cap."""
    home = cache.root()
    cache.cap_bytes()
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


def _build_share(share: Sequence[BuildRequest], group: child.Group, tell: _Count) -> dict[str, str]:
    """Build a share, one child after the other; return the reasons of those that failed, by key.

    A child that dies (a converter crashed, out of memory) fails the artifact that it was making; the next child goes on
    with the others. What had failed in it before is tried again, for its reason died too.
    """
    failures: dict[str, str] = {}
    left = list(share)
    while left:
        tried = 0

        def on_progress(progress: Progress, left: Sequence[BuildRequest] = left) -> None:
            nonlocal tried
            tell(left[tried].key, progress.text)
            tried += 1

        try:
            answer = group.call("harness.build", [asdict(request) for request in left], on_progress)
        except ChildDied as error:
            fatal = left[min(tried, len(left) - 1)]
            tell(fatal.key, f"{fatal.runtime} {fatal.precision} {fatal.variant.name[:8]}")
            if not _cached(fatal):  # it may have died just after
                failures[fatal.key] = f"the build process died: {error.message}"
            left = [request for request in left if request is not fatal and not _cached(request)]
        else:
            return failures | {left[int(n)].key: reason for n, reason in answer.items()}
    return failures


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


def _serve(request: list[dict[str, Any]], on_progress: OnProgress) -> dict[int, str]:
    """Build every requested artifact into the cache; return the reasons of those that failed, by position."""
    requests = [BuildRequest(**{**fields, "variant": Variant(**fields["variant"])}) for fields in request]
    if any(wanted.variant.form == "torch" for wanted in requests):
        import torch

        torch.set_num_threads(1)
    failures = {}
    for n, wanted in enumerate(requests):
        try:
            _make(wanted)
        except (ContentError, StoreError):
            raise  # no artifact could be made here
        except Exception as error:  # a converter may raise anything; one failed case leaves the others alone
            failures[n] = f"{type(error).__name__}: {error}"[:2000]
        on_progress(Progress(f"{wanted.runtime} {wanted.precision} {wanted.variant.name[:8]}"))
    return failures


def _make(request: BuildRequest) -> None:
    import time

    runtime = content.load("runtime", request.runtime)
    with cache.put("artifact", request.key) as folder:
        began = time.monotonic()
        sample = wire.encode((_given_sample if request.variant.form == "onnx" else _sample)(request))
        (folder / "sample.json").write_text(sample)
        facts = runtime.export(
            request.variant,
            request.target,
            request.precision,
            {**request.options, "batch": str(request.batch)},
            folder / "artifact",
        )
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
            seconds=round(time.monotonic() - began, 3),
        )
        (folder / "artifact.json").write_text(json.dumps(asdict(record)))


def _given_sample(request: BuildRequest) -> wire.Sample:
    """Return seeded inputs and what the given file computes of them with optimisations off."""
    from harness.given import reference

    return reference.sample(Path(request.variant.program), request.batch)


def _sample(request: BuildRequest) -> wire.Sample:
    """Return seeded inputs (standard normal, or tokens) and the torch network's float32 outputs for them."""
    import torch

    from harness.compress import program

    variant = request.variant
    network = torch.export.load(variant.program).module()
    inputs = program.make_example(variant.input_shape, 0, variant.vocabulary, request.batch)
    with torch.inference_mode():
        outputs = network(inputs)

    def tensor(value: torch.Tensor, dtype: str = "float32") -> wire.Tensor:
        code = {"float32": "<f4", "int64": "<i8"}[dtype]
        return wire.Tensor.of(value.shape, value.detach().contiguous().numpy().astype(code).tobytes(), dtype)

    return wire.Sample((tensor(inputs, variant.input_dtype),), (tensor(outputs),))


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    child.serve(_serve)

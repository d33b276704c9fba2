"""The story of a calibration: build the yardstick, measure it in job after job, say what the device resolves.

    results/<device>/calibration.json                the newest, quoted by check, --dry-run and later runs
    results/<device>/calibrations/<UTC time>-<id>/
        calibrate.json                               what was asked
        <n>/jobs/<runtime>/                          job.json, events.jsonl, reply.json of every job

Jobs are whole: one that was cut off is finished, or measured again, when the calibration is resumed.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness import build, bundle, calibration, jobs, store, transport, wire
from harness.calibration import Calibration, Measured
from harness.child import OnProgress, Progress
from harness.compress import client
from harness.errors import DeviceError, StoreError
from harness.records import Artifact, Case, Device

MODEL, TASK = "yardstick", "tiny"
LEAST_JOBS = 2
_ASKED = "calibrate.json"


@dataclass(frozen=True)
class Asked:
    """What a calibration was asked to do: whole jobs until `budget_s` is spent, or `jobs` of them."""

    device: str
    runtime: str
    created: str
    budget_s: float
    jobs: int | None = None
    threads: int = 1


def start(results: Path, device: Device, runtime: str, budget_s: float, count: int | None, tell: OnProgress) -> Path:
    """Calibrate a device and return the folder of the calibration. Raises HarnessError."""
    store.require_writable(results)
    now = datetime.now(UTC)
    folder = results / device.name / "calibrations" / f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    asked = Asked(device.name, runtime, now.isoformat(timespec="seconds"), budget_s, count, device.profile.threads)
    store.write(folder / _ASKED, json.dumps(asdict(asked)).encode())
    return go_on(folder, device, tell)


def find(results: Path, device: str, word: str) -> Path:
    """Return the folder of a device's calibration whose name begins with `word`. Raises StoreError."""
    folders = sorted(file.parent for file in (results / device / "calibrations").glob(f"*/{_ASKED}"))
    matches = [folder for folder in folders if folder.name.startswith(word)]
    if len(matches) != 1:
        known = ", ".join(folder.name for folder in folders[-5:]) or "none"
        raise StoreError(f'{len(matches)} calibrations of {device} begin with "{word}"', f"The newest: {known}.")
    return matches[0]


def go_on(folder: Path, device: Device, tell: OnProgress) -> Path:
    """Do what a calibration lacks, keep its result as the device's newest, and return its folder. Raises HarnessError."""
    with store.held(folder):
        asked = _asked(folder)
        _measure(folder, asked, device, tell)
        store.save_calibration(folder.parent.parent, evaluate(folder))
    return folder


def evaluate(folder: Path) -> Calibration:
    """Judge what a calibration has measured so far. Raises StoreError when not even one job is whole."""
    asked, measured = _asked(folder), tuple(_measured(folder))
    if not measured:
        raise StoreError(f"{folder}: no job of it is whole", "Go on with: harness calibrate --resume.")
    return calibration.evaluate(asked.device, folder.name, asked.created, measured)


def _measure(folder: Path, asked: Asked, device: Device, tell: OnProgress) -> None:
    """Measure job after job until the budget is spent or enough are done; the first that has no reply comes first."""
    line = transport.connect(device)
    line.require_room()
    line.probe(bundle.build(asked.runtime), asked.runtime)
    artifacts = _artifacts(asked.runtime, device, tell)
    place, spent_s = 0, 0.0
    while _goes_on(asked, place, spent_s):
        own = folder / f"{place:03}"
        began = time.monotonic()
        if store.load_reply(own, asked.runtime) is None:
            tell(Progress(f"calibrating {device.name}: job {place + 1}", place, asked.jobs))
            job = store.load_job(own, asked.runtime) or make(
                f"{folder.name}-{place:03}", asked, device, place, artifacts
            )
            store.save_job(own, job)
            jobs.bring(line, own, job, {artifact.sha256: artifact for artifact in artifacts.values()}, tell)
        spent_s += _length_s(own, asked.runtime) or time.monotonic() - began
        place += 1


def _goes_on(asked: Asked, done: int, spent_s: float) -> bool:
    if asked.jobs is not None:
        return done < asked.jobs
    return done < LEAST_JOBS or spent_s + spent_s / done <= asked.budget_s


def _length_s(own: Path, runtime: str) -> float:
    """How long a job took on the device."""
    journal = store.events(own, runtime)
    return (journal[-1].t_ns - journal[0].t_ns) / 1e9


def _artifacts(runtime: str, device: Device, tell: OnProgress) -> Mapping[str, Artifact]:
    """Build the yardstick's networks for the runtime, by label. Raises DeviceError when one cannot be built."""
    ladder = client.controls(MODEL, TASK, 0, tell)
    target, precision = device.profile.target, "fp32"
    requests = [build.BuildRequest(rung.variant, runtime, precision, 1, target, {}) for rung in ladder.rungs]
    built = build.build(requests, tell)
    for rung, outcome in zip(ladder.rungs, built, strict=True):
        if isinstance(outcome, str):
            raise DeviceError(f"{rung.network} cannot be built for {runtime}: {outcome}", "Name another --runtime.")
    return {
        rung.network: outcome
        for rung, outcome in zip(ladder.rungs, built, strict=True)
        if isinstance(outcome, Artifact)
    }


def make(name: str, asked: Asked, device: Device, seed: int, artifacts: Mapping[str, Artifact]) -> wire.Job:
    """Return a job of all networks against the reference, judged after as many blocks as a run's second look."""
    cases = tuple(
        wire.JobCase(
            case_id=Case(device.name, artifact.sha256, asked.runtime, "fp32", asked.threads, 1).case_id,
            label=label,
            artifact=wire.FileRef(artifact.sha256, artifact.size_bytes),
            sample=wire.FileRef(artifact.sample_sha256, artifact.sample_bytes),
            tolerance=artifact.tolerance,
            precision="fp32",
            threads=asked.threads,
            batch=1,
            replicates=jobs.replicates(len(artifacts) - 1) if label == calibration.REFERENCE else 1,
        )
        for label, artifact in artifacts.items()
    )
    reference = next(case.case_id for case in cases if case.label == calibration.REFERENCE)
    pairs = tuple((case.case_id, reference) for case in cases if case.case_id != reference)
    return wire.Job(name, name, asked.runtime, seed, cases, pairs, protocol())


def protocol() -> wire.Protocol:
    """A run's protocol, but for one look after `calibration.BLOCKS` blocks at the error that a run gives each of its looks."""
    usual = wire.Protocol()
    return wire.Protocol(
        budget_s=24 * 3600.0, alpha=usual.alpha / len(usual.looks), looks=(calibration.BLOCKS,), half_width=1e-6
    )


# --- on disk -------------------------------------------------------------------------------------------------------


def _asked(folder: Path) -> Asked:
    file = folder / _ASKED
    try:
        return Asked(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{file}: damaged: {error}", "Start a new calibration.") from None


def _measured(folder: Path) -> Iterator[Measured]:
    """The jobs of a calibration that are whole, in order."""
    runtime = _asked(folder).runtime
    for own in sorted(path for path in folder.iterdir() if path.is_dir()):
        found, journals, replies = store.measured(own, [runtime])
        job, reply = found[runtime], replies[runtime]
        if job is not None and reply is not None:
            yield Measured(job, journals[runtime], reply)

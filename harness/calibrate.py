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
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import build, calibration, following, jobs, preflight, store, transport, wire
from harness.calibration import Calibration, Measured
from harness.child import OnProgress, Progress
from harness.compress import client
from harness.errors import DeviceError, HarnessError, StoreError, UsageError
from harness.records import Artifact, Case, Device, Profile, Rung
from harness.transport import Transport

MODEL, TASK = "yardstick", "tiny"
LEAST_JOBS = 3  # the sd between jobs needs three
EQUALS = 10  # networks of equal work in each job; the model has more, for who asks about nothing else
_ASKED = "calibrate.json"


@dataclass(frozen=True)
class Asked:
    """What a calibration was asked to do: whole jobs until `budget_s` is spent, or `jobs` of them.

    `equals`: how many networks of equal work each job holds; None: all that the model has.
    """

    device: str
    runtime: str
    created: str
    budget_s: float
    jobs: int | None = None
    threads: int = 1
    equals: int | None = None
    tune: tuple[str, ...] = ()


def start(
    results: Path,
    device: Device,
    runtime: str,
    budget_s: float,
    count: int | None,
    tell: OnProgress,
    equals: int | None = None,
    tune: tuple[str, ...] = (),
) -> Path:
    """Calibrate a device and return the folder of the calibration; nothing is left when no job was made. Raises HarnessError."""
    if device.virtual:
        raise UsageError(f"device {device.name} is virtual: its times stand for no real one", "Calibrate a board.")
    store.require_writable(results)
    now = datetime.now(UTC)
    folder = results / device.name / "calibrations" / f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    asked = Asked(
        device.name, runtime, now.isoformat(timespec="seconds"), budget_s, count, device.profile.threads, equals, tune
    )
    store.write(folder / _ASKED, json.dumps(asdict(asked)).encode())
    try:
        return go_on(folder, device, tell)
    except HarnessError:
        if not _places(folder):
            shutil.rmtree(folder)
        raise


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
    with store.held(folder), _resumable(folder):
        asked, results = _asked(folder), folder.parent.parent.parent
        newest = store.load_calibration(results, asked.device)  # a damaged one is told before hours are spent
        _measure(folder, asked, device, tell)
        if newest is None or newest.calibration <= folder.name:  # names begin with the time
            store.save_calibration(results / asked.device, evaluate(folder))
    return folder


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """Say of an interruption, and of an error in the midst of measuring, how to go on."""
    word = f"harness calibrate --device {folder.parent.parent.name} --resume {folder.name}"
    hint = f"What is done is kept; go on with: {word}"
    try:
        yield
    except KeyboardInterrupt as interruption:
        raise KeyboardInterrupt(*interruption.args, *([hint] if _places(folder) else [])) from None
    except HarnessError as error:
        if _places(folder) and (not error.hint or "harness run --resume" in error.hint):  # jobs know of runs alone
            error.hint = hint
        raise


def evaluate(folder: Path) -> Calibration:
    """Judge what a calibration has measured so far. Raises StoreError when not even one job is whole."""
    asked, measured = _asked(folder), tuple(_measured(folder))
    if not measured:
        raise StoreError(f"{folder}: no job of it is whole", "Go on with: harness calibrate --resume.")
    try:
        return calibration.evaluate(asked.device, folder.name, asked.created, measured, asked.tune)
    except ValueError as error:
        raise StoreError(
            f"{folder}: {error}", "Its journals say why; calibrate again, or name another --runtime."
        ) from None


def _measure(folder: Path, asked: Asked, device: Device, tell: OnProgress) -> None:
    """Make the device ready, and measure there what is missing."""
    with closing(transport.connect(device)) as line:
        _catch_up(line, folder, asked.runtime, tell)
        ready = preflight.make(device, [asked.runtime], tell, line=line)
        _require_unchanged(folder, ready.probed[asked.runtime])
        _measure_jobs(folder, asked, ready, tell)


def _measure_jobs(folder: Path, asked: Asked, ready: preflight.Ready, tell: OnProgress) -> None:
    """Measure job after job until the budget is spent or enough are done; the first that has no reply comes first."""
    device = ready.device
    artifacts = yardsticks(asked, device, tell)
    place, spent_s = 0, 0.0
    while _goes_on(asked, place, spent_s):
        own = folder / f"{place:03}"
        if store.load_reply(own, asked.runtime) is None:
            tell(Progress(f"calibrating {device.name}: job {place + 1}", place, asked.jobs))
            job = store.load_job(own, asked.runtime) or make(
                f"{folder.name}-{place:03}", asked, device.profile, place, artifacts
            )
            store.save_job(own, job)
            jobs.bring(ready.line, own, job, artifacts.values(), tell, ready.environments[asked.runtime])
        spent_s += jobs.length_s(store.events(own, asked.runtime))
        place += 1


def _require_unchanged(folder: Path, probed: Mapping[str, Any]) -> None:
    """Raise StoreError where the device is no longer what it was when the calibration's first job was measured."""
    first = next(_measured(folder), None)
    if first is None:
        return
    now, then = ({**probed["facts"], **probed["versions"]}, {**first.reply.facts, **first.reply.versions})
    names = (*calibration.IDENTITY, *first.reply.versions)
    changed = [
        f"{name} was {then[name]}, is {now[name]}"
        for name in names
        if name in then and name in now and then[name] != now[name]
    ]
    if changed:
        raise StoreError(
            f"{folder}: {'; '.join(changed)}: its jobs cannot be judged together", "Start a new calibration."
        )


def _goes_on(asked: Asked, done: int, spent_s: float) -> bool:
    if asked.jobs is not None:
        return done < asked.jobs
    return done < LEAST_JOBS or spent_s + spent_s / done <= asked.budget_s


def _catch_up(line: Transport, folder: Path, runtime: str, tell: OnProgress) -> None:
    """Follow an agent that is still at work, or has ended meanwhile, before anything else happens on these cores."""
    for own in _places(folder):
        job = store.load_job(own, runtime)
        if job is not None and store.load_reply(own, runtime) is None and line.alive(job):
            with jobs.stopped_on_interruption(line, job):
                following.follow(line, own, job, tell)


def yardsticks(asked: Asked, device: Device, tell: OnProgress) -> Mapping[str, Artifact]:
    """Build the yardstick's networks for the runtime, by label. Raises DeviceError when one cannot be built."""
    rungs = [rung for rung in client.controls(MODEL, TASK, 0, tell).rungs if _wanted(rung, asked.equals)]
    precision = "fp32"
    target = build.target_of(device, asked.runtime, precision)
    requests = [build.BuildRequest(rung.variant, asked.runtime, precision, 1, target, {}) for rung in rungs]
    artifacts: dict[str, Artifact] = {}
    for rung, outcome in zip(rungs, build.build(requests, tell), strict=True):
        if isinstance(outcome, str):
            raise DeviceError(
                f"{rung.network} cannot be built for {asked.runtime}: {outcome}", "Name another --runtime."
            )
        artifacts[rung.network] = outcome
    return artifacts


def _wanted(rung: Rung, equals: int | None) -> bool:
    """Whether a job holds this network: of those of equal work only so many."""
    place = rung.network.removeprefix(calibration.SAME)
    return equals is None or place == rung.network or int(place) <= equals


def make(name: str, asked: Asked, profile: Profile, seed: int, artifacts: Mapping[str, Artifact]) -> wire.Job:
    """Return a job of all networks against the reference, judged after as many blocks as a run's second look."""
    cases = tuple(
        wire.JobCase(
            case_id=Case(asked.device, artifact.sha256, asked.runtime, "fp32", asked.threads, 1).case_id,
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
    return wire.Job(
        run=name,
        job=name,
        runtime=asked.runtime,
        seed=seed,
        cases=cases,
        comparisons=pairs,
        protocol=protocol(profile.cooldown_s),
        tune=jobs.settings(asked.tune, profile),
    )


def protocol(cooldown_s: float = 0.0) -> wire.Protocol:
    """A run's protocol, but for one look after `calibration.BLOCKS` blocks at the error that a run gives each of its looks."""
    usual = wire.Protocol()
    return wire.Protocol(
        budget_s=24 * 3600.0,
        alpha=usual.alpha / len(usual.looks),
        looks=(calibration.BLOCKS,),
        half_width=1e-6,
        cooldown_s=cooldown_s,
    )


# --- on disk -------------------------------------------------------------------------------------------------------


def _asked(folder: Path) -> Asked:
    file = folder / _ASKED
    try:
        from pydantic import TypeAdapter

        return TypeAdapter(Asked).validate_json(file.read_bytes())
    except (OSError, ValueError) as error:  # a ValidationError is a ValueError
        raise StoreError(f"{file}: damaged: {error}", "Start a new calibration.") from None


def _places(folder: Path) -> list[Path]:
    """The folders of the jobs that a calibration has made, in order."""
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _measured(folder: Path) -> Iterator[Measured]:
    """The jobs of a calibration that are whole, in order."""
    runtime = _asked(folder).runtime
    for own in _places(folder):
        found, journals, replies = store.measured(own, [runtime])
        job, reply = found[runtime], replies[runtime]
        if job is not None and reply is not None:
            yield Measured(job, journals[runtime], reply)

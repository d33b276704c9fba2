"""The story of one run: compress, build, deploy, measure, store. What it finds out goes to the run's folder.

    plan -> ladders -> artifacts -> entries (ladder rows as cases) -> one job per runtime -> journal -> run.json
             compress   build                                          transport follows       store, analysis

The folder holds enough to go on from any moment: `resume` walks the same road, on which the cache and the device's
journal answer for all that is already done.
"""

from __future__ import annotations

import math
import platform
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from harness import analysis, build, bundle, content, store, transport, wire
from harness.child import OnProgress, Progress
from harness.compress import client
from harness.errors import DeviceError, HarnessError, StoreError, UsageError
from harness.records import Artifact, Case, Device, Entry, Ladder, LadderRequest, Plan, Run

_POLL_S = 0.5  # how often the journal is looked at; seldom enough that the device is not disturbed
_SILENCE_S = 10.0  # without a new line for so long, ask whether the agent still lives
_CACHE_FREE_BYTES = 2**30


def new_session() -> str:
    """Return a name for one invocation, shared by the runs of all its devices."""
    return secrets.token_hex(4)


def start(plan: Plan, device: Device, *, results: Path, command: Sequence[str], session: str, tell: OnProgress) -> Path:
    """Do the whole main job on one device and return the run's folder. Raises HarnessError before or during the work.

    Pre-flight comes first: results writable, device ready, its runtimes importable; then nothing has been written yet.
    """
    preflight(plan, device, results)
    now = datetime.now(UTC)
    record = Run(
        schema=store.SCHEMA,
        run=f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}",
        session=session,
        device=device.name,
        virtual=device.virtual,
        status="preparing",
        created=now.isoformat(timespec="seconds"),
        command=tuple(command),
        plan=plan,
        provenance=provenance(),
    )
    folder = store.create(results, record)
    tell(Progress(f"run {record.run}"))
    return _carry_out(folder, record, device, tell)


def resume(folder: Path, device: Device, *, tell: OnProgress) -> Path:
    """Finish what the run in `folder` lacks, and return the folder. A run that is done stays as it is."""
    record = store.load(folder)
    if record.status == "done":
        tell(Progress(f"run {record.run} is complete; nothing to do"))
        return folder
    preflight(record.plan, device, folder.parent.parent)
    tell(Progress(f"run {record.run}: going on"))
    return _carry_out(folder, record, device, tell)


def preflight(plan: Plan, device: Device, results: Path) -> dict[str, Mapping[str, Any]]:
    """Check all that can fail before the long work; return what each runtime says of itself on the device."""
    store.require_writable(results)
    build.require_room(_CACHE_FREE_BYTES)
    line = transport.connect(device)
    line.require_room()
    return {runtime: line.probe(bundle.build(runtime), runtime) for runtime in plan.runtimes}


def check(device: Device, results: Path) -> dict[str, str]:
    """Return what a device can do, by name: room, and each of its profile's runtimes with versions or what is missing."""
    store.require_writable(results)
    line = transport.connect(device)
    line.require_room()
    found = {"workdir": f"ok: {line.free_bytes() / 1e9:.1f} GB free"}
    for runtime in device.profile.runtimes:
        try:
            versions = line.probe(bundle.build(runtime), runtime)["versions"]
            found[runtime] = "ok: " + (
                ", ".join(f"{name} {version}" for name, version in versions.items()) or "built in"
            )
        except DeviceError as error:
            found[runtime] = "missing: " + error.message
    return found


def provenance() -> dict[str, Any]:
    """Return what made the numbers: commit, Python, platform and the versions of the packages that matter."""
    packages = ("edge-harness", "torch", "onnx", "onnxscript", "onnxruntime", "numpy", "scipy", "scikit-learn")
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in packages},
    }


def _commit() -> str | None:
    """The checkout's commit, with `+` when files differ from it; None outside a checkout."""
    git = ["git", "-C", str(content.ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if status else "")


# --- one run, stage by stage ---------------------------------------------------------------------------------------


def _carry_out(folder: Path, record: Run, device: Device, tell: OnProgress) -> Path:
    """Walk the stages, keeping run.json true at each; an interruption or error is recorded and passed on."""
    seconds: dict[str, float] = dict(record.seconds)
    try:
        with _timed(seconds, "ladders"):
            ladders = _climb(record.plan, tell)
        with _timed(seconds, "build"):
            entries, artifacts = _build(record.plan, device, ladders, tell)
        _require_same(record, entries)
        record = replace(record, status="measuring", ladders=ladders, entries=entries, failure=None)
        store.save(folder, record)
        with _timed(seconds, "measure"):
            for runtime in record.plan.runtimes:
                _measure(folder, record, runtime, artifacts, device, tell)
        with _timed(seconds, "store"):
            record = _finish(folder, replace(record, seconds=seconds))
    except KeyboardInterrupt:
        store.save(folder, replace(record, status="interrupted", seconds=seconds))
        raise KeyboardInterrupt(f"What is done is kept; go on with: harness run --resume {record.run}") from None
    except UsageError:
        shutil.rmtree(folder)  # a word that only the network could judge, such as an activation's name: nothing is left
        raise
    except HarnessError as error:
        _save_if_possible(folder, replace(record, status="failed", failure=error.message, seconds=seconds))
        error.hint = error.hint or f"What is done is kept; go on with: harness run --resume {record.run}"
        raise
    store.save(folder, replace(record, seconds=seconds))
    return folder


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - began, 3)


def _climb(plan: Plan, tell: OnProgress) -> tuple[Ladder, ...]:
    ladders = [client.climb(request, tell) for request in plan.ladders]
    if plan.controls:
        first: LadderRequest = plan.ladders[0]
        ladders.append(client.controls(first.model, first.task, first.seed, tell))
    return tuple(ladder for ladder in ladders if ladder.rungs)


@dataclass(frozen=True)
class _Row:
    """A rung of a ladder on its way to becoming a case: one per runtime and precision."""

    ladder: Ladder
    rung: int
    request: build.BuildRequest


def _build(
    plan: Plan, device: Device, ladders: Sequence[Ladder], tell: OnProgress
) -> tuple[tuple[Entry, ...], dict[str, Artifact]]:
    """Build every rung for every runtime and precision; return the ladders' rows as cases, and the artifacts by hash."""
    rows = [
        _Row(
            ladder,
            n,
            build.BuildRequest(rung.variant, runtime, precision, plan.batch, device.profile.target, plan.options),
        )
        for runtime in plan.runtimes
        for precision in plan.precisions
        for ladder in ladders
        for n, rung in enumerate(ladder.rungs)
    ]
    built = build.build([row.request for row in rows], tell)
    entries = [_entry(plan, row, outcome) for row, outcome in zip(rows, built, strict=True)]
    artifacts = {outcome.sha256: outcome for outcome in built if isinstance(outcome, Artifact)}
    return tuple(_with_references(entries)), artifacts


def _entry(plan: Plan, row: _Row, outcome: Artifact | str) -> Entry:
    """Make a ladder's row a case; its reference is filled in when all rows are known."""
    request = row.request
    failure = outcome if isinstance(outcome, str) else None
    artifact = "" if isinstance(outcome, str) else outcome.sha256
    return Entry(
        case=Case(plan.device, artifact, request.runtime, request.precision, plan.threads, plan.batch, plan.options),
        ladder=row.ladder.name,
        method=row.ladder.method,
        rung=row.rung,
        variant=request.variant.name,
        reference=None,
        ops_executed=None if isinstance(outcome, str) else outcome.ops_executed,
        failure=failure,
    )


def _with_references(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Give each row rung 0 of its own ladder as reference; controls are compared with the first ladder's."""
    heads: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        key = (entry.ladder, entry.case.runtime, entry.case.precision)
        heads.setdefault(key, entry)
    first = entries[0].ladder
    for entry in entries:
        ladder = first if entry.method == "control" else entry.ladder
        head = heads[ladder, entry.case.runtime, entry.case.precision]
        yield replace(entry, reference=None if head.failure else head.case.case_id)


def _require_same(record: Run, entries: Sequence[Entry]) -> None:
    """A run that goes on must measure what it began with. Raises StoreError when a ladder came out different."""
    if record.entries and [e.case.case_id for e in record.entries] != [e.case.case_id for e in entries]:
        raise StoreError(
            f"run {record.run}: its ladders came out different this time (cache cleared and sources or packages changed)",
            "It cannot go on; start a new run.",
        )


# --- measuring -----------------------------------------------------------------------------------------------------


def _measure(
    folder: Path, record: Run, runtime: str, artifacts: Mapping[str, Artifact], device: Device, tell: OnProgress
) -> None:
    """Bring one runtime's job to its reply: follow a live agent of this run, else send what is missing and start one."""
    job = store.load_job(folder, runtime) or make_job(record, runtime, artifacts)
    if job is None:
        return
    store.save_job(folder, job)
    line = transport.connect(device)
    if not line.alive(job):
        if line.reply(job) is None:
            _deploy(line, folder, job, artifacts)
    else:
        tell(Progress(f"{runtime}: following the agent that is already at work"))
    try:
        _follow(line, folder, job, tell)
    except KeyboardInterrupt:
        line.stop(job)
        raise


def make_job(record: Run, runtime: str, artifacts: Mapping[str, Artifact]) -> wire.Job | None:
    """Return the job of all of a run's cases for one runtime, or None when none of them could be built.

    A reference runs in about sqrt(cases of its comparisons), at least 2, processes per block.
    """
    entries = [entry for entry in record.entries if entry.case.runtime == runtime and entry.failure is None]
    pairs = dict.fromkeys(
        (e.case.case_id, e.reference) for e in entries if e.reference and e.case.case_id != e.reference
    )
    comparisons = tuple((case, reference) for case, reference in pairs if reference is not None)
    counts = {ref: sum(1 for _, other in comparisons if other == ref) for _, ref in comparisons}
    cases = {
        entry.case.case_id: wire.JobCase(
            case_id=entry.case.case_id,
            label=f"{entry.ladder} {entry.rung}",
            artifact=wire.FileRef(entry.case.artifact, artifacts[entry.case.artifact].size_bytes),
            sample=_sample_ref(artifacts[entry.case.artifact]),
            tolerance=artifacts[entry.case.artifact].tolerance,
            precision=entry.case.precision,
            threads=entry.case.threads,
            batch=entry.case.batch,
            options=dict(entry.case.options),
            replicates=_replicates(counts.get(entry.case.case_id, 0)),
        )
        for entry in entries
    }
    if not cases:
        return None
    return wire.Job(
        run=record.run,
        job=f"{record.run}-{runtime}",
        runtime=runtime,
        seed=record.plan.seed,
        cases=tuple(cases.values()),
        comparisons=comparisons,
        protocol=wire.Protocol(budget_s=record.plan.budget_s),
    )


def _replicates(compared: int) -> int:
    return max(2, round(math.sqrt(compared + 1))) if compared else 1


def _sample_ref(artifact: Artifact) -> wire.FileRef:
    return wire.FileRef(artifact.sample_sha256, artifact.sample_bytes)


def _deploy(line: transport.Transport, folder: Path, job: wire.Job, artifacts: Mapping[str, Artifact]) -> None:
    """Put what the device lacks (artifacts, samples, journal, job) and start the agent, detached."""
    wanted = {case.artifact.sha256 for case in job.cases}
    chosen = [artifact for sha256, artifact in artifacts.items() if sha256 in wanted]
    files = {artifact.sha256: Path(artifact.path) for artifact in chosen}
    files |= {artifact.sample_sha256: Path(artifact.sample_path) for artifact in chosen}
    line.put(files)
    line.restore_journal(job, store.journal_bytes(folder, job.runtime))
    line.put_job(job)
    line.start(bundle.build(job.runtime), job)


def _follow(line: transport.Transport, folder: Path, job: wire.Job, tell: OnProgress) -> None:
    """Copy the journal as it grows until the reply is there. Blocks between looks; never spins.

    Raises DeviceError when the agent died without a reply: its journal is kept, and the run can go on.
    """
    copied = len(store.journal_bytes(folder, job.runtime))
    meter = _Meter(job, tell)
    quiet_since = time.monotonic()
    while True:
        ended = line.reply(job)  # before the journal: a reply that is there has its whole journal behind it
        fresh = line.follow(job, copied)
        if fresh:
            store.append_journal(folder, job.runtime, fresh)
            copied += len(fresh)
            meter(fresh)
            quiet_since = time.monotonic()
        elif ended is not None:
            store.save_reply(folder, job, ended)
            return
        elif time.monotonic() - quiet_since > _SILENCE_S and not line.alive(job):
            last_words = line.log_tail(job)
            raise DeviceError(
                f"the agent on {line.name} ended without a reply: {last_words or 'killed, or out of memory'}",
                f"Nothing measured is lost; go on with: harness run --resume {job.run}",
            )
        else:
            time.sleep(_POLL_S)


class _Meter:
    """Turns journal lines into progress: seconds of the budget against the budget."""

    def __init__(self, job: wire.Job, tell: OnProgress) -> None:
        self.job, self.tell, self.began = job, tell, time.monotonic()
        self.labels = {case.case_id: case.label for case in job.cases}
        self.block = 0

    def __call__(self, lines: bytes) -> None:
        text = ""
        for line in lines.decode().splitlines():
            event = wire.decode_event(line, "journal")
            if isinstance(event, wire.ProcessEvent):
                self.block = max(self.block, event.block)
                text = f"block {event.block}, {self.labels.get(event.case_id, '?')}"
            elif isinstance(event, wire.FailedEvent) and event.final:
                text = f"failed: {self.labels.get(event.case_id, '?')}: {event.cause}"
        if text:
            spent = min(time.monotonic() - self.began, self.job.protocol.budget_s)
            self.tell(Progress(f"{self.job.runtime}: {text}", round(spent), round(self.job.protocol.budget_s)))


def _finish(folder: Path, record: Run) -> Run:
    """Write the frames and the analysed record."""
    journals = {runtime: store.events(folder, runtime) for runtime in record.plan.runtimes}
    replies = {runtime: store.load_reply(folder, runtime) for runtime in record.plan.runtimes}
    store.save_frames(folder, journals.values())
    return replace(analysis.analyse(record, journals, replies), status="done")


def _save_if_possible(folder: Path, record: Run) -> None:
    """Record a failure, unless the failure is that nothing can be written: then the first error is the one to show."""
    try:
        store.save(folder, record)
    except StoreError:
        return

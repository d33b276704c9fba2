"""The story of one run: compress, build, deploy, measure, store. What it finds out goes to the run's folder.

    plan -> ladders -> artifacts -> entries (ladder rows as cases) -> one job per runtime -> journal -> run.json
             compress   build                                          jobs                  store, analysis

The folder holds enough to go on from any moment: `resume` first follows an agent that is still at work, then walks the
same road, on which the cache and the device's journal answer for all that is already done.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from harness import analysis, build, cache, energy, following, given, jobs, provenance, rows, store, transport
from harness import preflight as making_ready
from harness.child import ChildDied, OnProgress, Progress
from harness.compress import client
from harness.errors import BusyError, HarnessError, StoreError, UsageError
from harness.preflight import Busy, Ready
from harness.records import Artifact, Device, Ladder, LadderRequest, Plan, Run, Rung
from harness.transport import Transport

Turn = Callable[[OnProgress], AbstractContextManager[None]]
"""Gives a block to prepare within, when it is this run's turn; after it the run may measure."""

_CACHE_FREE_BYTES = 2**30
_IF_AGAIN = (
    "If it dies there again, going on repeats it: after signal 9 free memory, or let others use less; else start a new run "
    "with another --method, --model or --train-on, and report what it said."
)


def new_session() -> str:
    """Return a name for one invocation, shared by the runs of all its devices."""
    return secrets.token_hex(4)


def _at_once(tell: OnProgress) -> AbstractContextManager[None]:
    return nullcontext()


def start(
    plan: Plan,
    ready: Ready,
    *,
    results: Path,
    command: Sequence[str],
    session: str,
    tell: OnProgress,
    turn: Turn = _at_once,
) -> Path:
    """Do the whole main job on one device and return the run's folder. Raises HarnessError.

    `preflight` has made the device ready; a word that only the network can judge (an activation's name) leaves nothing
    behind either.
    """
    now = datetime.now(UTC)
    record = Run(
        schema=store.SCHEMA,
        run=f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}",
        session=session,
        device=ready.device.name,
        virtual=ready.device.virtual,
        status="preparing",
        created=now.isoformat(timespec="seconds"),
        command=tuple(command),
        plan=plan,
        provenance=provenance.told(),
        calibration=store.calibration_of(results, plan),
        sensors=ready.sensors,
    )
    folder = store.create(results, record)
    tell(Progress(f"run {record.run}"))
    seconds: dict[str, float] = {}
    with store.held(folder), _kept_true(folder, record, seconds):
        return _carry_out(folder, record, ready, seconds, tell, turn)


def resume(folder: Path, device: Device, *, tell: OnProgress, busy: Busy = "refuse") -> Path:
    """Finish what the run in `folder` lacks, and return the folder. A run that is done stays as it is.

    Raises StoreError when another harness is at work on it.
    """
    with store.held(folder):
        record = store.load(folder)
        if record.status == "done":
            tell(Progress(f"run {record.run} is complete; nothing to do"))
            return folder
        tell(Progress(f"run {record.run}: going on"))
        seconds = dict(record.seconds)
        with _kept_true(folder, record, seconds, resumed=True), closing(transport.connect(device)) as line:
            while True:
                _catch_up(folder, record, line, device, seconds, tell)
                if _is_measured(folder, record):
                    return _finish(folder, record, seconds)
                try:
                    ready = preflight(_still_asked(folder, record), device, folder.parent.parent, tell, busy, line)
                except BusyError:
                    if (line.holder() or {}).get("run") != record.run:
                        raise
                    continue  # its own agent, which was only being started when it was looked for
                record = replace(record, sensors=record.sensors if _jobs(folder, record) else ready.sensors)
                return _carry_out(folder, record, ready, seconds, tell)


def preflight(
    plan: Plan,
    device: Device,
    results: Path,
    tell: OnProgress,
    busy: Busy = "refuse",
    line: Transport | None = None,
) -> Ready:
    """Check all that can fail before the long work: results, cache, device, its runtimes. Raises HarnessError."""
    store.require_writable(results)
    build.require_room(_CACHE_FREE_BYTES)
    return making_ready.make(device, plan.runtimes, tell, busy, line, plan.energy)


# --- one run, stage by stage ---------------------------------------------------------------------------------------


@contextmanager
def _kept_true(folder: Path, record: Run, seconds: dict[str, float], resumed: bool = False) -> Iterator[None]:
    """Record what ends a run early, an interruption or an error, in its run.json, and pass it on with the way to go on."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        _save_if_possible(folder, replace(store.load(folder), status="interrupted", seconds=seconds))
        way = f"What is done is kept; go on with: harness run --resume {record.run}"
        raise KeyboardInterrupt(*interruption.args, way) from None
    except HarnessError as error:
        _record_failure(folder, error, seconds, resumed)
        raise


def _carry_out(
    folder: Path, record: Run, ready: Ready, seconds: dict[str, float], tell: OnProgress, turn: Turn = _at_once
) -> Path:
    """Walk the stages, keeping run.json true at each."""
    record = _prepare_and_measure(folder, record, ready, seconds, tell, turn)
    return _finish(folder, record, seconds)


def _catch_up(
    folder: Path, record: Run, line: Transport, device: Device, seconds: dict[str, float], tell: OnProgress
) -> None:
    """Follow an agent that is still at work, or has ended meanwhile, before anything else happens on these cores."""
    with _timed(seconds, "measure"):
        for runtime in record.plan.runtimes:
            job = store.load_job(folder, runtime)
            if job is not None and (line.alive(job) or line.reply(job) is not None):
                with jobs.stopped_on_interruption(line, job):
                    following.follow(line, folder, job, tell, device.sensors)


def _record_failure(folder: Path, error: HarnessError, seconds: dict[str, float], resumed: bool) -> None:
    """Keep what is done and say how to go on; a wrong word in a run that has nothing yet leaves nothing behind.

    Such a word is one that only the network could judge, as the name of an activation. A child that died would die again of
    the same cause, so going on is not all that is said, and its last words stay.
    """
    stored = store.load(folder)
    if isinstance(error, UsageError) and stored.status == "preparing" and not resumed:
        shutil.rmtree(folder)
        return
    _save_if_possible(folder, replace(stored, status="failed", failure=error.message, seconds=seconds))
    way = f"What is done is kept; go on with: harness run --resume {stored.run}"
    if isinstance(error, ChildDied):
        error.hint = "\n".join(filter(None, (error.hint, f"{way}. {_IF_AGAIN}")))
    error.hint = error.hint or way


def _prepare_and_measure(
    folder: Path, record: Run, ready: Ready, seconds: dict[str, float], tell: OnProgress, turn: Turn
) -> Run:
    """Make ladders and artifacts (the cache may have them) and bring every job to its reply."""
    with turn(tell):
        with _timed(seconds, "ladders"):
            ladders = _climb(record.plan, tell)
        with _timed(seconds, "build"):
            entries, artifacts = rows.make(record.plan, ready.device, ladders, tell)
    entries = rows.agree(record, entries)
    kept = tuple(_portable(ladder) for ladder in ladders)
    record = replace(record, status="measuring", ladders=kept, entries=entries, failure=None)
    store.save(folder, record)
    with _timed(seconds, "measure"):
        for runtime in record.plan.runtimes:
            _measure(folder, record, runtime, artifacts, ready, tell)
    return record


def _is_measured(folder: Path, record: Run) -> bool:
    """Whether every job that the run has made has its reply."""
    replies = (store.load_reply(folder, runtime) for runtime in record.plan.runtimes)
    return bool(record.entries) and _jobs(folder, record) == list(record.plan.runtimes) and all(replies)


def _jobs(folder: Path, record: Run) -> list[str]:
    """The runtimes whose jobs have been made: these stay as they are."""
    return [runtime for runtime in record.plan.runtimes if store.load_job(folder, runtime) is not None]


def _still_asked(folder: Path, record: Run) -> Plan:
    """The plan of a run that goes on: where every job has been made, its sensors are not asked anew."""
    if _jobs(folder, record) != list(record.plan.runtimes):
        return record.plan
    return replace(record.plan, energy=replace(record.plan.energy, mode="none"))


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - began, 3)


def _climb(plan: Plan, tell: OnProgress) -> tuple[Ladder, ...]:
    if plan.given:
        return (given.climb(plan.given, plan.batch, tell),)
    client.check(plan.ladders, tell)
    ladders = [client.climb(request, tell) for request in plan.ladders]
    if plan.controls:
        first: LadderRequest = plan.ladders[0]
        ladders.append(client.controls(first.model, first.task, first.seed, tell, first.data))
    client.require_all(ladders)
    return tuple(ladder for ladder in ladders if ladder.rungs)


def _portable(ladder: Ladder) -> Ladder:
    """Name the programs of a ladder by their place in the cache: a run that travels carries nobody's home folder."""

    def portable(rung: Rung) -> Rung:
        program = Path(rung.variant.program).relative_to(cache.root())
        return replace(rung, variant=replace(rung.variant, program=str(program)))

    return replace(ladder, rungs=tuple(portable(rung) for rung in ladder.rungs))


# --- measuring -----------------------------------------------------------------------------------------------------


def _measure(
    folder: Path, record: Run, runtime: str, artifacts: Mapping[str, Artifact], ready: Ready, tell: OnProgress
) -> None:
    """Bring one runtime's job to its reply, unless it has one: send what is missing, start an agent, follow it."""
    planned = energy.plan(record.plan.energy, ready.device, record.sensors)
    job = store.load_job(folder, runtime) or jobs.make(record, runtime, artifacts, ready.device.profile, planned)
    if job is None or store.load_reply(folder, runtime) is not None:
        return
    if job.energy is not None:
        tell(Progress(energy.say(job.energy, len(job.cases))))
    store.save_job(folder, job)
    while True:
        try:
            environment, sensors = ready.environments[runtime], ready.device.sensors
            jobs.bring(ready.line, folder, job, artifacts.values(), tell, environment, sensors)
            return
        except BusyError:  # taken while the ladder was made
            making_ready.free_again(ready, runtime, tell)


def _finish(folder: Path, record: Run, seconds: dict[str, float]) -> Path:
    """Write the frames and the analysed record; return the folder."""
    with _timed(seconds, "store"):
        made, journals, replies = store.measured(folder, record.plan.runtimes)
        store.save_frames(folder, journals, record.plan.regime)
        record = replace(record, calibration=store.compared_calibration(record, replies))
        meters = store.all_meters(folder, record.plan.runtimes)
        record = replace(analysis.analyse(record, made, journals, replies, meters), status="done", failure=None)
    store.save(folder, replace(record, seconds=seconds))
    return folder


def _save_if_possible(folder: Path, record: Run) -> None:
    """Record a failure, unless the failure is that nothing can be written: then the first error is the one to show."""
    with suppress(StoreError):
        store.save(folder, record)

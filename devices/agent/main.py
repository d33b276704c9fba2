"""The agent: the program that runs on a device, a function of files. Called as `python agent-<hash>.pyz <verb> ...`.

    run WORKDIR JOB      measure jobs/JOB/job.json into jobs/JOB/events.jsonl, then jobs/JOB/reply.json
    start WORKDIR JOB [OWNER [KEEP_BYTES]]
                         the same, detached, for OWNER: checks the job's artifacts, trims the workdir to KEEP_BYTES, returns
                         once the lock is taken and prints the agent's process id; an agent at work on JOB already is that one
    stop WORKDIR [OWNER] end the agent that holds the lock, for OWNER, as its log then says; its journal stays whole
    holder WORKDIR       who holds the lock
    clean WORKDIR        remove what nobody has used for a day
    look WORKDIR [SENSORS_JSON]
                         what this device is and how it stands; SENSORS_JSON: the options of sensors by their names
    step WORKDIR METERS_JSON
                         a step of load on every core, the meters ({"sensor", "options"} each) read meanwhile
    clock                the device's time beside each line that is read, until there are no more
    probe RUNTIME [WORKDIR KEY]
                         what the runtime says of itself here, and what this device is; with KEY in the environment of that
                         name, which is made first where it is not there

Answers are one JSON object on standard output; an error is {"error": {"type", "message", "hint"}} and exit code 1.
"""

import contextlib
import errno
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, NoReturn, Tuple

from harness.errors import DeviceError, HarnessError, WireError

_STOP_PATIENCE_S = 10.0
STOPPED = 143  # exit code after SIGTERM or SIGINT, as a shell would say it


class Stopped(BaseException):
    """A signal asked the agent to end. Not an Exception: nothing but the top catches it."""


def main() -> int:
    """Dispatch on the verb; return the exit code."""
    verb, arguments = sys.argv[1], sys.argv[2:]
    if Path(sys.prefix).parent.name == "envs":  # what the log-in sets (ROS does) must not reach into an environment
        os.environ.pop("PYTHONPATH", None)
    if verb.endswith("worker"):
        _serve(verb)
    if verb == "put-back-later":
        from devices.agent import tune

        tune.keep_watch(*arguments)
        return 0
    if verb == "clock":
        from devices.agent import clock

        clock.serve()
        return 0
    verbs: Dict[str, Callable[..., Dict[str, Any]]] = {
        "run": run,
        "start": start,
        "stop": stop,
        "holder": holder,
        "clean": clean,
        "look": look,
        "step": step,
        "probe": probe,
    }
    try:
        print(json.dumps(verbs[verb](*arguments)), flush=True)
    except HarnessError as error:
        return _refuse(type(error).__name__, error.message, error.hint)
    except OSError as error:
        hint = "Free some space." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return _refuse("DeviceError", "%s: %s" % (error.filename or "the device", error.strerror or error), hint)
    except Stopped:
        return STOPPED
    return 0


def _serve(verb: str) -> NoReturn:
    """Be a process of its own for one question; only what it needs is imported, for the measured ones count their import."""
    from devices.agent import worker

    if verb == "window-worker":
        from devices.agent import window

        worker.serve(window.measure)
    if verb == "sampler-worker":
        from devices.agent import sampler

        worker.serve(sampler.sample)
    if verb == "graph-worker":
        from devices.agent import graph

        worker.serve(graph.walk)
    if verb == "ceilings-worker":
        from devices.agent import ceilings

        worker.serve(ceilings.measure)
    handlers = {"worker": worker.measure_case, "probe-worker": worker.probe, "prepare-worker": worker.prepare}
    worker.serve(handlers[verb])


def run(workdir: str, job: str) -> Dict[str, Any]:
    """Measure a job in this process. Raises DeviceError when another agent holds the lock, WireError, OSError."""
    from devices.agent import lock

    job_run, fd = _open(Path(workdir), job)
    lock.sign(fd, job_run.job.run, job, os.getpid(), job_run.agent)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _on_signal)
    job_run.finish()
    return {"finished": job}


def start(workdir: str, job: str, owner: str = "", keep_bytes: str = "") -> Dict[str, Any]:
    """Measure a job in a process of its own session, which keeps the lock that is taken here.

    Whoever lost the link while asking may ask again: an agent that is at work on the job is the one that was asked for.
    """
    from devices.agent import incoming, keep, lock

    path = Path(workdir) / "lock"
    at_work = lock.holder(path)
    if at_work and at_work["job"] == job:
        return {"started": job, "pid": at_work["pid"]}
    try:
        job_run, fd = _open(Path(workdir), job)
    except DeviceError:
        _wait_for_signature(path)  # the command that was lost may just have taken the lock
        at_work = lock.holder(path)
        if not at_work or at_work["job"] != job:
            raise
        return {"started": job, "pid": at_work["pid"]}
    sizes = {file.sha256: file.size_bytes for file in job_run.job.files()}
    incoming.require_whole(Path(workdir) / "artifacts", sizes)
    if keep_bytes:
        own = {job, job_run.agent, Path(sys.prefix).name, *sizes}
        keep.trim(Path(workdir), own, int(keep_bytes))
    pid = os.fork()
    if pid == 0:
        _detach(job_run, fd, owner)
    _wait_for_signature(path)
    return {"started": job, "pid": pid}


def _wait_for_signature(path: Path) -> None:
    """Return when the agent has signed its lock, or has ended already: whoever asks next can name it."""
    from devices.agent import lock

    end = time.monotonic() + _STOP_PATIENCE_S
    while time.monotonic() < end and lock.holder(path) == {}:
        time.sleep(0.01)


def _open(workdir: Path, name: str) -> Tuple[Any, int]:
    """Take the lock, read the job and its journal."""
    from devices.agent import lock
    from devices.agent.run import JobRun
    from harness import wire

    file = workdir / "jobs" / _plain(name, "job") / "job.json"
    fd = lock.acquire(workdir / "lock")
    job = wire.decode(wire.Job, file.read_text(encoding="utf-8"), str(file))
    return JobRun(workdir, job, Path(sys.argv[0]).name), fd


def _detach(job_run: Any, fd: int, owner: str) -> NoReturn:
    """The child's side of `start`: leave the session and the terminal, measure, end. Its words go to agent.log.

    It signs the lock itself, first: whatever interrupts the parent, an agent at work can be named and stopped.
    """
    from devices.agent import lock

    code = 1
    try:
        os.setsid()
        lock.sign(fd, job_run.job.run, job_run.job.job, os.getpid(), job_run.agent, owner)
        log = os.open(str(job_run.folder / "agent.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o644)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _on_signal)
        job_run.finish()
        code = 0
    except Stopped:
        code = STOPPED
    except HarnessError as error:  # a setting that the device refuses, for one: its own words say enough
        print(". ".join(part for part in (error.message, error.hint) if part), file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def stop(workdir: str, owner: str = "") -> Dict[str, Any]:
    """Ask the live holder of the lock to end, and wait until it has; force it after a while.

    One that ends by itself just then is stopped too.
    """
    from devices.agent import lock

    path = Path(workdir) / "lock"
    holder = lock.holder(path)
    if not holder:
        return {"stopped": None}
    _say_who(Path(workdir), holder, owner)
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(holder["pid"], number)
        except ProcessLookupError:
            return {"stopped": holder}
        end = time.monotonic() + _STOP_PATIENCE_S
        while time.monotonic() < end:
            if (lock.holder(path) or {}).get("pid") != holder["pid"]:
                return {"stopped": holder}
            time.sleep(0.02)
    raise DeviceError("%s is still held by process %s" % (path, holder["pid"]), "")


def _say_who(workdir: Path, holder: Dict[str, Any], owner: str) -> None:
    """Write into the log of an agent who ends it: whoever follows it shall know."""
    with contextlib.suppress(OSError, WireError):
        log = workdir / "jobs" / _plain(str(holder["job"]), "job") / "agent.log"
        with log.open("a", encoding="utf-8") as file:
            file.write("it was ended by %s\n" % (owner or "somebody"))


def holder(workdir: str) -> Dict[str, Any]:
    """Say who holds the lock, null where it is free."""
    from devices.agent import lock

    return {"holder": lock.holder(Path(workdir) / "lock")}


def clean(workdir: str) -> Dict[str, Any]:
    """Remove what nobody has used for a day."""
    from devices.agent import keep

    return keep.clean(workdir)


def look(workdir: str, sensors: str = "{}") -> Dict[str, Any]:
    """Say what this device is and how it stands, and what its sensors say with these options. Raises WireError."""
    from devices.agent import look as looking
    from harness import wire

    return looking.look(workdir, wire.parse(sensors, "options of sensors"))


def step(workdir: str, meters: str) -> Dict[str, Any]:
    """Put a step of load on every core and say what the meters saw. Raises BusyError, WireError."""
    from devices.agent import step as stepping
    from harness import wire

    return stepping.step(Path(workdir), wire.parse(meters, "meters"))


def probe(runtime: str, workdir: str = "", key: str = "") -> Dict[str, Any]:
    """Say what the runtime and the device are; {"cause", "detail"} instead of versions when it cannot be imported."""
    from devices.agent import environments, facts
    from devices.agent import run as runs

    _plain(runtime, "runtime")
    if key:  # once more, by the environment's own Python
        python = str(environments.install(Path(workdir), key))
        os.execv(python, [python, sys.argv[0], "probe", runtime])
    with tempfile.TemporaryDirectory() as folder:
        return {**runs.probe(runtime, Path(folder) / "worker.log"), "facts": facts.read()}


def _plain(name: str, what: str) -> str:
    from harness import wire

    try:
        return wire.require_name(name, what)
    except ValueError as error:
        raise WireError(str(error)) from None


def _on_signal(number: int, frame: Any) -> None:
    raise Stopped(number)


def _refuse(kind: str, message: str, hint: str) -> int:
    print(json.dumps({"error": {"type": kind, "message": message, "hint": hint}}), flush=True)
    return 1

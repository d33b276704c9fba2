"""The fresh process: loads one artifact, proves its outputs, warms it up, times it, and answers on standard output.

Everything that a runtime may do to a process - crash it, print, spin up threads, leave memory behind - ends with it.
"""

import contextlib
import ctypes
import faulthandler
import importlib
import json
import os
import re
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, NoReturn, Optional

from devices.agent.journal import now_ns

_PR_SET_PDEATHSIG = 1
_NO_MEMORY = re.compile(r"bad_alloc|out of memory|can.t allocate memory|[Ff]ailed to allocate")


def serve(handle: Callable[[Dict[str, Any]], Dict[str, Any]]) -> NoReturn:
    """Read the request, answer with what `handle` returns or with the cause of its failure, and end the process.

    Standard output belongs to the answer; whatever a runtime prints is sent to standard error. The process ends without
    teardown: the measurement is over, and what a runtime does at exit is not measured.
    """
    faulthandler.enable()
    speech = os.dup(1)
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.read() or b"{}")
    if not request:
        os._exit(1)  # the agent died before it could ask
    _die_with(request["parent"])
    answer = json.dumps({**_attempt(handle, request), "used": used()}, allow_nan=False).encode()
    with os.fdopen(speech, "wb") as out:
        out.write(answer)
    sys.stderr.flush()
    os._exit(0)


def measure_case(request: Dict[str, Any]) -> Dict[str, Any]:
    """One measured process: import the runtime (since the process began), then measure the case."""
    from devices.agent import measure, pinning

    pinning.pin(request["case"]["options"])  # before the runtime asks how many there are
    runtime = load_runtime(request["runtime"])
    runtime.versions()  # imports the runtime's packages
    import_ns = now_ns() - request["began_ns"]
    return {"import_ns": import_ns, **measure.measure(runtime, request)}


def probe(request: Dict[str, Any]) -> Dict[str, Any]:
    """What the runtime says of itself here: the versions of its packages, and which of the optional functions it has.

    `prepares`: it makes something before it measures. `walks`: it tells the operators of what it has loaded.
    """
    runtime = load_runtime(request["runtime"])
    offered = {"prepares": hasattr(runtime, "prepare"), "walks": hasattr(runtime, "operators")}
    return {"versions": runtime.versions(), **{name: True for name, there in offered.items() if there}}


def prepare(request: Dict[str, Any]) -> Dict[str, Any]:
    """Let the runtime make what it needs on this device for a case. Raises whatever the runtime raises."""
    from devices.agent import measure

    load_runtime(request["runtime"]).prepare(request["artifact"], measure.options_of(request))
    return {}


def used() -> Dict[str, Any]:
    """What this process has used since it began, as the kernel counted it: the fields of `wire.Usage` that it can know."""
    counted = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_ns": int((counted.ru_utime + counted.ru_stime) * 1e9),
        "switches_voluntary": counted.ru_nvcsw,
        "switches_involuntary": counted.ru_nivcsw,
        "major_faults": counted.ru_majflt,
        "migrations": _migrations(Path("/proc/self/sched")),
    }


def _migrations(path: Path) -> Optional[int]:
    """How often the main thread changed its core; None where the kernel does not say."""
    with contextlib.suppress(OSError):
        found = re.search(r"nr_migrations\s*:\s*(\d+)", path.read_text())
        return int(found.group(1)) if found else None
    return None


def load_runtime(name: str) -> Any:
    """Import the runtime's file from the bundle. Raises ModuleNotFoundError if it is not in it."""
    return load_part("runtimes", name)


def load_part(kind: str, name: str) -> Any:
    """Import a runtime's or a sensor's file (`kind`: runtimes, sensors). Raises ModuleNotFoundError if it is not there.

    While it is imported its folder can be imported from, so that it finds shared code beside it (`_common.py`) under its
    bare name. The folder comes last: the runtime's file may have the name of the package that it imports.
    """
    folders = list(importlib.import_module("devices." + kind).__path__)
    sys.path += folders
    try:
        return importlib.import_module("devices.%s.%s" % (kind, name))
    finally:
        for folder in folders:
            sys.path.remove(folder)


def _attempt(handle: Callable[[Dict[str, Any]], Dict[str, Any]], request: Dict[str, Any]) -> Dict[str, Any]:
    try:
        return {"result": handle(request)}
    except MemoryError as error:
        return {"cause": "out-of-memory", "detail": "MemoryError: %s" % error}
    except Exception as error:
        traceback.print_exc()
        words = "%s: %s" % (type(error).__name__, error)
        kind = "out-of-memory" if _NO_MEMORY.search(words) else getattr(error, "cause", "error")
        return {"cause": kind, "detail": "%s [%s]" % (words[:1500], _where(error))}


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return " > ".join("%s:%s" % (Path(frame.filename).name, frame.lineno) for frame in frames[-3:])


def _die_with(parent: int) -> None:
    """Ask the kernel to kill this process when the agent dies; one that has died already is noticed by its absence."""
    with contextlib.suppress(OSError, AttributeError):  # not Linux: the agent still kills it when it can
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)

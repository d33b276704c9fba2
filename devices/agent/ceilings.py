"""What this device does at best: a matrix product in float32 and a copy, each in the threads and on the CPUs of a case.

    product    n x n by n x n, n so that it takes about 50 ms, best of several: multiply-adds per second
    copy       an array much larger than the caches, cut into a slice per thread: bytes read and written per second

Kept in `workdir/ceilings.json` by machine, settings, threads, CPUs and the library that made them, after three jobs for
good: the best of three that were quiet. Quiet is where the spins before and after are near the device's best, and where
in the best product and copy every thread had a core to itself by its CPU time: a device that was busy since its first
job knows no good spin. What is contended is told as such and not kept. Removing the file measures anew.
No runtime is thereby shown to be bad: its kernels may beat NumPy's product, above all where they compute in narrower numbers.
"""

import contextlib
import json
import os
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from devices.agent import pinning
from devices.agent.journal import now_ns, replace_file
from devices.agent.launch import Outcome
from harness import wire
from harness.decode import build
from harness.errors import WireError

LIMIT_S = 60.0
_PRODUCT_NS, _COPY_NS = 50_000_000, 150_000_000
_FIRST, _MOST = 256, 4096  # rows of a matrix
_TIMES = 5
_LEAST_BYTES = 64 * 2**20  # of an array to be copied
_TICK_NS = 4_000_000  # what another thread's CPU time may be behind when it is read
_CPUS, _TASKS = Path("/sys/devices/system/cpu"), Path("/proc/self/task")
_ENOUGH = 3  # quiet measurements, each of another job
_LEAST_CPU = 0.9  # CPU time by wall time and thread
_FIELDS = ("macs_per_s", "bytes_per_s", "made_with", "settings", "reason")
_SETTINGS = {
    "macs_per_s": ("rows", "product_ns", "product_cpu"),
    "bytes_per_s": ("copied_bytes", "copy_ns", "copy_cpu", "cache_bytes"),
}


def wanted(past: List[wire.Event], job: wire.Job) -> List[wire.Place]:
    """Return the places of the job's cases whose ceilings its journal does not hold."""
    known = {wire.Place(event.threads, event.cpus) for event in past if isinstance(event, wire.CeilingsEvent)}
    return sorted({case.place for case in job.cases} - known)


def look(memory: "Memory", place: wire.Place, launch: Callable[[], Tuple[Outcome, bool]]) -> Dict[str, Any]:
    """Return the fields of a `wire.CeilingsEvent`: the best of those kept and of those that `launch` measures.

    `launch` also tells whether a spin beside it was slow. What is contended is told only where nothing is kept.
    """
    kept = memory.get(place)
    if kept is not None and memory.times(place) >= _ENOUGH:
        return {**kept, **place._asdict()}
    if memory.numpy is None:
        return {**_none("there is no numpy in this environment to make them with"), **place._asdict()}
    outcome, slow = launch()
    contended = outcome.result is not None and (slow or _shared(outcome.result))
    if outcome.result is not None and not contended:
        memory.keep(place, outcome.result)
        kept = memory.get(place)
    if kept is not None:
        return {**kept, **place._asdict()}
    if outcome.result is None:
        words = "the process that measures them gave nothing: %s: %s" % (outcome.cause, outcome.detail)
        return {**_none(words), **place._asdict()}
    return {**outcome.result, "reason": "", "contended": True, **place._asdict()}


def _none(reason: str) -> Dict[str, Any]:
    return {"macs_per_s": None, "bytes_per_s": None, "made_with": "", "settings": {}, "reason": reason}


def _shared(measured: Dict[str, Any]) -> bool:
    """Whether the threads had to wait for a core: their CPU time fell behind the wall time, even in the best of several."""
    shares = (measured["settings"]["product_cpu"], measured["settings"]["copy_cpu"])
    return any(share is not None and share < _LEAST_CPU for share in shares)


class Memory:
    """The ceilings of a device over all its jobs. A file that is damaged or of another make counts as nothing known."""

    def __init__(self, path: Path, machine: Optional[str]) -> None:
        self.path = path
        self.machine = machine
        self.numpy = _version("numpy")
        self._file: Dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError, TypeError):
            self._file = dict(json.loads(path.read_text(encoding="utf-8")))

    def get(self, place: wire.Place) -> Optional[Dict[str, Any]]:
        """Return what is known of a place, as the fields of an event."""
        with contextlib.suppress(KeyError, TypeError, WireError):
            kept = {name: self._file[self._key(place)][name] for name in _FIELDS}
            line = {"v": wire.VERSION, "seq": 0, "t_ns": 0, "kind": "ceilings", **place._asdict()}
            build(wire.CeilingsEvent, {**kept, **line}, str(self.path))
            return kept
        return None

    def times(self, place: wire.Place) -> int:
        """How many quiet measurements stand behind it; 0 for a file that does not say."""
        with contextlib.suppress(KeyError, TypeError, ValueError):
            return int(self._file[self._key(place)]["times"])
        return 0

    def keep(self, place: wire.Place, measured: Dict[str, Any]) -> None:
        """Write down the best of what was measured and what was known. Raises OSError."""
        known, times = self.get(place), self.times(place) + 1
        self._file[self._key(place)] = {**_best_of(known, measured), "reason": "", "times": times}
        replace_file(self.path, json.dumps(self._file))

    def _key(self, place: wire.Place) -> str:
        where = ", cpus %s" % place.cpus if place.cpus else ""
        return "%s, numpy %s, %d threads%s" % (self.machine, self.numpy, place.threads, where)


def _best_of(known: Optional[Dict[str, Any]], measured: Dict[str, Any]) -> Dict[str, Any]:
    """Of either ceiling the higher one, with its own settings."""
    best = {**measured, "settings": dict(measured["settings"])}
    for name, settings in _SETTINGS.items():
        if known is not None and (known[name] or 0.0) > measured[name]:
            best[name] = known[name]
            best["settings"].update({each: known["settings"].get(each) for each in settings})
    return best


def _version(package: str) -> Optional[str]:
    """The worker's Python is this one: what it has can be told without importing it."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


# --- in a process of its own ---------------------------------------------------------------------------------------


class Run(NamedTuple):
    """One product or copy: wall time in ns, and CPU time by wall time and thread, 1 where none had to wait for a core."""

    ns: int
    cpu: float


def measure(request: Dict[str, Any]) -> Dict[str, Any]:
    """Measure both in `request["threads"]` threads on `request["cpus"]`.

    Raises ImportError without numpy, MemoryError, NotPinnedError.
    """
    threads = int(request["threads"])
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"):
        os.environ[name] = str(threads)  # read when numpy is imported
    pinning.pin({wire.CPUS: request["cpus"]} if request["cpus"] else {})
    import numpy

    caches = _cache_bytes(_CPUS)
    size = _array_bytes(caches, _free_bytes())
    alone = threads <= len(os.sched_getaffinity(0))
    rows, product = _product(numpy, threads)
    copy = _copy(numpy, threads, size)
    return {
        "macs_per_s": rows**3 * 1e9 / product.ns,
        "bytes_per_s": 2 * size * 1e9 / copy.ns,
        "made_with": "numpy %s%s" % (numpy.__version__, _blas(numpy)),
        "settings": {
            "rows": rows,
            "product_ns": product.ns,
            "product_cpu": round(product.cpu, 4) if alone else None,  # threads that share cores by themselves wait
            "copied_bytes": size,
            "copy_ns": copy.ns,
            "copy_cpu": round(copy.cpu, 4) if alone else None,
            "cache_bytes": caches,
        },
    }


def _blas(numpy: Any) -> str:
    with contextlib.suppress(AttributeError, KeyError, TypeError):
        found = numpy.__config__.CONFIG["Build Dependencies"]["blas"]
        return ", %s %s" % (found["name"], found["version"])
    return ""


def _product(numpy: Any, threads: int) -> Tuple[int, Run]:
    """Return the rows of the largest product that takes about 50 ms, and its best run."""
    rows = _FIRST
    best = _best(_multiply(numpy, rows, threads), _TIMES)
    while best.ns < _PRODUCT_NS // 2 and rows < _MOST:
        rows = min(_MOST, 2 * rows, max(rows + 64, int(rows * (_PRODUCT_NS / best.ns) ** (1 / 3)) // 64 * 64))
        best = _best(_multiply(numpy, rows, threads), 2)
    return rows, min(best, _best(_multiply(numpy, rows, threads), _TIMES))


def _multiply(numpy: Any, rows: int, threads: int) -> Callable[[], Run]:
    left = numpy.full((rows, rows), 1 / 3, numpy.float32)
    right, out = left + 1, numpy.empty((rows, rows), numpy.float32)

    def multiply() -> Run:
        began, used = now_ns(), time.process_time_ns()
        numpy.dot(left, right, out=out)
        elapsed, used = max(1, now_ns() - began), time.process_time_ns() - used
        busy = min(threads, len(list(_TASKS.iterdir())))  # a library without threads is no neighbour
        return Run(elapsed, min(1.0, (used + (busy - 1) * _TICK_NS) / elapsed / busy))

    return multiply


def _copy(numpy: Any, threads: int, size: int) -> Run:
    """Return the best run of copying an array of `size` bytes whole; for a few times, and 150 ms."""
    source, target = numpy.ones(size, numpy.uint8), numpy.zeros(size, numpy.uint8)  # both touched: no page is missing
    cuts = [size * n // threads for n in range(threads + 1)]
    parts = [slice(begin, end) for begin, end in zip(cuts, cuts[1:])]

    def copy() -> Run:
        shares: List[float] = []  # each thread by its own clocks: slow cores of a device make the fast ones wait
        began = now_ns()
        others = [threading.Thread(target=copy_part, args=(part, shares)) for part in parts[1:]]
        for other in others:
            other.start()
        copy_part(parts[0], shares)
        for other in others:
            other.join()
        return Run(max(1, now_ns() - began), min(shares))

    def copy_part(part: slice, shares: List[float]) -> None:
        began, used = now_ns(), time.thread_time_ns()
        numpy.copyto(target[part], source[part])
        shares.append((time.thread_time_ns() - used) / max(1, now_ns() - began))

    end, best = now_ns() + _COPY_NS, _best(copy, 2)
    while now_ns() < end:
        best = min(best, _best(copy, 1))
    return best


def _array_bytes(caches: int, free: int) -> int:
    """Twice the caches, within an eighth of the memory that is free; MemoryError where source and target fit into caches."""
    size = min(max(_LEAST_BYTES, 2 * caches), free // 8)
    if 2 * size <= caches:
        raise MemoryError(
            "a copy beyond the caches (%d bytes) needs %d bytes free, not %d" % (caches, 4 * caches, free)
        )
    return size


def _cache_bytes(cpus: Path) -> int:
    """The caches of all CPUs, each that several share once: together they may hold what one of them does not."""
    found: Dict[Tuple[str, ...], int] = {}
    for cache in cpus.glob("cpu[0-9]*/cache/index*"):
        with contextlib.suppress(OSError):  # a CPU may go offline meanwhile
            level, kind, shared, size = (
                (cache / n).read_text().strip() for n in ("level", "type", "shared_cpu_list", "size")
            )
            if kind != "Instruction":
                found[level, kind, shared] = int(size[:-1]) * {"K": 2**10, "M": 2**20, "G": 2**30}[size[-1]]
    return sum(found.values())


def _free_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 8 * _LEAST_BYTES


def _best(act: Callable[[], Run], times: int) -> Run:
    return min(act() for _ in range(times))

"""Ladders, and networks folded alone, for the controller, which has no torch: from the cache, else from a child process."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import cache, child, content
from harness.child import OnProgress, Progress
from harness.compress import examples as stored_examples
from harness.compress import keys, listings, rungs
from harness.compress import prices as stored_prices
from harness.errors import StoreError
from harness.records import Examples, FoldReport, FoldRequest, Ladder, LadderRequest, Rung
from harness.records.planned import Listing, OptionsRequest, Priced, PricesRequest, Wanted

MODULE = "harness.compress"
CONTROL = "control"


def climb(request: LadderRequest, on_progress: OnProgress) -> Ladder:
    """Return the ladder; finished rungs are never made again, and a finished ladder starts no child.

    Raises UsageError (names, settings), TrainError, FoldError, StoreError.
    """
    about = {"method": request.method, "model": request.model, "task": request.task, "seed": request.seed}
    return _obtain(keys.ladder(request), about, {"ladder": asdict(request)}, request.threads, on_progress)


def check(requests: Sequence[LadderRequest], on_progress: OnProgress, least: int = 2) -> None:
    """Have the last of several ladders refused before the first is made; one alone is judged as it begins.

    Where none will be made, `least` is 1. Nothing is written. Raises UsageError (settings, units, epochs), ContentError
    (missing or damaged data).
    """
    unmade = [request for request in requests if rungs.read_ladder(keys.ladder(request)) is None]
    if len(unmade) >= least:
        on_progress(Progress(f"checking {len(unmade)} ladder{'s' * (len(unmade) > 1)}"))
        _ask({"check": [asdict(request) for request in unmade]}, unmade[0].threads, on_progress)


def controls(model: str, task: str, seed: int, on_progress: OnProgress, data: str | None = None) -> Ladder:
    """Return the model's latency controls, untrained, as a ladder of method `control`; empty when it has none.

    `data` is the task's folder; it matters where the task counts its classes there.
    """
    if content.constant("task", task, "CLASSES", 0) is not None:
        data = None
    about = {"method": CONTROL, "model": model, "task": task, "seed": seed}
    ask = {"controls": {"model": model, "task": task, "seed": seed, "data": data}}
    return _obtain(keys.controls(model, task, seed, data), about, ask, min(2, os.cpu_count() or 1), on_progress)


def options(request: OptionsRequest, on_progress: OnProgress) -> Listing:
    """Return what may be done to a network. Raises UsageError (names), ContentError, FoldError, StoreError."""
    key = keys.options(request)
    found = listings.read(key)
    if found is None:
        on_progress(Progress(f"{request.model}: looking for what can be folded"))
        _ask({"options": asdict(request), "key": key}, 1, on_progress)
        found = listings.read(key)
    if found is None:
        raise StoreError("the cache dropped the options just found", "Give it more room: HARNESS_CACHE_GB.")
    return found


def networks(request: OptionsRequest, wanted: Sequence[Wanted], on_progress: OnProgress) -> tuple[Rung | str, ...]:
    """Return the networks to be measured, in order, those that are not in the cache made anew, with random weights.

    In place of one that cannot be folded, proved or exported it is said why. Raises UsageError (an option that is not there,
    or overlaps another), ContentError, StoreError; FoldError where that is the unfolded network.
    """
    known = {each: keys.planned(request, each) for each in wanted}
    missing = {key: asdict(each) for each, key in known.items() if rungs.read(key) is None}
    failed = _make(request, missing, on_progress) if missing else {}
    return tuple(failed[key] if key in failed else rungs.require(key) for key in (known[each] for each in wanted))


def _make(request: OptionsRequest, missing: Mapping[str, Any], on_progress: OnProgress) -> dict[str, str]:
    """Make networks, a child per core: a second thread of one child makes it slower, for most layers are small.

    Why some could not be made, by key.
    """
    many = min(os.cpu_count() or 1, len(missing))
    shares = [dict([*missing.items()][n::many]) for n in range(many)]
    tell = _counted(on_progress, len(missing))
    with ThreadPoolExecutor(many) as pool, child.Group() as group:
        asked = [{"of": asdict(request), "networks": share, "threads": 1} for share in shares]
        told = list(pool.map(lambda each: group.call(MODULE, each, tell, _env(1)), asked))
    return {key: why for failed in told for key, why in failed.items()}


def _counted(on_progress: OnProgress, total: int) -> OnProgress:
    """Progress of several children: how many networks have been begun by all of them, less the one that is spoken of."""
    begun, lock = itertools.count(), threading.Lock()

    def tell(progress: Progress) -> None:
        with lock:
            on_progress(Progress(progress.text, next(begun), total))

    return tell


def prices(request: PricesRequest, on_progress: OnProgress) -> tuple[Priced, ...]:
    """Return what each choice is priced with each seed, in order; no training is made twice, and a look-up starts no child.

    Raises UsageError (an option that is not there, or overlaps another; data), ContentError, FoldError, StoreError;
    TrainError where a full network's own training diverges: of a choice's, its record says so.
    """
    found = stored_prices.read(request)
    if found is None:
        _ask({"prices": asdict(request)}, request.threads, on_progress)
        found = stored_prices.read(request)
    if found is None:
        raise StoreError("the cache dropped prices just found", "Give it more room: HARNESS_CACHE_GB.")
    return found


def require_all(ladders: Sequence[Ladder]) -> None:
    """Check that all ladders of a run are in the cache at once. Raises StoreError: one was dropped to make another."""
    for ladder in ladders:
        if not all(Path(rung.variant.program).is_file() for rung in ladder.rungs):
            raise StoreError(
                f"the cache, which may hold {cache.megabytes(cache.cap_bytes())}, dropped rungs of ladder {ladder.name} while "
                "another ladder was made: all ladders of a run must be there at once",
                "Give it more room (HARNESS_CACHE_GB), make fewer rungs (--rungs), or run the methods one by one.",
            )


def fold(request: FoldRequest, on_progress: OnProgress) -> FoldReport:
    """Fold one network in a child process, writing it to `request.out` if it names a place.

    Raises UsageError (names, weights), ContentError, FoldError, StoreError.
    """
    from pydantic import TypeAdapter

    said = _ask({"fold": asdict(request)}, 1, on_progress)
    return TypeAdapter(FoldReport).validate_python(said)


def examples(task: str, data: str | None, on_progress: OnProgress) -> Examples:
    """Return the task's examples, to calibrate artifacts on and to judge them by. Raises ContentError, StoreError."""
    key = keys.examples(task, data)
    found = stored_examples.read(key)
    if found is None:
        on_progress(Progress(f"{task}: examples for artifacts of rounded numbers"))
        _ask({"examples": {"task": task, "data": data}, "key": key}, 1, on_progress)
        found = stored_examples.read(key)
    if found is None:
        raise StoreError("the cache dropped the examples just made", "Give it more room: HARNESS_CACHE_GB.")
    return found


def _obtain(key: str, about: dict[str, Any], ask: dict[str, Any], threads: int, on_progress: OnProgress) -> Ladder:
    began = time.monotonic()
    stored = rungs.read_ladder(key)
    cached = stored is not None
    if not cached:
        _ask({**ask, "key": key}, threads, on_progress)
        stored = rungs.read_ladder(key)
    if stored is None:
        raise StoreError("the cache dropped rungs of the ladder just made", "Give it more room: HARNESS_CACHE_GB.")
    outline, made = stored
    return Ladder(
        name=outline.name,
        recipe=outline.recipe,
        rungs=made,
        seconds=round(time.monotonic() - began, 3),
        cached=cached,
        test_examples=outline.test_examples,
        ended=outline.ended,
        delta=outline.delta,
        validation_examples=outline.validation_examples,
        **about,
    )


def _ask(request: dict[str, Any], threads: int, on_progress: OnProgress) -> Any:
    return child.call(MODULE, {**request, "threads": threads}, on_progress, _env(threads))


def _env(threads: int) -> dict[str, str]:
    # Two spinning threads beside a busy neighbour cost ten times: idle ones are to sleep.
    return {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(threads)}

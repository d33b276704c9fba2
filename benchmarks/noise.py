"""False verdicts and power, by experiment: `python -m benchmarks noise`, or one condition: `noise-quiet`, `noise-loaded`.

The yardstick of about 100 microseconds is calibrated in job after job of 10 blocks of 0.3 s: 20 networks of equal work
and 5 slower ones against one reference, until there are 300 A/A comparisons; once on the machine as it is, once beside a
load that comes and goes (`load`). Both take under two hours together, and go on where they were cut off. What they
measured is kept, a line a process, in `benchmarks/data/noise-<condition>.csv.gz`, so that other rules can be tried on it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import curve
from benchmarks.figures import Figure
from benchmarks.load import neighbour
from harness import analysis, calibrate, inventory, stats, store, wire
from harness.calibration import Calibration
from harness.child import Progress

JOBS = 16  # one more than 300 comparisons need: a network that fails in one job costs one
RUNTIME = "onnxruntime"
ENOUGH = 300  # A/A comparisons: with fewer, a share of 1 % says little
DATA = Path(__file__).resolve().parent / "data"
CURVE = DATA.parent.parent / "docs" / "figures" / "power.svg"
KEPT = 100  # latencies kept of each process: what rules on raw samples are given
WORK = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edge-harness" / "bench"


def measure() -> list[Figure]:
    """Both conditions."""
    return [*quiet(), *loaded()]


def quiet() -> list[Figure]:
    """The machine as it is."""
    return _condition("quiet")


def loaded() -> list[Figure]:
    """Beside a load that comes and goes."""
    with neighbour():
        return _condition("loaded")


def _condition(name: str) -> list[Figure]:
    """Measure what is missing of a condition, keep its data, and say how its bars stand."""
    results = WORK / f"noise-{name}"
    folder = _folder(results)
    found = calibrate.evaluate(folder)
    DATA.mkdir(exist_ok=True)
    frame = pd.DataFrame(_processes(folder))
    frame.to_csv(DATA / f"noise-{name}.csv.gz", index=False, float_format="%.1f")
    np.savez_compressed(DATA / f"noise-{name}-raw.npz", latency_ns=_raw(folder))
    (DATA / f"noise-{name}.json").write_text(json.dumps(asdict(found), indent=1) + "\n")
    curve.draw(DATA, CURVE)
    return figures(name, found)


def _folder(results: Path) -> Path:
    """The calibration of this condition, whole: begun anew, or gone on with."""
    device = inventory.device("local", inventory.locate(None))

    def tell(progress: Progress) -> None:
        print(f"  {progress.text}", flush=True)

    begun = sorted((results / "local" / "calibrations").glob("*/calibrate.json"))
    if begun:
        return calibrate.go_on(begun[-1].parent, device, tell)
    return calibrate.start(results, device, RUNTIME, 0.0, JOBS, tell)


def _whole(folder: Path) -> Iterator[tuple[int, wire.Job, list[wire.Event]]]:
    for number in range(JOBS):
        own = folder / f"{number:03}"
        job = store.load_job(own, RUNTIME)
        if job is not None and store.load_reply(own, RUNTIME) is not None:
            yield number, job, store.events(own, RUNTIME)


def _processes(folder: Path) -> Iterator[dict[str, object]]:
    """Every process whose last attempt counts, with what rules on processes look at; ns."""
    for number, job, journal in _whole(folder):
        labels = {case.case_id: case.label for case in job.cases}
        reply = store.load_reply(folder / f"{number:03}", RUNTIME)
        for case, group in analysis.processes(job, journal).items():
            for process in stats.last_attempts(group):
                yield {
                    "job": number,
                    "case": labels[case],
                    "block": process.block,
                    "replicate": process.replicate,
                    "attempt": process.attempt,
                    "contended": int(process.contended),
                    "throttled": int(process.throttled),
                    "resolution_ns": reply.facts["clock_resolution_ns"] if reply else 0,
                    "samples": len(process.latency_ns),
                    "median_ns": process.median_ns,
                    "mean_ns": float(np.mean(process.latency_ns)),
                    "p10_ns": float(np.quantile(process.latency_ns, 0.1)),
                    "min_ns": float(np.min(process.latency_ns)),
                }


def _raw(folder: Path) -> np.ndarray:
    """The first latencies of each of those processes, in the same order, ns."""
    rows = [
        np.asarray(process.latency_ns)[:KEPT]
        for _, job, journal in _whole(folder)
        for group in analysis.processes(job, journal).values()
        for process in stats.last_attempts(group)
    ]
    return np.array([np.pad(row, (0, KEPT - row.size), mode="edge") for row in rows], dtype=np.int32)


def figures(name: str, found: Calibration) -> list[Figure]:
    """How the bars stand in one condition."""
    false = found.false
    lines = [
        Figure(
            f"A/A on a {name} machine: called faster or slower, {false.tries} comparisons",
            f"<= 1 % of at least {ENOUGH}",
            f"{false.hits} ({_percent(false.share)}; 95 % if independent: {100 * false.low:.2g} to {100 * false.high:.2g} %)",
            false.tries >= ENOUGH and false.hits <= 0.01 * false.tries,
            f"{found.jobs} jobs; sd between processes {_percent(found.process_sd)}, A/A floor "
            f"{_percent(found.floor)}, {100 * found.contended:.0f} % of processes contended; those of a job share its reference",
        )
    ]
    for effect in found.effects:
        at_five = name == "quiet" and effect.added == 0.05
        share = effect.found.share or 0.0
        lines.append(
            Figure(
                f"+{100 * effect.added:.0f} % work on a {name} machine: called slower within {found.blocks // found.jobs} blocks",
                ">= 90 %, never faster" if at_five else "never faster",
                f"{effect.found.hits} of {effect.found.tries} ({100 * share:.0f} %), faster: {effect.wrong}",
                effect.wrong == 0 and (share >= 0.9 or not at_five),
                f"{100 * effect.measured:+.1f} % measured over all jobs",
            )
        )
    return lines


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.2g} %"


def stamp(suite: str) -> str | None:
    """When and on what the data of a suite that judges kept data were measured; None for other suites."""
    names = {"noise-quiet": ("quiet",), "noise-loaded": ("loaded",), "rules": ("quiet", "loaded")}.get(suite, ())
    said = []
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            found = json.loads((DATA / f"noise-{name}.json").read_text())
            facts = found["facts"]
            said.append(
                f"{name} {found['created'][:10]} on {facts['cpu']}, {facts['cpus_usable']} cores, Linux {facts['kernel']}"
            )
    return f"Measured {'; '.join(said)}." if said else None


def conditions() -> Iterator[tuple[str, pd.DataFrame, np.ndarray]]:
    """The conditions whose data are there: name, a row a process, and their raw latencies."""
    for name in ("quiet", "loaded"):
        with contextlib.suppress(FileNotFoundError):
            frame = pd.read_csv(DATA / f"noise-{name}.csv.gz")
            yield name, frame, np.load(DATA / f"noise-{name}-raw.npz")["latency_ns"]

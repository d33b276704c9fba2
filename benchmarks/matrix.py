"""Four networks, full and folded, in every runtime and precision that this machine executes. `python -m benchmarks matrix`.

Weights are random (`--method order`): latency does not depend on them, and int8 is off by more than of a trained network.
What was measured is kept in `benchmarks/data/matrix.json`, a row per network, runtime and precision; a row whose runtime
file, model and packages are as they were is not measured again. docs/matrix.md is made of it (`benchmarks.matrix_rows`).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from benchmarks import cases, ends, matrix_rows
from benchmarks.figures import Figure
from benchmarks.matrix_rows import FILE
from harness import build, content
from harness.errors import HarnessError
from harness.records import Entry, LadderRequest, Run, Summary

MODELS = ("resnet18", "mobilenet_v2", "vgg16_bn", "swin_t")
# What goes, of the activations that unlock a merge: all, but for MobileNetV2, which without all of them is one matrix. Here
# every second of its blocks becomes linear.
REMOVED = {"mobilenet_v2": r"features\.(2|4|6|8|10|12|14|16)\."}
BUDGET_S = 12.0  # of measuring, per row
LOOKS = (3, 6, 10)
ATTEMPTS = 2  # of a process that met other work: rows are many, and it is told which were disturbed


@dataclass(frozen=True)
class Wanted:
    """A row of the table."""

    model: str
    runtime: str
    precision: str

    @property
    def name(self) -> str:
        """What the row is kept under."""
        return f"{self.model} {self.runtime} {self.precision}"

    @property
    def key(self) -> str:
        """Changes with whatever the row depends on."""
        shared = content.find("model", self.model).parent.glob("_*.py")
        return cases.fingerprint(self.runtime, content.find("model", self.model), *sorted(shared))


def measure() -> list[Figure]:
    """Measure the rows that are missing or no longer true, and say how many came to be."""
    kept = matrix_rows.load()
    for _, group in itertools.groupby(rows(), key=lambda wanted: (wanted.model, wanted.runtime)):
        stale = [wanted for wanted in group if kept.get(wanted.name, {}).get("key") != wanted.key]
        for wanted, row in _measured(stale) if stale else ():
            kept[wanted.name] = row
            _save(kept)
            print(f"  {wanted.name}: {matrix_rows.short(row['failure'] or 'ok')}", flush=True)
    return matrix_rows.figures(kept)


def rows() -> Iterator[Wanted]:
    """All that can be asked for here: runtimes whose packages are installed, at the precisions that they have."""
    for model in MODELS:
        for runtime, precision in cases.executed():
            yield Wanted(model, runtime, precision)


def _save(kept: dict[str, dict[str, Any]]) -> None:
    order = [wanted.name for wanted in rows()]
    whole = {name: kept[name] for name in order if name in kept}
    FILE.write_text(json.dumps(whole, indent=1) + "\n")


def _measured(group: Sequence[Wanted]) -> Iterator[tuple[Wanted, dict[str, Any]]]:
    """Build a network for a runtime at all precisions at once, which imports its converter once, and measure each."""
    model, runtime = group[0].model, group[0].runtime
    request = LadderRequest("order", model, content.constant("model", model, "TASK"))
    asked = cases.plan(request, runtime, [wanted.precision for wanted in group], BUDGET_S)
    try:
        built = cases.build(asked, ends.make(request, REMOVED.get(model, "")))
    except HarnessError as error:
        yield from ((wanted, _failed(wanted, error)) for wanted in group)
        return
    for wanted in group:
        entries = tuple(entry for entry in built.entries if entry.case.precision == wanted.precision)
        try:
            yield wanted, _row(wanted, replace(built, entries=entries))
        except HarnessError as error:
            yield wanted, _failed(wanted, error)


def _told(wanted: Wanted) -> dict[str, Any]:
    return {**asdict(wanted), "key": wanted.key, "measured": f"{datetime.now(UTC):%Y-%m-%d}"}


def _failed(wanted: Wanted, error: HarnessError) -> dict[str, Any]:
    return {**_told(wanted), "ends": [], "speedup": None, "contended": 0, "failure": error.message}


def _row(wanted: Wanted, built: cases.Built) -> dict[str, Any]:
    """Measure both ends at one precision; whatever fails is the row's failure."""
    run = cases.measure(built, looks=LOOKS, attempts=ATTEMPTS)
    both = [_end(run, entry, summary, built) for entry, summary in zip(built.entries, run.cases, strict=True)]
    failures = dict.fromkeys(end["failure"] for end in both if end["failure"])
    shape = built.ladders[0].rungs[0].variant.input_shape
    return {**_told(wanted), "shape": shape, "ends": both, **_compared(run), "failure": "; ".join(failures) or None}


def _compared(run: Run) -> dict[str, Any]:
    folded, job = run.cases[-1], next(iter(run.jobs), None)
    found = folded.speedup
    ratio = found and {"ratio": found.ratio, "low": found.low, "high": found.high, "verdict": found.verdict}
    return {
        "speedup": ratio,
        "blocks": job.blocks if job else 0,
        "contended": sum(case.contended for case in run.cases),
        "versions": dict(job.versions) if job else {},
    }


def _end(run: Run, entry: Entry, summary: Summary, built: cases.Built) -> dict[str, Any]:
    """The full or the folded network: what it is, how it was built, how far it is off, how long it takes."""
    artifact, job = built.artifacts.get(entry.case.case_id), next(iter(run.jobs), None)
    return {
        "depth": summary.depth,
        "macs": summary.macs,
        "build_s": artifact and artifact.seconds,
        "size_bytes": artifact and artifact.size_bytes,
        "ops_executed": entry.ops_executed,
        "error": summary.artifact_error,
        "bound": build.TOLERANCE[summary.precision],
        "effective": summary.effective,
        "latency_ns": cases.estimate(summary),
        "failure": None if summary.status == "ok" else summary.reasons.get("status") or _said(summary, job),
    }


def _said(summary: Summary, job: Any) -> str:
    return "; ".join(dict.fromkeys(summary.reasons.values())) or f"{summary.status}: {getattr(job, 'reason', '')}"

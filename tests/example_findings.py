"""Small runs as they could have been, each with a finding of one kind: docs/findings.md quotes what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import example_energy_run
import example_run

from harness import findings
from harness.analysis import losses
from harness.findings.kinds import KINDS
from harness.records import Correlation, Finding, Group, Interval, Operation, Run, Rung, Saving, Summary

Operators = Mapping[str, tuple[Operation, ...]]
RUN = example_run.run()
ENERGY = example_energy_run.run()
HEADS = {s.reference for s in RUN.cases}


def find(run: Run, operators: Operators | None = None, **changes: Any) -> tuple[Finding, ...]:
    """The findings of a run, some of its fields changed."""
    run = replace(run, **changes)
    return findings.find(run.cases, run.ladders, run.jobs, operators)


def every() -> dict[str, Finding]:
    """One finding of each kind, by kind."""
    return {kind: next(each for each in _MADE[kind]() if each.kind == kind) for kind in KINDS}


# --- what changes a run --------------------------------------------------------------------------------------------


def rows(change: Callable[[Summary], Mapping[str, Any]], run: Run = RUN) -> tuple[Summary, ...]:
    """All rows, some fields of each changed."""
    return tuple(replace(s, **change(s)) for s in run.cases)


def first_ladder(run: Run = RUN, **fields: Any) -> dict[str, Any]:
    """A run's ladders, fields of the first changed."""
    return {"ladders": (replace(run.ladders[0], **fields), *run.ladders[1:])}


def job(run: Run = RUN, **fields: Any) -> dict[str, Any]:
    """A run's jobs, fields of each changed."""
    return {"jobs": tuple(replace(each, **fields) for each in run.jobs)}


def speed(s: Summary, ratio: float, half: float = 0.016, verdict: str | None = None) -> Summary:
    """A row with another speed-up over rung 0, and the latency that goes with it."""
    decided = verdict or ("faster" if ratio > 1 else "slower")
    speedup = replace(s.speedup, ratio=ratio, low=ratio * (1 - half), high=ratio * (1 + half), verdict=decided)
    return replace(s, speedup=speedup)


def ratios(run: Run, runtime: str, changed: Mapping[int, float]) -> Run:
    """The run with other speed-ups of these rungs on this runtime."""
    cases = tuple(
        speed(s, changed[s.rung]) if s.runtime == runtime and s.rung in changed and s.method != "control" else s
        for s in run.cases
    )
    return replace(run, cases=cases)


def with_control(accuracy: float, ratio: float, method: str = "shallow", run: Run = RUN, **fields: Any) -> Run:
    """The run with a trained control beside its ladder: the full network, and one of this accuracy and speed-up."""
    ladder, network = run.ladders[0], "resnet10" if method == "shallow" else "resnet18"
    head, second = (replace(rung, choice=None, groups=()) for rung in ladder.rungs[:2])
    rung = replace(
        second, network=network, accuracy=accuracy, variant=replace(second.variant, name=f"{method}-1"), **fields
    )
    made = replace(ladder, name=method, method=method, rungs=(head, rung))
    base, row = (replace(s, ladder=method, method=method) for s in run.cases[:2])
    row = replace(row, case_id=f"{method}1", model=network, accuracy=accuracy, variant=f"{method}-1", depth=10)
    beside = (*run.cases[:9], base, speed(row, ratio), *run.cases[9:])
    return replace(run, ladders=(ladder, made, *run.ladders[1:]), cases=beside)


def fewer(run: Run = RUN, **counts: int) -> Run:
    """The run, its rungs from the fifth on with these counts; all else that is counted is rung 0's."""
    base = run.cases[0]
    same = {"macs": base.macs, "macs_useful": base.macs_useful, "weight_bytes": base.weight_bytes}
    return replace(run, cases=rows(lambda s: {**same, **counts} if (s.rung or 0) >= 5 else {}, run))


def op(layer: str | None, time_ns: int, macs: int = 1_000_000, kind: str = "Conv", **fields: Any) -> Operation:
    """An operator that a device told, compute-bound unless said otherwise."""
    words = {"dtype": "fp32", "layout": "NCHWc", "bound": "compute", "of_compute": 0.8, **fields}
    return Operation(
        f"node_{layer or kind}", kind, layer, "name" if layer else None, macs, 1000, time_ns=time_ns, **words
    )


BEFORE = (op("layer4.1.conv1", 100_000), op("layer4.1.conv2", 100_000), op("fc", 100_000), op(None, 10_000, 0, "Relu"))
PAIR = Group("layer4.1.conv1", ("layer4.1.conv1", "layer4.1.conv2"), "conv+conv|identity", None, 0, 0, 0, 0, "plain")


def profiled(*merged: Operation, rungs: tuple[int, ...] = (8,), latency_ns: float = 600_000) -> tuple[Finding, ...]:
    """Findings of a run whose slow rungs executed these operators, and rung 0 the pair that they replace."""

    def grouped(rung: Rung) -> Rung:
        return replace(rung, groups=(PAIR,))

    def timed(s: Summary) -> Mapping[str, Any]:
        median = 400_000.0 if s.rung == 0 else latency_ns
        return {"latency_ns": replace(s.latency_ns, median=median)}

    cases = {s.rung: s.case_id for s in RUN.cases if s.method != "control"}
    operators = {cases[rung]: (*merged, *BEFORE[2:]) for rung in rungs} | {cases[0]: BEFORE}
    ladders = first_ladder(rungs=tuple(map(grouped, RUN.ladders[0].rungs)))
    return find(RUN, operators, cases=rows(timed), **ladders)


# --- a run per kind ------------------------------------------------------------------------------------------------


def _order() -> tuple[Finding, ...]:
    two = example_run.run(runtimes=("onnxruntime", "torch"))
    return find(ratios(two, "torch", {1: 1.05, 2: 1.19, 3: 0.96}))


def _rounded() -> tuple[Finding, ...]:
    right = {0: 265, 1: 264, 2: 200, 3: 190}
    made = rows(
        lambda s: {
            "precision": "int8",
            "artifact_accuracy": right[s.rung] / 270 if s.method != "control" and s.rung in right else None,
            "reasons": {**s.reasons, "artifact_accuracy": "not asked for"},
        }
    )
    return find(RUN, cases=losses.attach(made))


def _given() -> tuple[Finding, ...]:
    differs = {0: 0.0, 1: 2e-7, 2: 0.4, 3: 0.1}
    rungs = tuple(
        replace(r, fold_error=None, fold_error_f64=None, difference=differs.get(r.rung)) for r in RUN.ladders[0].rungs
    )
    return find(RUN, **first_ladder(method="onnx", rungs=rungs))


def _inexact() -> tuple[Finding, ...]:
    rungs = tuple(replace(r, fold_error=2e-5) if r.rung >= 7 else r for r in RUN.ladders[0].rungs)
    return find(RUN, **first_ladder(rungs=rungs))


def _saving(rung: int, ratio: float, verdict: str) -> tuple[Finding, ...]:
    def changed(s: Summary) -> Mapping[str, Any]:
        saving = Saving(ratio, 0.98 * ratio, 1.02 * ratio, verdict)
        return {"energy_j": replace(s.energy_j, saving=saving)} if s.rung == rung else {}

    return find(ENERGY, cases=rows(changed, ENERGY))


def _energy(**fields: Any) -> tuple[Finding, ...]:
    return find(ENERGY, **job(ENERGY, energy=replace(ENERGY.jobs[0].energy, **fields)))


def _late() -> tuple[Finding, ...]:
    def late(s: Summary) -> Mapping[str, Any]:
        if s.rung:
            return {}
        told = {name: replace(f, late=round(0.2 * f.windows * f.window_s * f.rate_hz)) if f.rate_hz else f
                for name, f in s.energy_j.figures.items()}  # fmt: skip
        return {"energy_j": replace(s.energy_j, figures=told)}

    return find(ENERGY, cases=rows(late, ENERGY))


def _unmeasured() -> tuple[Finding, ...]:
    lost = {"status": "skipped", "latency_ns": None, "speedup": None}
    return find(RUN, cases=rows(lambda s: lost if (s.rung or 0) > 5 else {}), **job(reason="budget"))


def _built_once() -> tuple[Finding, ...]:
    def small(s: Summary) -> Mapping[str, Any]:
        return {"speedup": s.speedup and replace(s.speedup, ratio=1.04, verdict="faster"), "effective": {"builds": "1"}}

    return find(RUN, cases=rows(small))


def _plain() -> tuple[Finding, ...]:
    return find(RUN)


_DIVERGED = "rung 9: training diverged: the loss became nan at step 3 of 20"
_CASE = ENERGY.cases[3].case_id
_GONE = {"permission: energy_uj: sudo chmod o+r it": (f"paced {_CASE} 2", f"paced {_CASE} 3")}
_BUSY = {"crowded": 0.2, "foreign_cpu": 0.4, "foreign_cpu_worst": 2.1}

_MADE: Mapping[str, Callable[[], tuple[Finding, ...]]] = {
    "control-wins": lambda: find(with_control(265 / 270, 2.9)),
    "order-differs": _order,
    "depth-without-speed": _plain,
    "flops-fell-latency-rose": lambda: find(fewer(macs=98_000_000, weight_bytes=48_900_000)),
    "overhead-bound": lambda: profiled(op("layer4.1.conv1", 100_000, 2_000_000), latency_ns=900_000),
    "memory-bound": lambda: profiled(op("layer4.1.conv1", 280_000, 2_400_000, bound="memory", of_compute=0.69)),
    "kernel-cliff": lambda: profiled(op("layer4.1.conv1", 480_000, 2_800_000, of_compute=0.45), rungs=(5, 6, 8)),
    "layout-change": lambda: profiled(op("layer4.1.conv1", 480_000, 2_800_000, layout="NCHW")),
    "macs-rose": _plain,
    "accuracy-lost": _plain,
    "quantisation-worse-after-folding": _rounded,
    "faster-not-cheaper": lambda: _saving(1, 0.9, "more"),
    "energy-rose": lambda: _saving(8, 0.8, "more"),
    "order-not-determined": _plain,
    "not-exact": _inexact,
    "agreement": _given,
    "ladder-cut-short": lambda: find(RUN, **first_ladder(ended=_DIVERGED)),
    "delta-not-resolvable": lambda: find(RUN, **first_ladder(delta=0.01, validation_examples=270)),
    "failed": lambda: find(example_run.failed(RUN, 3)),
    "skipped": _unmeasured,
    "noisy": lambda: find(example_run.run(wide=2.0)),
    "few-builds": _built_once,
    "contended": _plain,
    "not-steady": lambda: find(RUN, cases=rows(lambda s: {"not_steady": 1})),
    "throttled": lambda: find(
        RUN, cases=rows(lambda s: {"throttled": 1}), **job(throttling=("the firmware says: under-voltage (0x1)",))
    ),
    "foreign-load": lambda: find(RUN, **job(usage=_BUSY, neighbours={"chromium": 1.7})),
    "stolen": lambda: find(RUN, **job(usage={"steal": 0.12, "steal_worst": 0.8})),
    "swapped": lambda: find(RUN, **job(usage={"swapped_pages": 412.0})),
    "warm-start": lambda: find(RUN, **job(waits={"gates": 16, "timed_out": 3, "seconds": 940.0})),
    "heat-sensitive": lambda: find(RUN, **job(follows={"temperature": Correlation(0.61, 1e-5, 192)})),
    "load-sensitive": lambda: find(RUN, **job(follows={"foreign_cpu": Correlation(0.44, 1e-4, 192)})),
    "energy-lost": lambda: _energy(lost=_GONE),
    "sampler-disturbs": lambda: _energy(sampler=Interval(1.04, 1.03, 1.05)),
    "idle-drifts": lambda: _energy(idle_drift=0.09),
    "late-paces": _late,
}

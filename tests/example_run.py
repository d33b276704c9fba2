"""A run as it could have been: ResNet-18 on digits, nine rungs, three controls, laptop-like figures."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

from harness import findings, wire
from harness.records import (
    Case,
    Choice,
    Cost,
    Entry,
    Estimate,
    Group,
    JobRecord,
    Ladder,
    LadderRequest,
    Plan,
    Run,
    Rung,
    Speedup,
    Summary,
    Variant,
    digest,
)

BLOCKS = ("layer4.1", "layer4.0", "layer3.1", "layer3.0", "layer2.1", "layer2.0", "layer1.1", "layer1.0")
PAIR_WEIGHTS = (4.72e6, 3.54e6, 1.18e6, 0.885e6, 0.295e6, 0.221e6, 0.074e6, 0.074e6)
MERGED_WEIGHTS = (2.36e6, 4.72e6, 1.64e6, 1.606e6, 0.41e6, 0.401e6, 0.102e6, 0.102e6)
MACS = (140.2, 130.8, 135.2, 142.6, 153.6, 160.9, 171.9, 179.3, 186.6)
USEFUL = (117.6, 113.4, 115.9, 121.8, 130.4, 136.5, 145.8, 152.3, 158.7)
ACCURACY = (266, 266, 265, 263, 264, 261, 262, 258, 251)  # of 270
SPEEDUP = (1.0, 1.142, 1.098, 1.003, 0.973, 0.931, 0.884, 0.812, 0.753)
VERDICTS = (None, "faster", "faster", "same", "unclear", "slower", "slower", "slower", "slower")
HALF_WIDTH = 0.016
CONTROLS = {  # name -> depth, MMACs, weights in MB, speed-up
    "resnet10": (10, 64.7, 19.6, 2.91),
    "resnet18-w0.75": (18, 79.4, 25.2, 2.02),
    "resnet18-w0.5": (18, 35.5, 11.2, 6.55),
}


def run(methods=("easier",), runtimes=("onnxruntime",), *, every=False, wide=1.0) -> Run:
    """`every`: as with --eligible all, half of the removals unlock no merge; `wide` scales all intervals."""
    ladders = (*(_ladder(method, every) for method in methods), _controls())
    rows = [(ladder, rung, runtime) for runtime in runtimes for ladder in ladders for rung in ladder.rungs]
    entries = tuple(_entry(*row) for row in rows)
    heads = {(e.ladder, e.case.runtime): e.case.case_id for e in reversed(entries)}
    entries = tuple(
        replace(e, reference=heads[ladders[0].name if e.method == "control" else e.ladder, e.case.runtime])
        for e in entries
    )
    cases = tuple(_summary(*row, entry, wide) for row, entry in zip(rows, entries, strict=True))
    jobs = tuple(_job(runtime, [s for s in cases if s.runtime == runtime], wide) for runtime in runtimes)
    plan = Plan(
        "local",
        tuple(LadderRequest(method, "resnet18", "digits") for method in methods),
        runtimes,
        ("fp32",),
        1,
        1,
        {},
        240.0,
        0,
    )
    return Run(
        schema=2,
        run="20261120T101500Z-1a2b",
        session="0a1b2c3d",
        device="local",
        virtual=False,
        status="done",
        created="2026-11-20T10:15:00+00:00",
        command=("harness", "run", "--device", "local"),
        plan=plan,
        provenance={"commit": "0439d12", "packages": {"torch": "2.13.0"}},
        ladders=ladders,
        entries=entries,
        jobs=jobs,
        cases=cases,
        findings=findings.find(cases, ladders, jobs),
        analysis_version=findings.ANALYSIS_VERSION,
    )


def failed(made: Run, rung: int, cause: str = "signal: SIGSEGV in the third process") -> Run:
    """The same run, in which one rung crashed."""
    nulls = {"status": "failed", "latency_ns": None, "speedup": None, "artifact_error": None}
    reasons = dict.fromkeys(("status", "latency_ns", "speedup", "artifact_error"), cause)
    cases = tuple(replace(s, **nulls, reasons={**s.reasons, **reasons}) if s.rung == rung else s for s in made.cases)
    return replace(made, cases=cases, findings=findings.find(cases, made.ladders, made.jobs))


def _ladder(method: str, every: bool) -> Ladder:
    rungs = tuple(_rung(n, method, every) for n in range(9))
    tested = 270 if method == "easier" else None
    return Ladder(method, method, "resnet18", "digits", {}, 0, rungs, 142.0, False, tested)


def _rung(n: int, method: str, every: bool) -> Rung:
    merged = n // 2 if every else n
    weights = sum(PAIR_WEIGHTS) * 4 - sum(PAIR_WEIGHTS[:merged]) * 4 + sum(MERGED_WEIGHTS[:merged]) * 4 + 0.8e6
    groups = tuple(
        Group(
            name, (f"{name}.conv1", f"{name}.conv2"), "conv+conv|identity", None, *(int(n) for n in (before, after) * 2)
        )
        for name, before, after in list(zip(BLOCKS, PAIR_WEIGHTS, MERGED_WEIGHTS, strict=True))[:merged]
    )
    trained = method == "easier"
    reason = {} if trained else {"accuracy": "method order does not train: latency only"}
    return Rung(
        rung=n,
        network="resnet18",
        removed=n,
        activations=17,
        eligible=17 if every else 8,
        removed_names=tuple(f"{name}.relu1" for name in BLOCKS[:n]),
        setting=None,
        padding="moved" if n else "kept",
        cost=Cost(
            18 - merged,
            _m(MACS[merged]),
            _m(USEFUL[merged]),
            2 * _m(MACS[merged]),
            int(weights / 4),
            int(weights),
            2_400_000,
        ),
        fold_error=3.1e-7 * (1 + n),
        fold_error_f64=4e-16 * (1 + n),
        accuracy=ACCURACY[n] / 270 if trained else None,
        accuracy_removed=None,
        accuracy_moved=None,
        variant=_variant(f"{method}-{n}-{every}"),
        groups=groups,
        choice=Choice((f"{BLOCKS[n - 1]}.relu1",), {"layer2.0.relu1": 0.981, "layer1.1.relu1": 0.9817}, 0.0007, 0.0006)
        if n == 6 and trained
        else None,
        reasons=reason,
    )


def _controls() -> Ladder:
    def control(n: int, name: str) -> Rung:
        depth, macs, weights, _ = CONTROLS[name]
        cost = Cost(depth, _m(macs), _m(macs * 0.84), _m(2 * macs), _m(weights / 4), _m(weights), 1_200_000)
        why = {"accuracy": "a latency control: never trained", "removed": "a latency control, not a rung of a ladder"}
        return Rung(
            n, name, 0, 0, 0, (), None, "kept", cost, 1e-7, 1e-16, None, None, None, _variant(name), (), None, why
        )

    return Ladder(
        "controls", "control", "resnet18", "digits", {}, 0, tuple(control(n, k) for n, k in enumerate(CONTROLS))
    )


def _entry(ladder: Ladder, rung: Rung, runtime: str) -> Entry:
    case = Case("local", rung.variant.name, runtime, "fp32", 1, 1)
    return Entry(case, ladder.name, ladder.method, rung.rung, rung.variant.name, None, 40 - rung.removed)


def _summary(ladder: Ladder, rung: Rung, runtime: str, entry: Entry, wide: float) -> Summary:
    control = ladder.method == "control"
    if control:
        ratio, verdict = CONTROLS[rung.network][3], "faster"
    else:
        shift = 0.02 * math.sin(5 * rung.rung) if ladder.method == "order" and rung.rung else 0.0
        ratio, verdict = (
            SPEEDUP[rung.removed if rung.cost.depth == 18 - rung.removed else rung.removed // 2] + shift,
            None,
        )
        verdict = (
            "same"
            if ratio == 1.0 and rung.rung
            else VERDICTS[SPEEDUP.index(min(SPEEDUP, key=lambda s: abs(s - ratio)))]
        )
        verdict = verdict or ("same" if rung.rung else None)
    base = 2.41e6 if runtime == "onnxruntime" else 6.3e6
    half = HALF_WIDTH * wide
    reference = verdict is None
    return Summary(
        case_id=entry.case.case_id,
        ladder=ladder.name,
        rung=None if control else rung.rung,
        removed=None if control else rung.removed,
        eligible=None if control else rung.eligible,
        setting=None,
        activations=rung.activations,
        removed_names=rung.removed_names,
        model=rung.network,
        task=ladder.task,
        method=ladder.method,
        variant=rung.variant.name,
        depth=rung.cost.depth,
        macs=rung.cost.macs,
        macs_useful=rung.cost.macs_useful,
        flops=rung.cost.flops,
        parameters=rung.cost.parameters,
        weight_bytes=rung.cost.weight_bytes,
        activation_bytes=rung.cost.activation_bytes,
        ops_executed=entry.ops_executed,
        accuracy=rung.accuracy,
        accuracy_removed=rung.accuracy_removed,
        accuracy_moved=rung.accuracy_moved,
        padding=rung.padding,
        fold_error=rung.fold_error,
        fold_error_f64=rung.fold_error_f64,
        artifact_error=2e-7,
        runtime=runtime,
        precision="fp32",
        threads=1,
        batch=1,
        options={"spinning": "on"},
        effective={"spinning": "on", "threads": 1},
        status="ok",
        latency_ns=_estimate(base / ratio, 1.4 * half),
        speedup=Speedup(1.0, None, None, None)
        if reference
        else Speedup(ratio, ratio * math.exp(-half), ratio * math.exp(half), verdict),
        energy_j=None,
        energy_status="no-sensor",
        blocks=16,
        contended=2 if rung.rung == 4 and not control else 0,
        not_steady=0,
        reference=entry.reference,
        reasons={**rung.reasons, "energy_j": "attach a meter and name it in the inventory, or energy is null"},
    )


def _estimate(median: float, half: float) -> Estimate:
    tails = (1.06 * median, 1.12 * median, 1.4 * median)
    return Estimate(
        median, median * math.exp(-half), median * math.exp(half), *tails, 1.02 * median, 0.08 * median, 1900, 16
    )


def _job(runtime: str, cases: list[Summary], wide: float) -> JobRecord:
    half = 0.012 * wide
    references = {s.reference for s in cases if s.reference}
    widths = {s.case_id: HALF_WIDTH * wide for s in cases if s.case_id not in references}
    return JobRecord(
        job=f"20261120T101500Z-1a2b-{runtime}",
        runtime=runtime,
        protocol=asdict(wire.Protocol()),
        reason="decided" if wide <= 1 else "budget",
        blocks=16,
        half_widths=widths,
        blocks_needed=dict.fromkeys(widths, 0 if wide <= 1 else 17),
        floor={
            ref: Speedup(1.002, 1.002 * math.exp(-half), 1.002 * math.exp(half), None) for ref in sorted(references)
        },
        facts={"cpu": "AMD EPYC", "cores": 2},
        versions={runtime: "1.31.0"},
    )


def _variant(text: str) -> Variant:
    return Variant(digest(text), f"/cache/{text}.pt2", (3, 32, 32), 10)


def _m(millions: float) -> int:
    return round(millions * 1e6)

"""A run of many methods as it could have been: ResNet-18 on digits, nine rungs each, controls among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import example_run
import numpy as np

from harness.analysis import accuracy
from harness.records import Estimate, Ladder, LadderRequest, Run, Rung, Summary

METHODS = (
    *("easier", "tlc", "egp", "nepenthe", "lacoot", "layer-folding", "block-influence", "smallest-weights"),
    *("smallest-gradients", "random", "shallow", "narrow", "continue"),
)
N = 270


def run(methods: Sequence[str] = METHODS, seeds: int = 1, examples: int = N, gap: float = 0.012) -> Run:
    """Accuracies fall with depth, for each method by `gap` a rung more than for the one before it."""
    names = [(name, seed) for name in methods for seed in range(seeds)]
    plain = example_run.run(tuple(_named(*each) for each in names))
    made = [
        _ladder(ladder, name, seed, gap * methods.index(name), examples)
        for ladder, (name, seed) in zip(plain.ladders, names, strict=False)
    ]
    known = {ladder.name: ladder for ladder in made}
    there = [row for row in plain.cases if row.rung is None or row.rung < len(known[row.ladder].rungs)]
    rows = [row if row.rung is None else _row(row, known[row.ladder]) for row in there]
    ladders = (*made, plain.ladders[-1])
    plan = replace(plain.plan, ladders=tuple(LadderRequest(m, "resnet18", "digits", seed=s) for m, s in names))
    return replace(plain, ladders=ladders, cases=accuracy.attach(rows, ladders), plan=plan)


def _named(method: str, seed: int) -> str:
    return f"{method}-s{seed}" if seed else method


def _ladder(ladder: Ladder, method: str, seed: int, worse: float, examples: int) -> Ladder:
    rungs = tuple(_rung(rung, method, seed, worse, examples) for rung in ladder.rungs)
    if method in ("shallow", "narrow"):
        rungs = rungs[:4]
    return replace(ladder, name=_named(method, seed), method=method, seed=seed, rungs=rungs, test_examples=examples)


def _rung(rung: Rung, method: str, seed: int, worse: float, examples: int) -> Rung:
    n = rung.rung
    down = 0.0 if method == "continue" else 0.004 * n + 0.08 * worse * n * math.exp(n / 4)
    right = (
        np.random.default_rng(sum(map(ord, method)) + 7 * n + 100 * seed if n else seed).random(examples) > 0.02 + down
    )
    depth = 18 if method in ("continue", "narrow") else 18 - n
    return replace(
        rung,
        accuracy=float(right.mean()),
        correct=np.packbits(right).tobytes().hex(),
        epochs=5 + n,
        seconds=11.0 + n,
        accuracy_validation=float(right.mean()),
        choice=None,
        variant=replace(rung.variant, name=rung.variant.name if n else f"full-{seed}"),
        cost=replace(rung.cost, depth=depth),
        reasons={},
    )


def _row(row: Summary, ladder: Ladder) -> Summary:
    rung = ladder.rungs[row.rung] if row.rung < len(ladder.rungs) else ladder.rungs[-1]
    wobble = 1 if not row.rung else math.exp(0.06 * math.sin(sum(map(ord, ladder.name)) + row.rung))
    latency = row.latency_ns
    if ladder.method == "continue":
        wobble = 2.41e6 / latency.median
    if ladder.method == "narrow":
        wobble = 2.41e6 * (1 - 0.15 * row.rung) / latency.median
    return replace(
        row,
        method=ladder.method,
        variant=rung.variant.name,
        depth=rung.cost.depth,
        accuracy=rung.accuracy,
        latency_ns=Estimate(*(wobble * getattr(latency, key) for key in ("median", "low", "high")), *[None] * 3,
                            wobble * latency.mean, None, 100, 16),
        reasons={key: why for key, why in row.reasons.items() if key != "accuracy"},
    )  # fmt: skip

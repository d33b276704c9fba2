"""Better prune or quantise? ResNet-18 on digits, every rung of a trained ladder at every precision: `python -m benchmarks grid`.

The ladder is the main job's (`--method easier`), one training, seed 0. All precisions of a runtime are one job, and each
case is compared with fp32 at full depth, paired within blocks: a comparison across precisions, which a run never makes. Each
artifact also classifies the whole test part, so that accuracies are compared example by example.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from benchmarks import cases, grid_figure, grid_rows
from benchmarks.figures import Figure
from benchmarks.grid_rows import FILE, Row
from harness import content, wire
from harness.compress import client
from harness.records import Artifact, LadderRequest, Summary

REQUEST = LadderRequest("easier", "resnet18", "digits")
RUNTIMES: Mapping[str, Sequence[str]] = {"onnxruntime": ("fp32", "fp16", "int8"), "litert": ("fp32", "int8")}
BUDGET_S = 240.0


def measure() -> list[Figure]:
    """Measure what is missing of each runtime, draw the figure, and say what came of it."""
    kept = grid_rows.load()
    for runtime, precisions in RUNTIMES.items():
        key = cases.fingerprint(runtime, content.find("model", REQUEST.model), content.find("method", REQUEST.method))
        if cases.installed(runtime) and kept.get(runtime, {}).get("key") != key:
            kept[runtime] = {
                "key": key,
                "measured": f"{datetime.now(UTC):%Y-%m-%d}",
                "rows": _rows(runtime, precisions),
            }
            FILE.write_text(json.dumps(kept, indent=1) + "\n")
    grid_figure.draw(kept)
    return grid_rows.figures(kept)


def _rows(runtime: str, precisions: Sequence[str]) -> list[Row]:
    built = cases.build(cases.plan(REQUEST, runtime, precisions, BUDGET_S), client.climb(REQUEST, cases.quiet))
    first = built.entries[0].case.case_id
    built = replace(built, entries=tuple(replace(entry, reference=first) for entry in built.entries))
    run = cases.measure(built)
    with ProcessPoolExecutor(1, max_tasks_per_child=1) as pool:  # a runtime in each: what crashes takes no other along
        told = [built.artifacts.get(entry.case.case_id) for entry in built.entries]
        right = [pool.submit(classify, artifact).result() if artifact else "" for artifact in told]
    return [_row(summary, bits) for summary, bits in zip(run.cases, right, strict=True)]


def _row(summary: Summary, right: str) -> Row:
    found = summary.speedup
    return {
        "precision": summary.precision,
        "rung": summary.rung,
        "depth": summary.depth,
        "accuracy": summary.accuracy,
        "right": right,
        "latency_ns": cases.estimate(summary),
        "speedup": found and {"ratio": found.ratio, "low": found.low, "high": found.high},
        "failure": None if summary.status == "ok" else "; ".join(summary.reasons.values()),
    }


def classify(artifact: Artifact) -> str:
    """Whether the artifact classifies each test example rightly: a digit per example, 1 for yes."""
    exam = client.examples(REQUEST.task, None, cases.quiet).exam
    inputs, labels = np.load(exam.inputs), np.load(exam.labels)
    runtime = content.load("runtime", artifact.runtime)
    options = {"threads": 1, "batch": 1, "precision": artifact.precision, "sample": artifact.sample_path}
    session = runtime.load(artifact.path, options)

    def answer(example: Any) -> int:
        session.feed([wire.Tensor.of((1, *example.shape), example.tobytes(), example.dtype.name)])
        return int(np.frombuffer(session.fetch(session())[0].raw(), "<f4").argmax())

    return "".join("1" if answer(example) == label else "0" for example, label in zip(inputs, labels, strict=True))

"""The machine's contract: `harness show --json`. Its keys are those of the documentation and do not change silently."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from harness.records import Run

SCHEMA = 1

CASE_KEYS = (
    *("case_id", "ladder", "rung", "removed", "setting", "activations", "model", "task", "method", "variant"),
    *("depth", "macs", "flops", "parameters", "accuracy", "padding", "fold_error", "fold_error_f64", "artifact_error"),
    "artifact_accuracy",
    "artifact_loss",
    "artifact_loss_added",
    "accuracy_interval",
    "accuracy_vs_continue",
    "difference",
    *(
        "macs_useful",
        "ops_executed",
        "weight_bytes",
        "runtime",
        "precision",
        "threads",
        "batch",
        "options",
        "effective",
        "executed",
    ),
    *(
        "status",
        "blocks",
        "contended",
        "not_steady",
        "throttled",
        "latency_ns",
        "speedup",
        "energy_j",
        "energy_status",
        "reasons",
    ),
)


JOB_KEYS = (
    *(
        "job",
        "runtime",
        "reason",
        "blocks",
        "protocol",
        "floor",
        "components",
        "versions",
        "half_widths",
        "blocks_needed",
    ),
    *("waits", "tuned", "usage", "throttling", "neighbours", "follows", "curve", "energy"),
)


def to_json(run: Run) -> dict[str, Any]:
    """Return a run as plain JSON values: `schema`, `run`, `device`, `status`, `failure`, `verdict`, `cases` (CASE_KEYS each),
    `findings`, `jobs` (JOB_KEYS each), `calibration`, `ceilings` (one per thread count and set of CPUs), `sensors`
    (status and reason of each, as it was asked before the run).

    `cases` is empty until something could be measured: `status` and `failure` say how far the run came. A number that
    cannot be had is null, and its case's `reasons` says why under the number's key (`status`: why it is not ok).
    `options` are the settings that were asked for, `effective` those read back on the device, {} where none ran there.
    """
    cases = [asdict(summary) for summary in run.cases]
    return {
        "schema": SCHEMA,
        "run": run.run,
        "device": run.device,
        "status": run.status,
        "failure": run.failure,
        "verdict": _plain(asdict(run.verdict)) if run.verdict else None,
        "cases": _plain([{key: case[key] for key in CASE_KEYS} for case in cases]),
        "findings": [{**asdict(finding), "cases": list(finding.cases)} for finding in run.findings],
        "jobs": _plain([{key: job[key] for key in JOB_KEYS} for job in map(asdict, run.jobs)]),
        "calibration": _plain(run.calibration),
        "ceilings": [asdict(each) for each in run.ceilings],
        "sensors": {name: {"status": status, "reason": reason} for name, (status, reason) in run.sensors.items()},
    }


def _plain(value: Any) -> Any:
    """A value as JSON has it: no tuples."""
    return json.loads(json.dumps(value, allow_nan=False))

"""What the index says of a case: the columns of `harness show --where`, their types, and a run's record as rows of them.

Names are those of `show --json`; nested ones are joined: what is `latency_ns.low` there is `latency_ns_low` here, and the
value itself `latency_ns`. A number that cannot be had is null, as there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from harness.records import JobRecord, Run, Summary

Row = dict[str, Any]
Type = Literal["text", "integer", "number", "flag", "time"]

# Of the run, of its device, of the case, of what was measured: in the order in which they are printed.
COLUMNS: Mapping[str, Type] = {
    **dict.fromkeys(("run", "folder", "session"), "text"),
    "started": "time",  # UTC
    "device": "text",
    "virtual": "flag",
    **dict.fromkeys(("run_status", "run_state", "regime", "power_mode", "commit", "harness"), "text"),
    **dict.fromkeys(("board", "serial", "system", "cpu"), "text"),
    **dict.fromkeys(("case_id", "ladder", "method", "model", "task"), "text"),
    **dict.fromkeys(("seed", "rung", "removed", "eligible", "activations"), "integer"),
    "setting": "number",
    **dict.fromkeys(("padding", "variant"), "text"),
    **dict.fromkeys(("depth", "macs", "macs_useful", "flops", "parameters"), "integer"),
    **dict.fromkeys(("weight_bytes", "activation_bytes", "ops_executed"), "integer"),
    **dict.fromkeys(("accuracy", "accuracy_low", "accuracy_high"), "number"),
    **dict.fromkeys(("artifact_accuracy", "artifact_loss", "artifact_loss_added"), "number"),
    **dict.fromkeys(("fold_error", "artifact_error", "difference"), "number"),
    **dict.fromkeys(("runtime", "runtime_version", "precision"), "text"),
    **dict.fromkeys(("threads", "batch"), "integer"),
    **dict.fromkeys(("options", "status", "reason"), "text"),
    **dict.fromkeys(("blocks", "contended", "not_steady", "throttled"), "integer"),
    **dict.fromkeys(("latency_ns", "latency_ns_low", "latency_ns_high"), "number"),
    **dict.fromkeys(("latency_ns_p90", "latency_ns_p95", "latency_ns_p99"), "number"),
    **dict.fromkeys(("speedup", "speedup_low", "speedup_high"), "number"),
    **dict.fromkeys(("verdict", "reference"), "text"),
    **dict.fromkeys(("energy_j", "energy_j_low", "energy_j_high", "energy_j_net"), "number"),
    **dict.fromkeys(("energy_saving", "energy_saving_low", "energy_saving_high"), "number"),
    **dict.fromkeys(("energy_verdict", "energy_scope", "energy_scenario", "energy_status"), "text"),
}

_AS_THEY_ARE = (
    *(
        "case_id",
        "ladder",
        "method",
        "model",
        "task",
        "rung",
        "removed",
        "eligible",
        "activations",
        "setting",
        "padding",
    ),
    *("variant", "depth", "macs", "macs_useful", "flops", "parameters", "weight_bytes", "activation_bytes"),
    *("ops_executed", "accuracy", "artifact_accuracy", "artifact_loss", "artifact_loss_added", "fold_error"),
    *("artifact_error", "difference", "runtime", "precision", "threads", "batch", "status", "blocks", "contended"),
    *("not_steady", "throttled", "reference", "energy_status"),
)


def rows(run: Run, folder: str) -> Iterator[Row]:
    """Yield a row per summary of a run, in their order. Raises ValueError where a number of it is not finite."""
    about = _of_run(run, folder)
    jobs = {job.runtime: job for job in run.jobs}
    seeds = {ladder.name: ladder.seed for ladder in run.ladders}
    for summary in run.cases:
        row = {
            **about,
            **_of_job(jobs.get(summary.runtime)),
            **{name: getattr(summary, name) for name in _AS_THEY_ARE},
            "seed": seeds.get(summary.ladder),
            "options": json.dumps(dict(summary.options), sort_keys=True),
            "reason": summary.reasons.get("status"),
            **_accuracy(summary),
            **({} if run.virtual else _measured(summary)),
        }
        yield _checked({name: row.get(name) for name in COLUMNS})


def _of_run(run: Run, folder: str) -> Row:
    packages = run.provenance.get("packages")
    return {
        "run": run.run,
        "folder": folder,
        "session": run.session,
        "started": datetime.fromisoformat(run.created).astimezone(UTC).replace(tzinfo=None),
        "device": run.device,
        "virtual": run.virtual,
        "run_status": run.status,
        "run_state": run.verdict.state if run.verdict else None,
        "regime": run.plan.regime,
        "power_mode": run.plan.power_mode,
        "commit": _text(run.provenance.get("commit")),
        "harness": _text(packages.get("edge-harness")) if isinstance(packages, Mapping) else None,
    }


def _of_job(job: JobRecord | None) -> Row:
    """What the device said of itself; anything may stand there."""
    if job is None:
        return {}
    known = {name: _text(job.facts.get(name)) for name in ("board", "serial", "system", "cpu")}
    return {**known, "runtime_version": job.versions.get(job.runtime)}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _accuracy(summary: Summary) -> Row:
    found = summary.accuracy_interval
    return {"accuracy_low": found.low, "accuracy_high": found.high} if found else {}


def _measured(summary: Summary) -> Row:
    """Latency, speed-up and energy, each with its 95 % interval: never those of emulated devices."""
    row: Row = {}
    if (latency := summary.latency_ns) is not None:
        row |= {"latency_ns": latency.median, "latency_ns_low": latency.low, "latency_ns_high": latency.high}
        row |= {f"latency_ns_{name}": getattr(latency, name) for name in ("p90", "p95", "p99")}
    if (speedup := summary.speedup) is not None:
        row |= {"speedup": speedup.ratio, "speedup_low": speedup.low, "speedup_high": speedup.high}
        row |= {"verdict": speedup.verdict}
    if (energy := summary.energy_j) is not None:
        row |= {"energy_j": energy.gross.value, "energy_j_low": energy.gross.low, "energy_j_high": energy.gross.high}
        row |= {"energy_j_net": energy.net.value if energy.net else None}
        row |= {"energy_scope": energy.scope, "energy_scenario": energy.scenario}
        if (saving := energy.saving) is not None:
            row |= {"energy_saving": saving.ratio, "energy_saving_low": saving.low, "energy_saving_high": saving.high}
            row |= {"energy_verdict": saving.verdict}
    return row


def _checked(row: Row) -> Row:
    """The row as it is. Raises ValueError: JSON has no infinity, and `1e999` in an edited file reads as one."""
    for name, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"cases: {name} is not a finite number")
    return row

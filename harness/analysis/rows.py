"""Ladder rows: static facts joined with what was measured, and why what is null is null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from harness import stats
from harness.analysis.energy import unmeasured
from harness.analysis.jobs import Measured
from harness.findings.views import count
from harness.records import Energy, Entry, Estimate, Run, Rung, Speedup, Summary
from harness.stats.energy import WINDOWS

_SUMMARY_FIELDS = {field.name for field in fields(Summary)}


@dataclass(frozen=True)
class _Result:
    """What was measured of one ladder row; `cause`: why its case failed."""

    case_id: str | None
    cause: str | None
    latency_ns: Estimate | None
    speedup: Speedup | None
    processes: Sequence[stats.Process]
    artifact_error: float | None
    effective: Mapping[str, Any]

    @classmethod
    def of(cls, entry: Entry, measured: Measured, joint: tuple[float, float] | None) -> _Result:
        if entry.failure:
            return cls(None, entry.failure, None, None, (), None, {})
        case = entry.case.case_id
        return cls(
            case_id=case,
            cause=measured.failed.get(case),
            latency_ns=measured.estimate(case),
            speedup=_with_joint(measured.speedup(case, entry.reference), joint),
            processes=stats.last_attempts(measured.processes.get(case, ())),
            artifact_error=measured.errors.get(case),
            effective=measured.effective.get(case, {}),
        )

    @property
    def blocks(self) -> int:
        """How many blocks hold the case."""
        return len({process.block for process in self.processes})


def _with_joint(speedup: Speedup | None, joint: tuple[float, float] | None) -> Speedup | None:
    return replace(speedup, joint_low=joint[0], joint_high=joint[1]) if speedup and joint else speedup


def summaries(run: Run, measured: Mapping[str, Measured]) -> tuple[Summary, ...]:
    """One summary per ladder row; `measured` by runtime. Joint intervals are those of a ladder's rows, or of the controls."""
    joint: dict[tuple[str, ...], Mapping[str, tuple[float, float] | None]] = {}
    for key in dict.fromkeys(_family(entry) for entry in run.entries):
        family = [entry for entry in run.entries if _family(entry) == key and entry.failure is None]
        for entry in family[:1]:
            joint[key] = measured[entry.case.runtime].joint([e.case.case_id for e in family], entry.reference)
    return tuple(
        _summary(run, entry, measured[entry.case.runtime], joint.get(_family(entry), {}).get(entry.case.case_id))
        for entry in run.entries
    )


def _family(entry: Entry) -> tuple[str, ...]:
    """Rows that are read together: those of one ladder on one runtime and precision."""
    return entry.ladder, entry.case.runtime, entry.case.precision


def _summary(run: Run, entry: Entry, measured: Measured, joint: tuple[float, float] | None) -> Summary:
    """Join a ladder row's static facts with what was measured of its case."""
    ladder = next(ladder for ladder in run.ladders if ladder.name == entry.ladder)
    rung = ladder.rungs[entry.rung]
    result = _Result.of(entry, measured, joint)
    energy, status, no_energy = _energy(run, entry, measured)
    return Summary(
        **_shared(ladder, rung, rung.cost, entry, entry.case)
        | {"model": rung.network}
        | (dict.fromkeys(("rung", "removed", "eligible")) if entry.method == "control" else {})
        | {
            "case_id": result.case_id,
            "status": "failed" if result.cause else "ok" if result.latency_ns else "skipped",
            "latency_ns": result.latency_ns,
            "speedup": result.speedup,
            "artifact_error": result.artifact_error,
            "effective": result.effective,
            "energy_j": energy,
            "energy_status": status,
            "blocks": result.blocks,
            "contended": sum(process.contended for process in result.processes),
            "not_steady": sum(not process.settled for process in result.processes),
            "throttled": sum(process.throttled for process in result.processes),
            "reasons": {**_static_reasons(rung, entry), **_measured_reasons(entry, result, measured), **no_energy},
        }
    )


def _energy(run: Run, entry: Entry, measured: Measured) -> tuple[Energy | None, str, dict[str, str]]:
    """A row's energy with its status, and why what is null of it is null."""
    if measured.energy is None:
        status, reason = unmeasured(run, measured.job)
    elif entry.failure:
        status, reason = "unknown", "no artifact: " + entry.failure
    elif entry.case.case_id in measured.failed:
        status, reason = "unknown", "the case failed: " + measured.failed[entry.case.case_id]
    else:
        found = measured.energy.energy(entry.case.case_id, entry.reference)
        if found is not None:
            return found, "ok", _energy_reasons(entry, found)
        status, reason = measured.energy.why(entry.case.case_id)
    return None, status, {"energy_j": reason}


def _energy_reasons(entry: Entry, energy: Energy) -> dict[str, str]:
    reasons: dict[str, str] = {}
    few = f"{count(energy.figures[energy.scenario].windows, 'window')}: an interval needs {WINDOWS}"
    if energy.gross.low is None:
        reasons |= dict.fromkeys(("energy_j.gross.low", "energy_j.gross.high"), few)
    if energy.net is None:
        reasons["energy_j.net"] = "fewer than two blocks have an idle window that counts"
    elif energy.net.low is None:
        reasons |= dict.fromkeys(("energy_j.net.low", "energy_j.net.high"), few)
    if energy.saving is None:
        without = (
            "no artifact"
            if entry.reference is None
            else "fewer than two windows in blocks that it shares with this case"
        )
        reasons["energy_j.saving"] = f"the reference, rung 0, has {without}"
    elif energy.saving.verdict is None:
        itself = "the reference itself"
        reasons |= dict.fromkeys((f"energy_j.saving.{key}" for key in ("low", "high", "verdict")), itself)
    elif energy.saving.low is None:
        pairs = f"fewer than {WINDOWS} blocks hold both"
        reasons |= dict.fromkeys(("energy_j.saving.low", "energy_j.saving.high"), pairs)
    return reasons


def _shared(*records: Any) -> dict[str, Any]:
    """The fields that these records and a Summary have under the same name; later records win."""
    return {
        field.name: getattr(record, field.name)
        for record in records
        for field in fields(record)
        if field.name in _SUMMARY_FIELDS
    }


# --- why what is null is null ----------------------------------------------------------------------------------------


def _static_reasons(rung: Rung, entry: Entry) -> dict[str, str]:
    reasons = dict(rung.reasons)
    if entry.method == "control":
        reasons |= dict.fromkeys(("rung", "removed", "eligible"), "a latency control, not a rung of a ladder")
    if entry.failure:
        reasons |= dict.fromkeys(("case_id", "ops_executed", "artifact_accuracy"), "no artifact: " + entry.failure)
    elif entry.ops_executed is None:
        reasons["ops_executed"] = f"the graph of a {entry.case.runtime} artifact cannot be walked"
    if entry.artifact_accuracy is None:
        reasons.setdefault("artifact_accuracy", _no_artifact_accuracy(rung, entry))
    if rung.difference is None:
        reasons.setdefault("difference", "rungs of a ladder are made one from the other: see their accuracy")
    if rung.cost.uncounted and rung.cost.macs is not None:
        reasons["macs"] = f"without what no rule of the counter covers: {', '.join(rung.cost.uncounted)}"
    return {key: reason for key, reason in reasons.items() if reason}


def _no_artifact_accuracy(rung: Rung, entry: Entry) -> str:
    if entry.case.precision == "fp32":
        return "fp32: the outputs are bound to torch's, and so is the accuracy"
    return entry.no_accuracy or rung.reasons.get("accuracy", "not asked for")


def _measured_reasons(entry: Entry, result: _Result, measured: Measured) -> dict[str, str]:
    """Of what comes from processes; `status` says why a row is not ok."""
    estimate, speedup = result.latency_ns, result.speedup
    if estimate is None:
        missing = result.cause or "not measured: the job ended before its first process"
        return dict.fromkeys(("status", "latency_ns", "speedup", "artifact_error"), missing)
    reasons = stats.absent(estimate)
    if result.cause:
        reasons["status"] = result.cause
    if speedup is None:
        reasons["speedup"] = _no_speedup(entry, result, measured)
    elif speedup.verdict is None:
        itself = "the reference itself: its ratio to itself is the A/A floor"
        reasons |= dict.fromkeys(("speedup.low", "speedup.high", "speedup.verdict"), itself)
    elif speedup.low is None:
        reasons |= dict.fromkeys(("speedup.low", "speedup.high"), "one block: an interval needs two")
    return reasons


def _no_speedup(entry: Entry, result: _Result, measured: Measured) -> str:
    if result.cause:
        return f"the case failed; its latency is that of the {count(result.blocks, 'block')} before: {result.cause}"
    if entry.reference is None:
        return "the reference, rung 0, has no artifact"
    if entry.reference in measured.failed:
        return "the reference, rung 0, failed: " + measured.failed[entry.reference]
    return "the reference, rung 0, was not measured in any block that holds this case"

"""A run as its readers see it: panels by runtime and precision, rows with labels, findings with letters."""

from __future__ import annotations

import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count as count_from
from itertools import product

from harness import findings
from harness.findings.views import count, listing
from harness.records import ONNX, Finding, JobRecord, Run, Speedup, Summary

# Findings that a figure marks with letters: those about whole jobs would mark nearly every row, and it boxes warnings.
LETTERED = ("macs-rose", "order-not-determined", "not-exact", "accuracy-lost")


@dataclass(frozen=True)
class Panel:
    """What one runtime measured at one precision: ladders by name, controls, and how the job went."""

    runtime: str
    precision: str
    threads: int
    batch: int
    ladders: Mapping[str, tuple[Summary, ...]]
    controls: tuple[Summary, ...]
    job: JobRecord | None

    @property
    def title(self) -> str:
        """Runtime, precision, threads and batch in words."""
        threads = f"{self.threads} thread" + "s" * (self.threads != 1)
        return f"{self.runtime} {self.precision}, {threads}, batch {self.batch}"

    @property
    def rows(self) -> tuple[Summary, ...]:
        """All rows, ladders first."""
        return (*(row for rows in self.ladders.values() for row in rows), *self.controls)

    def name(self, row: Summary) -> str:
        """A row's name: a network that is not its ladder's own (of a trained control, say) stands beside its rung."""
        head = next(iter(self.ladders.get(row.ladder, ())), row)
        return title(row) if row.model == head.model or row.method == ONNX else f"{label(row)} {row.model}"

    @property
    def given(self) -> bool:
        """Whether all its networks were given as files: nothing of how they came to be is known."""
        return all(row.method == ONNX for row in self.rows)

    @property
    def rounded(self) -> bool:
        """Whether its artifacts have numbers of fewer bits: then they have accuracies of their own."""
        return self.precision != "fp32"

    @property
    def floors(self) -> tuple[tuple[Summary, Speedup], ...]:
        """The references of the ladders, each with its ratio to itself, where it has one."""
        floors = self.job.floor if self.job else {}
        heads = {rows[0].case_id: rows[0] for rows in self.ladders.values() if rows[0].rung == 0}
        return tuple((head, floors[case]) for case, head in heads.items() if case is not None and case in floors)

    @property
    def blocks(self) -> tuple[int, int]:
        """The fewest and the most blocks that hold a measured row; decided rows leave early."""
        found = [row.blocks for row in self.rows if row.latency_ns] or [0]
        return min(found), max(found)


def panels(run: Run) -> tuple[Panel, ...]:
    """Split a run's cases by runtime and precision, in the order in which they were planned."""
    jobs = {job.runtime: job for job in run.jobs}
    found = []
    for runtime, precision in dict.fromkeys((s.runtime, s.precision) for s in run.cases):
        rows = [s for s in run.cases if (s.runtime, s.precision) == (runtime, precision)]
        names = dict.fromkeys(s.ladder for s in rows if s.method != "control")
        ladders = {name: tuple(s for s in rows if s.ladder == name) for name in names}
        controls = tuple(s for s in rows if s.method == "control")
        found.append(
            Panel(runtime, precision, rows[0].threads, rows[0].batch, ladders, controls, jobs.get(runtime)),
        )
    return tuple(found)


def measured(run: Run) -> bool:
    """Whether anything of the run has a latency."""
    return any(row.latency_ns for row in run.cases)


def status(run: Run) -> str:
    """How far a run came, and why not further; nothing where it is done and has something to show."""
    failure = f": {run.failure}" if run.failure else ""
    ran = run.virtual and any(case.status == "ok" for case in run.cases)
    if not measured(run) and not ran:
        return f"{run.status}{failure}; nothing measured" + (" yet" if run.status != "done" else "")
    return "" if run.status == "done" else f"{run.status}{failure}; this is what was measured until then"


def trust(run: Run) -> tuple[str, ...]:
    """How far the run's numbers can be believed, a sentence each: its verdict, the settings, the regime, the calibration."""
    lines = []
    if run.verdict:
        lines.append(f"Verdict of the run: {run.verdict.state}; {'; '.join(run.verdict.evidence)}.")
    tuned = dict.fromkeys(each.name for job in run.jobs for each in job.tuned)
    if tuned:
        lines.append(f"Tuned meanwhile: {', '.join(tuned)}.")
    if run.plan.regime != "burst":
        lines.append(f"Regime: {run.plan.regime}; not to be compared with latencies of a cool device.")
    if run.calibration and run.calibration.get("quote"):
        lines.append(f"Device {run.calibration['quote']}.")
        if run.calibration.get("unlike"):
            lines.append(f"But that was another situation: {'; '.join(run.calibration['unlike'])}.")
    return tuple(lines)


def label(summary: Summary) -> str:
    """A row's name: its rung, or the network of a control."""
    return summary.model if summary.rung is None else str(summary.rung)


def title(summary: Summary) -> str:
    """A row's name where there is room: a given network's own name stands beside its rung."""
    return f"{label(summary)} {summary.model}" if summary.method == ONNX else label(summary)


def subject(run: Run) -> str:
    """What the run is about: models and tasks of its ladders, or those that it set out to make; given networks."""
    if run.plan.given:
        first, *others = (each.name for each in run.plan.given)
        return " and ".join([first, *([count(len(others), "other")] if others else [])]) + " (ONNX)"
    pairs = dict.fromkeys((ladder.model, ladder.task) for ladder in run.ladders or run.plan.ladders)
    return ", ".join(f"{model} on {task}" for model, task in pairs)


def lettered(found: Sequence[Finding]) -> tuple[tuple[str, Finding], ...]:
    """Give each finding a letter: a, b, ..., z, aa, ab, ..., zz, aaa, ..."""
    names = ("".join(each) for many in count_from(1) for each in product(string.ascii_lowercase, repeat=many))
    return tuple(zip(names, found, strict=False))


def marks(run: Run, summary: Summary, kinds: Collection[str] | None = None) -> str:
    """The letters of the findings (of some `kinds`) that name a row's case, with spaces between."""
    mine = findings.for_case(run.findings, summary.case_id)
    wanted = [finding for finding in mine if kinds is None or finding.kind in kinds]
    return " ".join(letter for letter, finding in lettered(run.findings) if finding in wanted)


def is_warned_of(run: Run, summary: Summary) -> bool:
    """Whether a row has fewer layers or MACs than full depth, and no more speed: what figures box."""
    kinds = {finding.kind for finding in findings.for_case(run.findings, summary.case_id)}
    return bool(kinds & {"depth-without-speed", "flops-fell-latency-rose"})


def is_dearer(run: Run, summary: Summary) -> bool:
    """Whether a row has fewer layers, or is faster, and takes more energy: what the figure of energy boxes."""
    kinds = {finding.kind for finding in findings.for_case(run.findings, summary.case_id)}
    return bool(kinds & {"energy-rose", "faster-not-cheaper"})


def absences(panel: Panel, keys: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    """Why numbers of a panel are null: (keys, rows, reason), all in words; what shares rows and reason stands once."""
    shared: dict[tuple[str, str], list[str]] = {}
    for key in keys:
        found: dict[str, list[str]] = {}
        for name, rows in (*panel.ladders.items(), ("", panel.controls)):
            for reason in dict.fromkeys(_reason(row, key) for row in rows):
                touched = [row for row in rows if _reason(row, key) == reason]
                found.setdefault(reason, []).append(_named(name if len(panel.ladders) > 1 else "", touched))
        for reason, names in found.items():
            shared.setdefault((" and ".join(names), reason), []).append(key)
    return tuple((", ".join(keys), names, reason) for (names, reason), keys in shared.items() if reason)


def _reason(row: Summary, key: str) -> str:
    """Why a number is null; nothing when it is not."""
    return row.reasons.get(key, "unknown") if getattr(row, key) is None else ""


def _named(ladder: str, rows: Sequence[Summary]) -> str:
    numbers = [row.rung for row in rows if row.rung is not None]
    if not numbers:
        return ", ".join(map(label, rows))
    return f"{ladder} rung{'s' * (len(numbers) > 1)} {listing(numbers)}".strip()

"""The jobs of a plan: what is compared with what, built, measured by which protocol, and read back.

(a) Segments by themselves: of every signature the segment as it is and with its option taken, three processes of each, a
    tenth of a second timed: enough for the sign of most gains, in well under a second a process.
(b) In the whole network: options that may gain by (a), the most profitable first, about half of them at a time
    (`weighing`), in as many networks as six blocks hold within the budget.
(c) The plans of the front, as whole networks, in blocks of their own, by a run's stopping rule: six blocks or ten.

Where a network has few options (ALL_IN_PLACE), (a) is left out and each is measured in place, against the unfolded network:
that is the truth, and costs less than both. For int8 (a) is always left out: a segment has no examples of its own to be
calibrated on. Of more options, as many are measured in place as the budget holds, first those that take the most off the
count of MACs.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from harness import analysis, build, jobs, rows, stats, wire
from harness.child import OnProgress
from harness.compress import client
from harness.planner import weighing
from harness.planner.folder import Asked, Kind, Pair, Row, Sheet
from harness.planner.gains import Compared
from harness.records import Artifact, Case, Device, Examples, Profile, Rung, digest
from harness.records.planned import FoldingPlan, Option, Wanted
from harness.stats import Floats

ALL_IN_PLACE = 16
BLOCKS = 6  # of whole networks
SEGMENT_BLOCKS = 3
_FRONT_LOOKS = (BLOCKS, 10)
AIM_S, MOST_S = 120.0, 300.0  # of a job: what is asked of a quiet machine, what a busy one may take
WHOLE_MORE_S = 0.3  # that a process of a whole network takes longer than one of a segment
PROCESS_S = 1.0  # of a whole network, where none has been measured: start, load, warm-up, spins, timed part
SEGMENT_S = 0.6  # a process of a segment
_FIXED = 1e-6  # a half-width that no number of blocks reaches
_SEGMENT_TIMED_S, _WHOLE_TIMED_S = 0.1, 0.2  # timed; processes differ by more than what a longer stretch would tell
_UNFOLDED = Wanted("whole")
_MATRICES = ("dense", "tail")


# --- what is compared ----------------------------------------------------------------------------------------------


def is_isolated(options: Sequence[Option], precision: str) -> bool:
    """Whether segments are measured by themselves first."""
    return len(options) > ALL_IN_PLACE and precision != "int8"


def isolated(options: Iterable[Option]) -> tuple[Pair, ...]:
    """One comparison per signature: options that share one share its measurement; those without have no life of their own."""
    able = [option for option in reversed(tuple(options)) if option.signature]
    first = {option.signature: option.name for option in able}
    kept = {_stretch(option): option.name for option in able}  # one segment as it is, whatever may be done to it
    return tuple(
        Pair((option.name,), Wanted("alone", (option.name,)), Wanted("kept", (kept[_stretch(option)],)))
        for option in sorted(able, key=lambda option: option.name)
        if first[option.signature] == option.name
    )


def _stretch(option: Option) -> tuple[str, str]:
    """What an option's segment holds: a matrix comes in place of layers alone, one layer also of an addition behind them."""
    return option.name.partition(":")[0], option.form if option.form in _MATRICES else ""


def in_place(options: Iterable[Option]) -> tuple[Pair, ...]:
    """Each option by itself in the whole network, against the unfolded one."""
    return tuple(whole((option.name,)) for option in options)


def in_groups(ranked: Sequence[Option], networks: float) -> tuple[Pair, ...]:
    """Options in the whole network, about half of them at a time (`weighing`), as many networks as there is time for.

    One or two options have no groups to be weighed in: each is by itself.
    """
    apart = weighing.apart(ranked)
    if len(apart) < weighing.LEAST:
        return in_place(apart)
    return tuple(whole(options) for options in weighing.sets(apart, networks))


def front(plans: Iterable[FoldingPlan]) -> tuple[Pair, ...]:
    """Each plan as a whole network, against the unfolded one."""
    return tuple(whole(plan.options) for plan in plans)


def whole(options: tuple[str, ...]) -> Pair:
    """The whole network with these options taken, against the unfolded one."""
    return Pair(options, Wanted("whole", options), _UNFOLDED)


def room(budget_s: float | None, process_s: float) -> int:
    """How many options six blocks hold within the budget, beside the reference's own processes; one at least."""
    fits = [n for n in range(1, 1000) if n + jobs.replicates(n) <= slots(budget_s, process_s)]
    return max(fits, default=1)


def slots(budget_s: float | None, process_s: float) -> float:
    """How many processes a block may have, for six blocks to be within the budget."""
    return (AIM_S if budget_s is None else budget_s) / (BLOCKS * process_s)


def process_s(journal: Iterable[wire.Event]) -> float | None:
    """How long a process took that is already measured, spins and pauses included, median; None where none is."""
    ends = [event.t_ns for event in journal if isinstance(event, wire.ProcessEvent)]
    between = [(after - before) / 1e9 for before, after in itertools.pairwise(ends) if after > before]
    return statistics.median(between) if between else None


def blocks(kind: Kind) -> int:
    """How many blocks a job of this kind is to have, at least."""
    return SEGMENT_BLOCKS if kind == "isolated" else BLOCKS


# --- building ------------------------------------------------------------------------------------------------------


def make_rows(
    asked: Asked, device: Device, pairs: Sequence[Pair], tell: OnProgress
) -> tuple[tuple[Row, ...], Mapping[str, Artifact]]:
    """Make and build every network of these comparisons; return them as cases of a job, and the artifacts by case.

    One that cannot be made or built is no case: its rows say why. Raises HarnessError, FoldError for the unfolded network.
    """
    wanted = tuple(dict.fromkeys(each for pair in pairs for each in (pair.reference, pair.case)))
    found = dict(zip(wanted, client.networks(asked.request, wanted, tell), strict=True))
    rungs = {each: one for each, one in found.items() if isinstance(one, Rung)}
    unmade = {each: one for each, one in found.items() if isinstance(one, str)}
    examples = client.examples(asked.task, asked.data, tell) if asked.precision == "int8" else None
    outcomes = build.build([_request(asked, device, each, examples) for each in rungs.values()], tell)
    made = {**unmade, **dict(zip(rungs, outcomes, strict=True))}
    sheet = tuple(_row(asked, pair, rungs.get(pair.case), made) for pair in pairs)
    return sheet, {_case(asked, one).case_id: one for one in outcomes if isinstance(one, Artifact)}


def _request(asked: Asked, device: Device, rung: Rung, examples: Examples | None) -> build.BuildRequest:
    return build.BuildRequest(
        rung.variant,
        asked.runtime,
        asked.precision,
        asked.batch,
        build.target_of(device, asked.runtime, asked.precision),
        rows.options_of(asked.runtime, asked.options),
        calibration=examples.calibration if examples else None,
    )


def _row(asked: Asked, pair: Pair, rung: Rung | None, made: Mapping[Wanted, Artifact | str]) -> Row:
    case, reference = made[pair.case], made[pair.reference]
    ours, theirs = (None if isinstance(one, str) else _case(asked, one).case_id for one in (case, reference))
    failure = next((f"cannot be built: {one}" for one in (case, reference) if isinstance(one, str)), None)
    if failure is None and ours == theirs:
        failure = "it is built to the same bytes as what it is held against"
    cost, fold_error = (rung.cost, rung.fold_error) if rung else (None, None)
    return Row(pair, ours, theirs, cost, fold_error, failure)


def _case(asked: Asked, artifact: Artifact) -> Case:
    return Case(
        asked.device, artifact.sha256, asked.runtime, asked.precision, asked.threads, asked.batch, asked.options
    )


# --- measuring -----------------------------------------------------------------------------------------------------


def protocol(kind: Kind, budget_s: float | None, cooldown_s: float = 0.0) -> wire.Protocol:
    """How a job of this kind is measured: a table in a fixed number of blocks, the front as a run is, until it is decided."""
    usual = wire.Protocol(budget_s=MOST_S if budget_s is None else budget_s, cooldown_s=cooldown_s)
    if kind == "isolated":
        # One attempt: where a neighbour stays, second ones took a third of the time, and segments need to be ranked, no more.
        short = replace(usual, timed_s=_SEGMENT_TIMED_S, warmup_cap_s=0.5, attempts=1)
        return replace(short, looks=(SEGMENT_BLOCKS,), half_width=_FIXED)
    if kind == "in place":
        return replace(usual, looks=(BLOCKS,), half_width=_FIXED, timed_s=_WHOLE_TIMED_S, attempts=2)
    return replace(usual, looks=_FRONT_LOOKS, timed_s=_WHOLE_TIMED_S)


def rules(asked: Asked, profile: Profile) -> str:
    """Digest of how jobs are measured, and of what the settings to be brought about stand for."""
    kinds: tuple[Kind, ...] = ("isolated", "in place", "front")
    protocols = [asdict(protocol(kind, None, profile.cooldown_s)) for kind in kinds]
    return digest({"protocols": protocols, "tune": [asdict(each) for each in jobs.settings(asked.tune, profile)]})[:16]


def job(
    name: str, asked: Asked, sheet: Sheet, artifacts: Mapping[str, Artifact], profile: Profile, budget_s: float | None
) -> wire.Job:
    """Return the job of a sheet's rows; a reference of whole networks has replicates, a segment as it is needs none."""
    pairs = tuple(dict.fromkeys((row.case or "", row.reference or "") for row in sheet.live))
    compared = {reference: sum(other == reference for _, other in pairs) for _, reference in pairs}
    labels = _labels(sheet)
    cases = []
    for case_id in dict.fromkeys(each for pair in reversed(pairs) for each in reversed(pair)):
        artifact = artifacts[case_id]
        many = compared.get(case_id, 0) if sheet.kind != "isolated" and not is_grouped(sheet) else 0
        cases.append(jobs.job_case(labels[case_id], _case(asked, artifact), artifact, many))
    return wire.Job(
        run=name,
        job=name,
        runtime=asked.runtime,
        seed=int(digest(name)[:8], 16),  # so that repeated jobs shuffle differently
        cases=tuple(cases),
        comparisons=pairs,
        protocol=protocol(sheet.kind, budget_s, profile.cooldown_s),
        tune=jobs.settings(asked.tune, profile),
        look=False,
    )


def _labels(sheet: Sheet) -> dict[str, str]:
    """What people call a case: the first row that has it."""
    found: dict[str, str] = {}
    for row in sheet.live:
        found.setdefault(row.case or "", " + ".join(row.pair.options))
        kept = f"{row.pair.options[0]}, as it is" if sheet.kind == "isolated" else "unfolded"
        found.setdefault(row.reference or "", kept)
    return found


def measured(job: wire.Job | None, journal: Sequence[wire.Event]) -> analysis.Measured:
    """What a job measured, as far as it came."""
    return analysis.Measured.of(job, journal, None)


def compared(sheet: Sheet, measured: analysis.Measured) -> Mapping[tuple[str, ...], Compared]:
    """What a job says of each of its comparisons, by the options taken; of groups, what it says of each option in them.

    Groups of which too many failed tell nothing but whether the unfolded network did, too, and why: of it (`()`) alone.
    """
    if is_grouped(sheet):
        found = weighing.compared(latencies_ns(sheet, measured))
        return found or {(): Compared(failure=_lost(sheet, measured))}
    return {row.pair.options: _compared(row, measured) for row in sheet.rows}


def _lost(sheet: Sheet, measured: analysis.Measured) -> str | None:
    """Why the unfolded network of a sheet was not measured; None where it was."""
    unbuilt = next((row.failure for row in sheet.rows if row.reference is None), None)
    return unbuilt or next((why for row in sheet.rows if (why := measured.failed.get(row.reference or ""))), None)


def is_grouped(sheet: Sheet) -> bool:
    """Whether options were measured in place several at a time."""
    return sheet.kind == "in place" and any(len(row.pair.options) > 1 for row in sheet.rows)


def latencies_ns(sheet: Sheet, measured: analysis.Measured) -> Mapping[tuple[str, ...], Floats]:
    """Of each network of a sheet, by its options (none: what it is held against), a latency in each block that all are in."""
    cases = {row.pair.options: row.case for row in sheet.live} | {(): next((row.reference for row in sheet.live), None)}
    live = {options: case for options, case in cases.items() if case and case not in measured.failed}
    found = {
        options: stats.by_block(stats.last_attempts(measured.processes.get(case, ()))) for options, case in live.items()
    }
    blocks = sorted(set.intersection(*(set(each) for each in found.values()))) if found else []
    return {options: np.exp([each[block] for block in blocks]) for options, each in found.items()}


def _compared(row: Row, measured: analysis.Measured) -> Compared:
    """The reference's latency is known though the case failed."""
    case, reference = row.case or "", row.reference or ""
    whole = None if reference in measured.failed else measured.estimate(reference)
    lost = next((measured.failed[one] for one in (case, reference) if one in measured.failed), None)
    return Compared(whole.median if whole else None, measured.speedup(case, reference), row.failure or lost)


def latency_ns(row: Row, measured: analysis.Measured) -> float | None:
    """The latency of a row's case; None where it was never measured."""
    found = measured.estimate(row.case) if row.case else None
    return found.median if found else None

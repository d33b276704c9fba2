"""What a night says of its series: confirmed where a second run agrees, blamed on the device where its canary moves."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import example_run
import made_nights
import pytest

from harness import jobs, store
from harness.nights import judging
from harness.nights.past import Past
from harness.nights.series import Cases
from harness.records import Artifact, Estimate, Limits, Profile, Run, RunVerdict
from harness.records.nights import MatrixRow, Night, RowOutcome, SeriesChange

ROW = made_nights.row("local", method="easier")
CANARY = made_nights.row("local", model="tiny", method="order", canary=True)
OTHER = made_nights.row("local", model="vgg16_bn")
NIGHTS = 20
RUNG = "easier 1"


@dataclass
class Lab:
    """Nights with a run for each row, of two rungs; what is asked of night and row makes its latency, and anything else."""

    results: Path
    rows: Sequence[MatrixRow] = (ROW,)
    factor: Callable[[int, MatrixRow], float] = lambda n, row: 1.0
    run: Callable[[int, Run], Run] = lambda n, run: run
    came: Callable[[int, RowOutcome], RowOutcome] = lambda n, came: came
    night: Callable[[int, Night], Night] = lambda n, night: night
    nights: list[Night] = field(default_factory=list)

    def made(self, count: int = NIGHTS) -> Lab:
        draw = random.Random(7)
        self.nights = [self._night(n, draw) for n in range(count)]
        return self

    def judged(self, again: float | None = None, of: MatrixRow | None = None) -> judging.Judged:
        """Judge the last night, with a second run of every row, or one, that is so many times slower than it was once."""
        *earlier, last = self.nights
        if again is not None:
            wanted = [each.row for each in last.rows] if of is None else [of]
            rows = [self.repeated(each, again) if each.row in wanted else each for each in last.rows]
            last = replace(last, rows=tuple(rows))
        return judging.judge(last, Past(earlier), Cases(self.results))

    def repeated(self, came: RowOutcome, factor: float) -> RowOutcome:
        """A row of the last night with a second run, so many times slower than it was once."""
        return replace(came, again=self._store(f"again-{came.row.key}", came.row, factor, len(self.nights)))

    def _night(self, n: int, draw: random.Random) -> Night:
        day = date(2026, 10, 1) + timedelta(days=n)
        rows = []
        for row in self.rows:
            factor = self.factor(n, row) * (1 + draw.gauss(0, 0.004))
            name = self._store(f"{day}-{row.key}", row, factor, n)
            rows.append(self.came(n, RowOutcome(row, "measured", run=name, there={"kernel": "6.1"})))
        night = made_nights.night(*rows, night=f"{day}", began=f"{day}T02:00:00+00:00")
        return self.night(n, night)

    def _store(self, name: str, row: MatrixRow, factor: float, n: int) -> str:
        first = example_run.run()
        cases = tuple(
            replace(case, model=row.model, latency_ns=_scaled(case.latency_ns, factor)) for case in first.cases[:2]
        )
        changed = replace(first, run=name, device=row.device, cases=cases, created=f"2026-10-01T02:00:{n:02}+00:00")
        store.create(self.results, self.run(n, changed))
        return name


def _scaled(estimate: Estimate | None, factor: float) -> Estimate:
    assert estimate is not None and estimate.low and estimate.high and estimate.p99
    return replace(
        estimate,
        median=estimate.median * factor,
        low=estimate.median * factor * 0.998,
        high=estimate.median * factor * 1.002,
        p99=estimate.p99 * factor,
    )


def slower(from_night: int, factor: float, of: MatrixRow | None = None) -> Callable[[int, MatrixRow], float]:
    return lambda n, row: factor if n >= from_night and row in (of or row,) else 1.0


def named(found: Sequence[SeriesChange]) -> set[tuple[str, str, str]]:
    return {(each.row.model, each.rung, each.quantity) for each in found}


def test_where_nothing_changes_nothing_is_said(tmp_path: Path) -> None:
    found = Lab(tmp_path).made().judged()
    assert not found.moved and not found.confirmed and not found.suspected and not found.blamed


def test_a_step_is_suspected_until_a_second_run_agrees_and_then_confirmed_with_the_night_it_began(
    tmp_path: Path,
) -> None:
    lab = Lab(tmp_path, factor=slower(NIGHTS - 2, 1.08)).made()
    found = lab.judged()
    both = {("resnet18", "easier 0", "latency"), ("resnet18", RUNG, "latency")}
    assert named(found.suspected) == both and not found.confirmed
    found = lab.judged(again=1.08)
    assert named(found.confirmed) == both and not found.suspected
    for change in found.confirmed:
        assert change.direction == "worse" and change.since == lab.nights[-2].night and change.unit == "ns"
        assert change.ratio == pytest.approx(1.08, abs=0.01)
        assert change.low is not None and change.high is not None and change.low < change.ratio < change.high
        assert change.after / change.before == pytest.approx(change.ratio)


def test_a_step_that_a_second_run_does_not_show_is_no_more_than_suspected(tmp_path: Path) -> None:
    lab = Lab(tmp_path, factor=slower(NIGHTS - 2, 1.08)).made()
    found = lab.judged(again=1.0)
    assert not found.confirmed


def test_what_becomes_faster_is_a_change_for_the_better(tmp_path: Path) -> None:
    found = Lab(tmp_path, factor=slower(NIGHTS - 2, 0.9)).made().judged(again=0.9)
    assert {change.direction for change in found.confirmed} == {"better"}


def test_where_the_canary_moves_the_device_is_blamed_and_its_other_rows_are_not_reported(tmp_path: Path) -> None:
    found = Lab(tmp_path, rows=(CANARY, ROW, OTHER), factor=slower(NIGHTS - 2, 1.1)).made().judged(again=1.1)
    assert {change.row.model for change in found.confirmed} == {"tiny"}
    assert set(found.blamed) == {"local"} and "latency of its canary" in found.blamed["local"]
    assert {change.row.model for change in found.moved} == {"tiny", "resnet18", "vgg16_bn"}


def test_while_the_canary_only_seems_to_have_moved_its_devices_other_rows_wait_a_night(tmp_path: Path) -> None:
    def factor(n: int, row: MatrixRow) -> float:
        return 1.1 if n >= NIGHTS - (1 if row is CANARY else 2) else 1.0

    found = Lab(tmp_path, rows=(CANARY, ROW), factor=factor).made().judged(again=1.1)
    assert not found.confirmed and not found.blamed
    assert {each.row.model for each in found.suspected} == {"tiny", "resnet18"}
    assert found.waiting == {"local": "its canary seems to have moved, too"} and not found.unheard


def contended_canary(n: int, run: Run) -> Run:
    """Tonight's run of the canary, contended."""
    is_tonight = n >= NIGHTS - 1 and run.cases[0].model == "tiny"
    return replace(run, verdict=RunVerdict("contended", ("x",))) if is_tonight else run


def absent_canary(n: int, came: RowOutcome) -> RowOutcome:
    """Tonight's canary, out of reach of its device."""
    is_tonight = n >= NIGHTS - 1 and came.row.canary
    return replace(came, outcome="failed", run=None, reason="no space") if is_tonight else came


@pytest.mark.parametrize(
    "how, why",
    [
        ({"run": contended_canary}, "its canary cannot be judged: tonight's run was contended or throttled"),
        ({"came": absent_canary}, "its canary was not measured, failed: no space"),
    ],
)
def test_without_a_canary_to_trust_tonight_its_devices_changes_wait_a_night_and_that_is_said(
    tmp_path: Path, how: Any, why: str
) -> None:
    lab = Lab(tmp_path, rows=(CANARY, ROW), factor=slower(NIGHTS - 2, 1.1, ROW), **how).made()
    found = lab.judged(again=1.1)
    assert not found.confirmed and {each.row.model for each in found.suspected} == {"resnet18"}
    assert found.waiting == {"local": why} and found.unheard == {"local": why}


def test_a_canary_of_few_nights_vouches_for_nothing(tmp_path: Path) -> None:
    def young(n: int, came: RowOutcome) -> RowOutcome:
        return replace(came, outcome="failed", run=None) if came.row.canary and n < NIGHTS - 5 else came

    found = Lab(tmp_path, rows=(CANARY, ROW), factor=slower(NIGHTS - 2, 1.1, ROW), came=young).made().judged(again=1.1)
    assert not found.confirmed and "fewer than 3 nights" in found.waiting["local"]


def test_a_change_that_waited_is_confirmed_when_the_canary_is_back(tmp_path: Path) -> None:
    def away(n: int, came: RowOutcome) -> RowOutcome:
        return replace(came, outcome="missing", run=None) if came.row.canary and n == NIGHTS - 2 else came

    lab = Lab(tmp_path, rows=(CANARY, ROW), factor=slower(NIGHTS - 3, 1.1, ROW), came=away).made()
    found = lab.judged(again=1.1, of=ROW)
    assert named(found.confirmed) == {("resnet18", "easier 0", "latency"), ("resnet18", RUNG, "latency")}
    assert not found.waiting and not found.unheard


def test_accuracies_need_no_canary(tmp_path: Path) -> None:
    lab = Lab(tmp_path, rows=(CANARY, ROW), came=absent_canary, run=lambda n, run: less_accurate(n, run, 0.1)).made()
    found = lab.judged()
    assert {change.quantity for change in found.confirmed} == {"accuracy"} and not found.waiting


def test_a_canary_that_became_another_network_blames_nobody(tmp_path: Path) -> None:
    def changed(n: int, came: RowOutcome) -> RowOutcome:
        return replace(came, here={"network": "new" if n >= NIGHTS - 2 else "old"})

    lab = Lab(tmp_path, rows=(CANARY,), factor=slower(NIGHTS - 2, 1.2), came=changed).made()
    assert not lab.judged(again=1.2).moved


def test_a_canary_of_another_accuracy_tells_nothing_of_the_device(tmp_path: Path) -> None:
    found = Lab(tmp_path, rows=(CANARY, ROW), run=lambda n, run: less_accurate(n, run, 0.1)).made().judged()
    assert not found.blamed and {change.quantity for change in found.confirmed} == {"accuracy"}


def test_where_one_row_moves_the_device_is_not_blamed(tmp_path: Path) -> None:
    lab = Lab(tmp_path, rows=(CANARY, ROW, OTHER), factor=slower(NIGHTS - 2, 1.1, ROW)).made()
    found = lab.judged(again=1.1)
    assert not found.blamed
    assert {change.row.model for change in lab.judged().suspected} == {"resnet18"}


@pytest.mark.parametrize("state", ["contended", "throttled", "fell-back"])
def test_a_run_that_was_disturbed_never_alarms(tmp_path: Path, state: Any) -> None:
    def disturbed(n: int, run: Run) -> Run:
        return replace(run, verdict=RunVerdict(state, ("x",))) if n >= NIGHTS - 2 else run

    found = Lab(tmp_path, factor=slower(NIGHTS - 2, 1.3), run=disturbed).made().judged(again=1.3)
    assert not found.moved


def test_a_second_run_that_was_disturbed_confirms_nothing(tmp_path: Path) -> None:
    def disturbed(n: int, run: Run) -> Run:
        return replace(run, verdict=RunVerdict("contended", ("x",))) if n == NIGHTS else run

    found = Lab(tmp_path, factor=slower(NIGHTS - 2, 1.3), run=disturbed).made().judged(again=1.3)
    assert found.suspected and not found.confirmed


def test_an_upgrade_begins_a_segment_and_is_no_regression(tmp_path: Path) -> None:
    def upgraded(n: int, came: RowOutcome) -> RowOutcome:
        return replace(came, there={"kernel": "6.2"}) if n >= NIGHTS - 2 else came

    found = Lab(tmp_path, factor=slower(NIGHTS - 2, 1.2), came=upgraded).made().judged(again=1.2)
    assert not found.moved


def test_another_network_is_no_segment_but_what_a_night_is_to_notice(tmp_path: Path) -> None:
    def changed(n: int, came: RowOutcome) -> RowOutcome:
        return replace(came, here={"network": "new" if n >= NIGHTS - 2 else "old"})

    found = Lab(tmp_path, factor=slower(NIGHTS - 2, 1.2), came=changed).made().judged(again=1.2)
    assert found.confirmed


def test_what_was_confirmed_is_told_once_and_the_new_level_counts_from_then_on(tmp_path: Path) -> None:
    lab = Lab(tmp_path, factor=slower(NIGHTS - 4, 1.1)).made()
    told = [made_nights.change(ROW, since=lab.nights[-4].night, rung=f"easier {n}") for n in (0, 1)]
    lab.nights[-3] = replace(lab.nights[-3], changes=tuple(told))
    assert not lab.judged(again=1.1).moved


def test_behind_a_night_that_blamed_the_device_its_rows_begin_anew(tmp_path: Path) -> None:
    lab = Lab(tmp_path, factor=slower(NIGHTS - 3, 1.1)).made()
    lab.nights[-3] = replace(lab.nights[-3], blamed={"local": "its canary moved"})
    assert not lab.judged(again=1.1).moved


def test_nights_on_which_a_row_was_fresh_are_none_of_its_nights(tmp_path: Path) -> None:
    def fresh(n: int, came: RowOutcome) -> RowOutcome:
        return replace(came, outcome="fresh") if n % 2 and n < NIGHTS - 2 else came

    found = Lab(tmp_path, factor=slower(NIGHTS - 2, 1.08), came=fresh).made().judged(again=1.08)
    assert found.confirmed


def test_an_emulated_device_has_no_times_to_judge_but_its_accuracies_are_compared(tmp_path: Path) -> None:
    def virtual(n: int, run: Run) -> Run:
        return less_accurate(n, replace(run, virtual=True), 0.1)

    found = Lab(tmp_path, factor=slower(NIGHTS - 2, 1.5), run=virtual).made().judged(again=1.5)
    assert {change.quantity for change in found.confirmed} == {"accuracy"} and not found.suspected


def less_accurate(n: int, run: Run, by: float) -> Run:
    """A run of the last night less accurate; the interval is that of some 300 examples."""
    less = by if n >= NIGHTS - 1 else 0.0
    made = [(case, (case.accuracy or 0) - less) for case in run.cases]
    limits = [(case, value, Limits(value - 0.02, value + 0.01)) for case, value in made]
    return replace(run, cases=tuple(replace(case, accuracy=value, accuracy_interval=it) for case, value, it in limits))


def test_an_accuracy_that_falls_is_confirmed_at_once_and_one_example_is_none(tmp_path: Path) -> None:
    found = Lab(tmp_path / "a", run=lambda n, run: less_accurate(n, run, 0.1)).made().judged()
    assert named(found.confirmed) == {("resnet18", "easier 0", "accuracy"), ("resnet18", RUNG, "accuracy")}
    assert {change.direction for change in found.confirmed} == {"worse"}
    assert not Lab(tmp_path / "b", run=lambda n, run: less_accurate(n, run, 0.0029)).made().judged().moved


def test_a_larger_artifact_is_a_change_for_the_worse(tmp_path: Path) -> None:
    lab = Lab(tmp_path).made(3)
    write_sizes(lab, lambda n: 1007 if n == 2 else 1000)
    found = lab.judged()
    assert {(change.quantity, change.before, change.after) for change in found.confirmed} == {
        ("artifact size", 1000.0, 1007.0)
    }
    assert {change.direction for change in found.confirmed} == {"worse"}


def test_sizes_go_on_from_the_first_job_that_can_be_read(tmp_path: Path) -> None:
    lab = Lab(tmp_path).made(4)
    write_sizes(lab, lambda n: 1007 if n == 3 else 1000)
    (tmp_path / "local" / str(lab.nights[0].rows[0].run) / "jobs" / "onnxruntime" / "job.json").write_bytes(b"\xff")
    assert {change.before for change in lab.judged().confirmed} == {1000.0}


def write_sizes(lab: Lab, size: Callable[[int], int]) -> None:
    """Give the first row's run of each night a job, with artifacts of so many bytes."""
    for n, night in enumerate(lab.nights):
        folder = lab.results / "local" / str(night.rows[0].run)
        run = store.load(folder)
        sizes = {entry.case.case_id: artifact(size(n)) for entry in run.entries}
        job = jobs.make(run, "onnxruntime", sizes, Profile("host", "here", "any", ("onnxruntime",)))
        assert job is not None
        store.save_job(folder, job)


def artifact(size: int) -> Artifact:
    return Artifact("a" * 64, "a", size, "v", "onnxruntime", "fp32", 1, "b" * 64, "b", 10, 1e-4, None, {})


def test_builds_that_last_longer_night_after_night_are_told_and_one_that_did_is_not(tmp_path: Path) -> None:
    def built(from_night: int) -> Callable[[int, RowOutcome], RowOutcome]:
        noise = random.Random(3)
        return lambda n, came: replace(came, build_s=(20.0 if n >= from_night else 10.0) * (1 + noise.gauss(0, 0.02)))

    found = Lab(tmp_path / "a", came=built(NIGHTS - 4)).made().judged()
    assert [(change.rung, change.quantity) for change in found.confirmed] == [("all rungs", "build time")]
    assert not Lab(tmp_path / "b", came=built(NIGHTS - 1)).made().judged().confirmed

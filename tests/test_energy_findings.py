"""Findings about energy: numbers with intervals, a cause, advice; never from an unclear verdict."""

from dataclasses import replace

import example_energy_run as example
import pytest

from harness import findings
from harness.findings import kinds
from harness.records import Interval, Saving

RUN = example.run()
KINDS = {"energy-lost", "sampler-disturbs", "idle-drifts", "late-paces", "faster-not-cheaper", "energy-rose"}


def found(run):
    return {f.kind: f for f in findings.find(run.cases, run.ladders, run.jobs) if f.kind in KINDS}


def recorded(**fields):
    (job,) = RUN.jobs
    return replace(RUN, jobs=(replace(job, energy=replace(job.energy, **fields)),))


def with_saving(rung, ratio, low, high, verdict):
    def changed(s):
        saving = Saving(ratio, low, high, verdict)
        return replace(s, energy_j=replace(s.energy_j, saving=saving)) if s.rung == rung else s

    return replace(RUN, cases=tuple(map(changed, RUN.cases)))


def quiet(run=RUN):
    """The same rows, of which none takes more than rung 0."""
    same = Saving(1.0, 0.99, 1.01, "same")
    cases = tuple(replace(s, energy_j=replace(s.energy_j, saving=same)) for s in run.cases)
    return replace(run, cases=cases, jobs=tuple(replace(j, energy=None) for j in run.jobs))


def test_a_run_in_order_has_none():
    assert found(quiet()) == {}


def test_a_run_without_energy_has_none():
    made = example.without(quiet())
    assert found(made) == {}


# --- jobs ----------------------------------------------------------------------------------------------------------


def test_lost_windows_are_told_with_status_first_window_and_cases():
    case = RUN.cases[3].case_id
    said = {"permission: energy_uj: sudo chmod o+r it": (f"paced {case} 2", f"paced {case} 3", "idle 1")}
    finding = found(recorded(lost=said))["energy-lost"]
    assert finding.numbers == {
        "runtime": "onnxruntime",
        "status": "permission",
        "windows": 3,
        "first": f"paced {case} 2",
    }
    assert finding.cases == (case,) and "3 windows" in finding.cause and "sudo chmod o+r it" in finding.cause
    assert finding.advice


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(1.03, 1.05, True), (0.9, 0.97, True), (0.99, 1.05, False), (1.01, 1.03, False), (None, None, False)],
)
def test_a_sampler_disturbs_where_its_whole_interval_lies_beyond_two_percent(low, high, said):
    made = found(recorded(sampler=Interval(1.04, low, high)))
    assert ("sampler-disturbs" in made) == said
    if said:
        numbers = made["sampler-disturbs"].numbers
        assert (numbers["ratio"], numbers["low"], numbers["high"]) == (1.04, low, high)


@pytest.mark.parametrize(
    ("idle_w", "drift", "said"), [(3.0, 0.06, True), (3.0, 0.04, False), (30.0, 0.01, True), (3.0, None, False)]
)
def test_idle_drifts_by_five_percent_or_a_fifth_of_a_watt(idle_w, drift, said):
    made = found(recorded(idle_w=Interval(idle_w, idle_w - 0.1, idle_w + 0.1), idle_drift=drift))
    assert ("idle-drifts" in made) == said
    if said:
        numbers = made["idle-drifts"].numbers
        assert numbers["drift_w"] == pytest.approx(drift * idle_w) and numbers["low"] == idle_w - 0.1


def test_late_paces_are_told_by_their_share():
    def late(share):
        cases = tuple(
            replace(
                s,
                energy_j=replace(
                    s.energy_j,
                    figures={
                        name: replace(f, late=round(share * f.windows * f.window_s * example.RATE_HZ))
                        for name, f in s.energy_j.figures.items()
                    },
                ),
            )
            if s.rung == 0
            else s
            for s in RUN.cases
        )
        return found(replace(RUN, cases=cases))

    finding = late(0.2)["late-paces"]
    assert finding.numbers["share"] == pytest.approx(0.2) and finding.numbers["rate_hz"] == example.RATE_HZ
    assert finding.cases == (RUN.cases[0].case_id,) and "late-paces" not in late(0.04)


# --- rows ----------------------------------------------------------------------------------------------------------


def test_faster_and_not_cheaper_is_told_with_both_ratios():
    made = found(with_saving(1, 0.9, 0.88, 0.92, "more"))
    finding = made["faster-not-cheaper"]
    assert finding.numbers["saving"] == 0.9 and (finding.numbers["low"], finding.numbers["high"]) == (0.88, 0.92)
    assert finding.numbers["speedup"] == pytest.approx(1.142) and finding.numbers["scope"] == "module"
    assert "11.1 % more at rung 1 [8.7 %, 13.6 %]" in finding.cause


def test_fewer_layers_and_more_energy_is_told_once_for_a_ladder_by_its_worst_rung():
    made = found(with_saving(1, 0.5, 0.45, 0.55, "more"))
    finding = made["energy-rose"]
    assert RUN.cases[1].case_id in finding.cases and finding.numbers["rung"] == 1
    assert len([f for f in findings.find(RUN.cases, RUN.ladders, RUN.jobs) if f.kind == "energy-rose"]) == 1


@pytest.mark.parametrize("verdict", ["unclear", "less", "same", None])
def test_no_other_verdict_makes_one(verdict):
    run = quiet()
    saving = Saving(0.8, 0.5, 1.2, verdict)
    cases = tuple(replace(s, energy_j=replace(s.energy_j, saving=saving)) for s in run.cases)
    assert found(replace(run, cases=cases)) == {}


def test_each_kind_is_listed_where_findings_are_listed():
    assert kinds.KINDS.keys() > KINDS

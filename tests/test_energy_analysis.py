"""From energy passes in a journal to figures: which channel, which passes count, and why there is no number."""

import math
from dataclasses import replace

import example_energy_run as example
import example_run
import numpy as np
import pytest

from harness import analysis, wire
from harness.records import EnergyRequest, RemoteTrace

RUNTIME = "onnxruntime"
RATE, WINDOW_S, START_S = 100.0, 5.0, 50.0
TOTAL = wire.Channel("ina3221", "VDD_IN", "module", "instant_power", True, 0.0066, 0.04)
PART = wire.Channel("ina3221", "VDD_CPU", "rail", "instant_power", False, 0.0066, 0.04)
AVERAGE = wire.Channel("nvml", "GPU0", "gpu", "averaged_power", True, 0.1, 0.001, 1.0)
COUNTER = wire.Channel("nvml", "GPU0", "gpu", "energy_counter", True, 0.1, 0.001)
WALL = wire.Channel("shelly", "switch:0", "wall", "energy_counter", True, 0.5, 0.01)
PLAN = wire.EnergyPlan((wire.Meter("ina3221"), wire.Meter("nvml")), windows=5, window_s=WINDOW_S)
IDLE_W = 3.0


@pytest.fixture(scope="module")
def run():
    """A run of rungs 0, 1 and 2 whose cases are made, with nothing measured."""
    made = example_run.run()
    entries = tuple(entry for entry in made.entries if entry.method != "control" and entry.rung < 3)
    return replace(made, entries=entries, cases=(), jobs=(), findings=(), analysis_version=0)


def case(run, rung):
    return run.entries[rung].case.case_id


def job_of(run, plan=PLAN, **protocol):
    pairs = tuple((e.case.case_id, e.reference) for e in run.entries if e.case.case_id != e.reference)
    file = wire.FileRef("0" * 64, 1)
    cases = tuple(
        wire.JobCase(entry.case.case_id, f"rung {entry.rung}", file, file, 1e-4, "fp32", 1, 1) for entry in run.entries
    )
    return wire.Job(run.run, f"{run.run}-{RUNTIME}", RUNTIME, 0, cases, pairs, wire.Protocol(**protocol), energy=plan)


class Passes:
    """A journal of passes, in which power is known: `watts` while a case infers, by rung."""

    def __init__(self, run, watts=(9.0, 8.0, 10.0), traces=(TOTAL, PART), scenarios=wire.SCENARIOS, boot="b1"):
        self.run, self.watts, self.traces, self.scenarios = run, watts, traces, scenarios
        self.events, self.rng, self.now = [], np.random.default_rng(1), START_S
        self.note(
            wire.StartEvent,
            run=run.run,
            job=f"{run.run}-{RUNTIME}",
            agent="a",
            pid=1,
            resumed=False,
            spin_ns={"1": 20_000_000},
            facts={"boot_id": boot},
        )

    def note(self, kind, **fields):
        name = {"StartEvent": "start", "PassEvent": "pass", "PassFailedEvent": "pass-failed", "FailedEvent": "failed"}
        seq = len(self.events)
        self.events.append(kind(v=wire.VERSION, seq=seq, t_ns=seq, kind=name[kind.__name__], **fields))

    def trace(self, channel, busy_w, change=lambda trace: trace):
        times = self.now + np.arange(-1.6, WINDOW_S + 1.6, 0.05)
        inside = np.clip(times - self.now, 0, WINDOW_S)
        if channel.kind == "energy_counter":
            values = IDLE_W * times + (busy_w - IDLE_W) * inside
        else:
            over = max(channel.average_s, 0.05)
            ago = np.clip(times - over - self.now, 0, WINDOW_S)
            values = IDLE_W + (busy_w - IDLE_W) * (inside - ago) / over
            values = values + self.rng.normal(0, 0.02, values.size)
        share = 1.0 if channel.total else 0.4
        return change(wire.Trace(channel, tuple(int(t * 1e9) for t in times), tuple((share * values).tolist())))

    def one(self, scenario, rung, block, attempt=1, change=lambda trace: trace, traces=None, **fields):
        """One pass of rung `rung` (None: idle), 10 s behind the one before."""
        self.now += 20.0
        watts = IDLE_W if rung is None else self.watts[rung] * (1 + 0.001 * self.rng.normal())
        told = self.traces if traces is None else traces
        busy = {} if rung is None else {"unsampled_ns": 1_000_000, "sampled_ns": 1_005_000 + 100 * block}
        self.note(
            wire.PassEvent,
            scenario=scenario,
            case_id="" if rung is None else case(self.run, rung),
            block=block,
            attempt=attempt,
            start_ns=int(self.now * 1e9),
            end_ns=int((self.now + WINDOW_S) * 1e9),
            inferences=0 if rung is None else int(RATE * WINDOW_S),
            wall_ns=10**10,
            spin_before_ns=20_000_000,
            spin_after_ns=20_000_000,
            traces=tuple(self.trace(channel, watts, change) for channel in told),
            rate_hz=RATE if scenario == "paced" else None,
            **{"contended": False, **busy, **fields},
        )

    def fail(self, scenario, rung, block, attempt=1, cause="crash", *, detail="exit status 1", final=False):
        where = {"scenario": scenario, "case_id": case(self.run, rung), "block": block, "attempt": attempt}
        self.note(wire.PassFailedEvent, **where, cause=cause, detail=detail, final=final)

    def blocks(self, count=5, without=()):
        for block in range(1, count + 1):
            self.one(wire.IDLE, None, block)
            for rung in range(len(self.watts)):
                for scenario in self.scenarios:
                    if (scenario, rung, block) not in without and (scenario, rung) not in without:
                        self.one(scenario, rung, block)
        return self


def analysed(run, passes, job=None, remote=()):
    job = job or job_of(run)
    return analysis.analyse(run, {RUNTIME: job}, {RUNTIME: passes.events}, {RUNTIME: None}, {RUNTIME: remote})


def row(made, rung):
    return made.cases[rung]


# --- figures -------------------------------------------------------------------------------------------------------


def test_a_rows_energy_is_that_of_its_windows_over_its_inferences(run):
    made = analysed(run, Passes(run).blocks())
    for rung, watts in enumerate((9.0, 8.0, 10.0)):
        energy = row(made, rung).energy_j
        assert row(made, rung).energy_status == "ok" and "energy_j" not in row(made, rung).reasons
        assert energy.gross.value == pytest.approx(watts / RATE, rel=0.004)
        assert energy.gross.low < watts / RATE < energy.gross.high
        assert energy.net.value == pytest.approx((watts - IDLE_W) / RATE, rel=0.006)
        assert (energy.scope, energy.sensor, energy.channel, energy.scenario) == (
            "module",
            "ina3221",
            "VDD_IN",
            "paced",
        )
        assert set(energy.figures) == {"paced", "closed"} and energy.figures["paced"].rate_hz == RATE
        assert energy.figures["closed"].power_w.value == pytest.approx(watts, rel=0.004)
        assert (energy.figures["closed"].windows, energy.window_s) == (5, pytest.approx(WINDOW_S))


def test_savings_are_paired_with_the_rows_own_reference(run):
    made = analysed(run, Passes(run).blocks())
    itself, less, more = (row(made, rung).energy_j.saving for rung in range(3))
    assert (itself.ratio, itself.low, itself.verdict) == (1.0, None, None)
    assert less.ratio == pytest.approx(9 / 8, rel=0.003) and less.low < 9 / 8 < less.high and less.verdict == "less"
    assert more.ratio == pytest.approx(9 / 10, rel=0.003) and more.verdict == "more"
    assert row(made, 0).reasons["energy_j.saving.verdict"] == "the reference itself"


def test_the_record_says_what_the_figures_rest_on(run):
    (job,) = analysed(run, Passes(run).blocks()).jobs
    record = job.energy
    assert (record.scope, record.sensor, record.kind) == ("module", "ina3221", "instant_power")
    assert record.rate_hz == RATE and record.clock_bound_s is None
    assert record.idle_w.value == pytest.approx(IDLE_W, rel=0.003) and record.idle_drift < 0.01
    assert record.sampler.value == pytest.approx(1.0053, abs=2e-4) and record.sampler.low <= record.sampler.value
    assert record.passes == {"ok": 35, "contended": 0, "throttled": 0, "uncovered": 0, "failed": 0}
    assert "a part of" in record.others["ina3221 VDD_CPU instant_power"]
    assert record.others["nvml"] == "it gave no reading in any pass that counts" and record.lost == {}


def test_closed_is_compared_where_paced_was_not_measured(run):
    plan = replace(PLAN, scenarios=("closed",))
    made = analysed(run, Passes(run, scenarios=("closed",)).blocks(), job_of(run, plan))
    assert row(made, 1).energy_j.scenario == "closed" and row(made, 1).energy_j.saving.verdict == "less"


def test_few_windows_give_a_value_without_interval_and_no_verdict(run):
    made = analysed(run, Passes(run).blocks(4))
    energy, reasons = row(made, 1).energy_j, row(made, 1).reasons
    assert energy.gross.low is None and energy.saving.verdict == "unclear" and energy.saving.low is None
    assert reasons["energy_j.gross.low"] == "4 windows: an interval needs 5"
    assert reasons["energy_j.saving.low"] == "fewer than 5 blocks hold both"


def test_windows_that_are_covered_are_so_also_where_they_are_too_few_for_a_figure(run):
    made = analysed(run, Passes(run).blocks(1))
    assert row(made, 1).energy_j is None and "two are needed" in row(made, 1).reasons["energy_j"]
    assert made.jobs[0].energy.passes == {"ok": 7, "contended": 0, "throttled": 0, "uncovered": 0, "failed": 0}


# --- which channel -------------------------------------------------------------------------------------------------


def chosen(made):
    record = made.jobs[0].energy
    return record.sensor, record.kind, record.scope


def test_a_sensors_counter_comes_before_its_average_and_meters_in_the_plans_order(run):
    traces = (AVERAGE, COUNTER, TOTAL)
    assert chosen(analysed(run, Passes(run, traces=traces).blocks())) == ("ina3221", "instant_power", "module")
    plan = replace(PLAN, meters=(wire.Meter("nvml"), wire.Meter("ina3221")))
    made = analysed(run, Passes(run, traces=traces).blocks(), job_of(run, plan))
    assert chosen(made) == ("nvml", "energy_counter", "gpu")
    assert set(made.jobs[0].energy.others) == {"nvml GPU0 averaged_power", "ina3221 VDD_IN instant_power"}
    assert {row(made, rung).energy_j.scope for rung in range(3)} == {"gpu"}
    assert "scope module: the figures rest on nvml" in made.jobs[0].energy.others["ina3221 VDD_IN instant_power"]


def test_a_channel_that_gives_every_figure_comes_before_one_that_lacks_some_and_scopes_are_never_mixed(run):
    passes = Passes(run, traces=(COUNTER,))
    for block in range(1, 6):
        passes.one(wire.IDLE, None, block)
        for scenario in wire.SCENARIOS:
            for rung in range(3):
                passes.one(scenario, rung, block, traces=(COUNTER,) if rung == 2 else (COUNTER, TOTAL))
    made = analysed(run, passes)
    assert chosen(made) == ("nvml", "energy_counter", "gpu")
    assert {row(made, rung).energy_j.scope for rung in range(3)} == {"gpu"}


def remote(passes, boot="b1", bound_s=0.01):
    """A meter on the wall that ran through the whole job, and told what the passes took."""
    times = np.arange(START_S, passes.now + 30, 0.5)
    windows = [event for event in passes.events if isinstance(event, wire.PassEvent)]
    counted = 5.0 * times
    for event in windows:
        busy = 0.0 if not event.case_id else 4.0
        counted += busy * np.clip(times - event.start_ns / 1e9, 0, WINDOW_S)
    trace = wire.Trace(WALL, tuple(int(t * 1e9) for t in times), tuple(counted.tolist()))
    return RemoteTrace(trace, bound_s, boot)


def test_a_meter_of_the_controller_is_read_through_its_own_trace_with_its_clocks_bound(run):
    passes = Passes(run, traces=()).blocks()
    plan = replace(PLAN, meters=(), remote=("shelly",))
    made = analysed(run, passes, job_of(run, plan), (remote(passes),))
    assert chosen(made) == ("shelly", "energy_counter", "wall") and made.jobs[0].energy.clock_bound_s == 0.01
    gross = row(made, 1).energy_j.gross
    assert gross.value == pytest.approx(9 / RATE, rel=0.01) and gross.low < 9 / RATE < gross.high
    wide = analysed(run, passes, job_of(run, plan), (remote(passes, bound_s=0.1),))
    assert row(wide, 1).energy_j.gross.high - gross.high == pytest.approx(9 * 0.09 / WINDOW_S / RATE, rel=0.1)


def test_times_of_another_boot_are_no_times_of_these_passes(run):
    passes = Passes(run, traces=()).blocks()
    plan = replace(PLAN, meters=(), remote=("shelly",))
    made = analysed(run, passes, job_of(run, plan), (remote(passes, boot="b0"),))
    assert row(made, 1).energy_j is None and made.jobs[0].energy.passes["uncovered"] == 35


# --- what gives no number ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields", [{"contended": True}, {"throttled": ("under-voltage",)}], ids=["contended", "throttled"]
)
def test_a_disturbed_pass_counts_only_by_a_later_attempt(run, fields):
    passes = Passes(run).blocks(without={("paced", 1, 5)})
    passes.one("paced", 1, 5, **fields)
    lost = analysed(run, passes)
    assert row(lost, 1).energy_j.figures["paced"].windows == 4
    assert lost.jobs[0].energy.passes[next(iter(fields))] == 1
    passes.one("paced", 1, 5, attempt=2)
    again = analysed(run, passes)
    assert row(again, 1).energy_j.figures["paced"].windows == 5 and sum(again.jobs[0].energy.passes.values()) == 35


def test_a_last_attempt_that_is_disturbed_takes_the_figure_of_the_block_with_it(run):
    passes = Passes(run).blocks(without={("paced", 1)})
    for block in range(1, 6):
        passes.one("paced", 1, block, contended=True)
    made = analysed(run, passes)
    assert row(made, 1).energy_j is None and row(made, 1).energy_status == "contended"
    assert row(made, 1).reasons["energy_j"] == "something else used the machine beside its windows, to the last attempt"
    assert row(made, 2).energy_status == "ok"


def test_under_a_lasting_load_throttling_is_part_of_what_is_measured_and_sleep_is_not(run):
    job = job_of(run, regime="sustained")
    passes = Passes(run).blocks(without={("paced", 1)})
    for block in range(1, 6):
        said = wire.SUSPENDED if block == 5 else "hot"
        passes.one("paced", 1, block, throttled=(said,))
    assert row(analysed(run, passes, job), 1).energy_j.figures["paced"].windows == 4


def holed(trace):
    """The trace of a sensor that disappeared in mid-window."""
    half = len(trace.t_ns) // 2
    gaps = tuple(wire.Gap(t, "error", "No such device") for t in trace.t_ns[half:])
    return wire.Trace(trace.channel, trace.t_ns[:half], trace.values[:half], gaps)


def test_a_sensor_that_disappears_gives_status_and_reason_and_never_a_number(run):
    passes = Passes(run).blocks(without={("paced", 1)})
    for block in range(1, 6):
        passes.one("paced", 1, block, change=holed)
    made = analysed(run, passes)
    assert row(made, 1).energy_j is None and row(made, 1).energy_status == "error"
    assert row(made, 1).reasons["energy_j"].startswith("ina3221: No such device (readings cover")
    (said,) = made.jobs[0].energy.lost
    assert said.startswith("error: No such device") and len(made.jobs[0].energy.lost[said]) == 5
    (finding,) = (f for f in made.findings if f.kind == "energy-lost")
    assert finding.numbers["status"] == "error" and finding.numbers["windows"] == 5


def test_a_sensor_that_could_not_be_opened_is_told_with_its_own_words(run):
    passes = Passes(run, traces=())
    for block in range(1, 6):
        passes.one("paced", 0, block, unopened={"ina3221": "permission: in1_input: add the user to group hwmon"})
    made = analysed(run, passes)
    assert (row(made, 0).energy_status, made.jobs[0].energy.sensor) == ("permission", None)
    assert "add the user to group hwmon" in row(made, 0).reasons["energy_j"]
    assert made.jobs[0].energy.others["ina3221"].startswith("permission: ")


def test_a_case_that_cannot_keep_the_pace_is_too_slow(run):
    passes = Passes(run).blocks(without={("paced", 1)})
    told = "TooSlowError: 150 inferences per second were asked for, one takes 9.1 ms [window.py:63 > window.py:154]"
    passes.fail("paced", 1, 1, cause="too-slow", detail=told, final=True)
    made = analysed(run, passes)
    asked = "150 inferences per second were asked for, one takes 9.1 ms"
    assert row(made, 1).reasons["energy_j"] == f"{asked}: say a lower --rate"
    assert row(made, 1).energy_status == "too-slow" and made.jobs[0].energy.passes["failed"] == 1
    assert row(made, 2).energy_j.scenario == "paced"


def test_windows_that_were_held_up_have_one_reason_whatever_their_numbers(run):
    passes = Passes(run).blocks(without={("paced", 1), ("paced", 2)})
    for block, rung in ((1, 1), (2, 1), (1, 2)):
        told = f"HeldUpError: its last inferences ended too late, of {block}{rung}: [window.py:63]"
        passes.fail("paced", rung, block, cause="held-up", detail=told)
    made = analysed(run, passes)
    assert {row(made, rung).energy_status for rung in (1, 2)} == {"held-up"}
    assert row(made, 1).reasons["energy_j"] == row(made, 2).reasons["energy_j"]
    assert "ended too late" in row(made, 1).reasons["energy_j"] and ":" not in row(made, 1).reasons["energy_j"]


def test_a_meter_is_not_blamed_where_no_pass_counts(run):
    passes = Passes(run)
    for block in range(1, 6):
        passes.one("paced", 0, block, contended=True)
    assert analysed(run, passes).jobs[0].energy.others == {}


def test_a_job_that_ended_before_its_passes_says_so(run):
    made = analysed(run, Passes(run))
    assert {s.energy_status for s in made.cases} == {"unknown"}
    assert "the job ended before" in row(made, 0).reasons["energy_j"]
    assert made.jobs[0].energy.passes["ok"] == 0 and made.jobs[0].energy.others == {}


def test_a_failed_case_has_no_energy_and_nothing_is_compared_with_it(run):
    passes = Passes(run).blocks(without={("paced", 0), ("closed", 0)})
    where = {"case_id": case(run, 0), "block": 1, "replicate": 0, "attempt": 1}
    passes.note(wire.FailedEvent, **where, cause="crash", detail="exit status 1", final=True)
    made = analysed(run, passes)
    assert row(made, 0).reasons["energy_j"] == "the case failed: crash: exit status 1"
    assert row(made, 1).energy_j.saving is None and "the reference, rung 0" in row(made, 1).reasons["energy_j.saving"]


# --- why none was measured -----------------------------------------------------------------------------------------


def unasked(run, **changes):
    made = analysed(replace(run, **changes), Passes(run), job_of(run, None))
    assert made.jobs[0].energy is None and {s.energy_j for s in made.cases} == {None}
    return row(made, 0).energy_status, row(made, 0).reasons["energy_j"]


def test_a_device_without_a_sensor_says_what_would_enable_it(run):
    assert unasked(run) == ("no-sensor", "attach a meter and name it in the inventory, or energy is null")


def test_a_sensor_that_cannot_be_read_gives_its_status_and_the_one_that_can_be_mended_comes_first(run):
    sensors = {"nvml": ("unsupported", "no GPU"), "rapl": ("permission", "energy_uj: sudo chmod o+r it")}
    assert unasked(run, sensors=sensors) == ("permission", "rapl: energy_uj: sudo chmod o+r it")


def test_energy_that_was_not_asked_for_is_not_missing(run):
    plan = replace(run.plan, energy=EnergyRequest("none"))
    assert unasked(run, plan=plan, sensors={"rapl": ("ok", "")}) == ("not-asked", "not asked for (--energy none)")
    assert unasked(run, analysis_version=8)[0] == "not-asked"
    assert unasked(run, sensors={"rapl": ("ok", "")})[0] == "unknown"


# --- virtual devices -----------------------------------------------------------------------------------------------


def test_a_virtual_device_shows_its_passes_and_no_energy(run):
    made = analysed(replace(run, virtual=True), Passes(run).blocks())
    assert {s.energy_j for s in made.cases} == {None} and {s.energy_status for s in made.cases} == {"virtual"}
    assert row(made, 0).reasons["energy_j"].startswith("a virtual device") and row(made, 0).reasons.keys().isdisjoint(
        {"energy_j.saving.low"}
    )
    record = made.jobs[0].energy
    assert record.passes["ok"] == 35 and record.sensor == "ina3221"
    assert record.idle_w is record.idle_drift is record.sampler is record.rate_hz is None


def test_a_virtual_device_that_cannot_keep_the_pace_does_not_tell_its_times(run):
    passes = Passes(run).blocks(without={("paced", 2)})
    for block in (1, 2):
        passes.fail("paced", 2, block, cause="too-slow", final=True)
    made = analysed(replace(run, virtual=True), passes)
    assert row(made, 2).energy_status == "virtual" and row(made, 2).reasons["energy_j"].startswith("a virtual device")


def test_journals_of_other_tests_come_to_the_power_that_they_were_made_with():
    run = example.run()
    events = example.journals(run, blocks=2)[RUNTIME]
    entries = run.entries[:4]
    job = job_of(replace(run, entries=entries), replace(PLAN, windows=2, window_s=4.0))
    made = analysis.analyse(replace(run, entries=entries), {RUNTIME: job}, {RUNTIME: events}, {RUNTIME: None})
    for summary in run.cases[:4]:
        found = next(s for s in made.cases if s.case_id == summary.case_id)
        assert found.energy_j.gross.value == pytest.approx(example.gross(summary, "paced"), rel=0.02)
        assert math.isfinite(found.energy_j.net.value)

"""Energy passes as they are made: the real agent with its sampler and windows, on small real jobs with a synthetic meter."""

from __future__ import annotations

import itertools
import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trees
from agent_jobs import CONTENT, Bench, all_gone, counts, expected, processes, quick, workers_of

from devices.agent import passes as passing
from devices.agent import schedule
from harness import wire

WAVE = {"shape": "sine", "mean_w": 10.0, "amplitude_w": 5.0, "frequency_hz": 3.0, "period_s": 0.002}
PLAN = wire.EnergyPlan(
    (wire.Meter("waves", WAVE), wire.Meter("meter")), windows=2, window_s=0.4, lead_s=0.05, rate_hz=100.0
)
SHORT = replace(PLAN, meters=PLAN.meters[:1], windows=1, window_s=0.2)
SENSORS = ("waves", "vanishing", "meter")
OLDEST = sorted(Path.home().glob(".pyenv/versions/3.8.*/bin/python"))  # it also has no NumPy to make ceilings with


def a_bench(folder: Path) -> Bench:
    return Bench(folder, "faulty", *map(str, OLDEST[:1]), sensors=SENSORS)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    return a_bench(tmp_path)


Done = tuple[wire.Job, list[wire.Event]]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """A job of two cases, from its beginning to its reply."""
    folder = tmp_path_factory.mktemp("energy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("HARNESS_CONTENT", str(CONTENT))
        bench = a_bench(folder)
        job = bench.job(["fine", "fine too"], energy=PLAN)
        yield job, run(bench, job)


def run(bench: Bench, job: wire.Job) -> list[wire.Event]:
    ended = bench.run(job)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert bench.device.reply(job) is not None
    return bench.journal(job)


def passes(events: Sequence[wire.Event]) -> list[wire.PassEvent]:
    return [event for event in events if isinstance(event, wire.PassEvent)]


def failures(events: Sequence[wire.Event]) -> list[wire.PassFailedEvent]:
    return [event for event in events if isinstance(event, wire.PassFailedEvent)]


def slots(job: wire.Job, windows: int) -> set[tuple[str, str, int]]:
    named = {("idle", "")} | {(scenario, case.case_id) for case in job.cases for scenario in wire.SCENARIOS}
    return {(scenario, case_id, block) for scenario, case_id in named for block in range(1, windows + 1)}


def made(events: Sequence[wire.Event]) -> Counter[tuple[str, str, int]]:
    return Counter((event.scenario, event.case_id, event.block) for event in passes(events))


# --- a whole job ---------------------------------------------------------------------------------------------------


def test_every_block_has_an_idle_pass_and_one_of_each_case_and_scenario_in_an_order_of_chance(done: Done) -> None:
    job, events = done
    assert made(events) == Counter(slots(job, 2)) and not failures(events)
    ours = [(event.scenario, event.case_id, event.block) for event in passes(events)]
    assert job.energy is not None
    live = [case.case_id for case in job.cases]
    assert ours == [slot for block in (1, 2) for slot in passing.order(job, job.energy, live, block)]
    other = replace(job, seed=1)
    assert passing.order(job, job.energy, live, 1) != passing.order(other, job.energy, live, 1)


def test_passes_come_after_the_last_latency_and_cost_no_budget(done: Done) -> None:
    job, events = done
    assert counts(events).keys() == expected(job, 2)
    first = events.index(passes(events)[0])
    assert max(map(events.index, processes(events))) < first
    spent = [schedule.History(part).spent_ns for part in (events[: first - 3], events[:-1])]
    assert spent[1] - spent[0] < 0.1e9 < events[-1].t_ns - events[first].t_ns


def test_a_window_is_as_long_as_asked_for_and_holds_whole_inferences(done: Done) -> None:
    for event in passes(done[1]):
        length_s = (event.end_ns - event.start_ns) / 1e9
        if event.scenario == "closed":  # up to the end of its last inference, which a busy machine draws out
            assert event.rate_hz is None and 0.4 <= length_s < 0.45
            assert length_s / event.inferences > 0.0005  # what one takes at least
        else:
            assert length_s == 0.4
        if event.scenario == "paced":
            assert (event.inferences, event.rate_hz) == (40, 100.0) and event.late <= 40


def test_the_integral_of_a_trace_is_that_of_the_wave_and_the_trace_reaches_beyond_the_window(done: Done) -> None:
    for event in passes(done[1]):
        (trace,) = event.traces
        assert trace.t_ns[0] < event.start_ns - 0.05e9 < event.end_ns + 0.05e9 <= trace.t_ns[-1]
        assert not trace.gaps and trace.channel.name == "total"
        true, off = integral(event), remainder(trace, event.start_ns, event.end_ns)
        assert trapezoid(trace, event.start_ns, event.end_ns) == pytest.approx(true, abs=0.005 * true + off)


def integral(event: wire.PassEvent) -> float:
    """The wave's true energy over the window, J."""
    angular = 2 * math.pi * WAVE["frequency_hz"]  # type: ignore[operator]
    start, end = event.start_ns / 1e9, event.end_ns / 1e9
    return 10.0 * (end - start) - 5.0 / angular * (math.cos(angular * end) - math.cos(angular * start))


def trapezoid(trace: wire.Trace, start_ns: int, end_ns: int) -> float:
    points = list(zip(trace.t_ns, trace.values, strict=True))
    cut = [(t, value_at(points, t)) for t in (start_ns, end_ns)]
    inside = [cut[0], *(point for point in points if start_ns < point[0] < end_ns), cut[1]]
    return sum((b - a) / 1e9 * (v + w) / 2 for (a, v), (b, w) in itertools.pairwise(inside))


def remainder(trace: wire.Trace, start_ns: int, end_ns: int) -> float:
    """What the trapezoid rule may be off by, J: max |p"| h^3 / 12 a step; a busy machine reads at uneven times."""
    bent = 5.0 * (2 * math.pi * WAVE["frequency_hz"]) ** 2  # type: ignore[operator]
    steps = [(b - a) / 1e9 for a, b in itertools.pairwise(trace.t_ns) if b > start_ns and a < end_ns]
    return sum(bent * step**3 / 12 for step in steps)


def value_at(points: list[tuple[int, float]], t_ns: int) -> float:
    (a, v), (b, w) = next((p, q) for p, q in itertools.pairwise(points) if p[0] <= t_ns <= q[0])
    return v + (w - v) * (t_ns - a) / (b - a)


def test_a_pass_tells_the_sampler_s_effect_its_place_and_who_could_not_be_opened(done: Done) -> None:
    for event in passes(done[1]):
        stretches = (event.unsampled_ns, event.sampled_ns)
        assert all(ns is None if event.scenario == "idle" else ns > 500_000 for ns in stretches)  # type: ignore[operator]
        shared = len(os.sched_getaffinity(0)) == 1 and event.scenario != "idle"
        assert event.sampler_cpus == ("" if shared else str(max(os.sched_getaffinity(0))))
        assert event.unopened == {"meter": "unsupported: no meter is attached"}
        assert event.usage is not None and not event.contended


def test_the_state_is_watched_beside_every_pass(done: Done) -> None:
    states = [event for event in done[1] if isinstance(event, wire.StateEvent) and event.scenario]
    seen = Counter((e.scenario, e.case_id, e.block, e.attempt, e.when) for e in states)
    for event in passes(done[1]):
        where = (event.scenario, event.case_id, event.block, 1)
        assert (seen[*where, "before"], seen[*where, "after"]) == (1, 1)


def test_the_phase_of_a_window_is_of_chance_and_the_same_each_time(done: Done) -> None:
    phases = {passing.chance(done[0], *slot).random() for slot in slots(done[0], 2)}
    assert len(phases) == 10 and phases == {passing.chance(done[0], *slot).random() for slot in slots(done[0], 2)}


# --- other jobs ----------------------------------------------------------------------------------------------------


def test_a_job_that_asks_for_no_energy_makes_no_pass(bench: Bench) -> None:
    assert not made(run(bench, bench.job(["fine"])))


@pytest.mark.slow
def test_a_device_cools_down_before_each_block_of_passes_too(bench: Bench) -> None:
    plan = replace(SHORT, windows=3, scenarios=("closed",))
    events = run(bench, bench.job(["fine"], quick(cooldown_s=0.2), energy=plan))
    waits = [(event.block, event.energy) for event in events if isinstance(event, wire.WaitEvent)]
    assert waits == [(1, False), (2, False), (1, True), (2, True), (3, True)]


@pytest.mark.slow
def test_where_only_the_controller_has_a_meter_windows_go_without_a_sampler(bench: Bench) -> None:
    job = bench.job(["fine"], energy=replace(SHORT, meters=(), remote=("shelly",)))
    found = passes(run(bench, job))
    assert {(e.scenario, e.traces, e.unsampled_ns, e.sampler_cpus) for e in found} == {
        (scenario, (), None, "") for scenario in ("idle", *wire.SCENARIOS)
    }
    assert not (bench.device.workdir / "jobs" / "job" / "sampler.log").exists()


@pytest.mark.slow
def test_the_pace_is_half_of_what_the_slowest_case_does(bench: Bench) -> None:
    job = bench.job(["fine", "slow"], energy=replace(SHORT, rate_hz=None))
    events = run(bench, job)
    (rate,) = {event.rate_hz for event in passes(events) if event.scenario == "paced"}
    history = schedule.History(events)
    medians = sorted(value for slot, value in history.log_median.items() if slot.case_id == job.cases[1].case_id)
    middle = medians[len(medians) // 2] if len(medians) % 2 else sum(medians[len(medians) // 2 - 1 :][:2]) / 2
    assert rate == pytest.approx(0.5e9 / math.exp(middle)) and rate < 0.5 / 0.005
    assert history.passes.rate_hz == rate  # a job that goes on keeps it


def test_a_paced_pace_has_an_upper_end() -> None:
    fast = {"a": [math.log(100.0)]}  # ns
    assert passing.rate_hz(SHORT, passing.Passes("burst"), fast) == 100.0
    assert passing.rate_hz(replace(SHORT, rate_hz=None), passing.Passes("burst"), fast) == passing.MOST_HZ


# --- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("how", "status"), [("gaps", "error"), ("raise", "error"), ("hang", "stale")])
def test_a_sensor_that_goes_away_in_a_window_leaves_gaps_and_no_numbers(bench: Bench, how: str, status: str) -> None:
    meters = (wire.Meter("vanishing", {"after_s": 0.15, "how": how}), wire.Meter("waves", WAVE))
    job = bench.job(["fine"], energy=replace(SHORT, meters=meters, window_s=0.3, scenarios=("closed",)))
    found = passes(run(bench, job))
    idle = next(event for event in found if event.scenario == "idle")
    gone, wave = idle.traces
    assert len(found) == 2 and gone.values and set(gone.values) == {10.0} and gone.t_ns[-1] < idle.end_ns
    assert {gap.status for gap in gone.gaps} == {status} and wave.t_ns[-1] > idle.end_ns and not wave.gaps
    assert how == "hang" or {gap.reason for gap in gone.gaps} == {"it was pulled out"}


@pytest.mark.slow
def test_a_sensor_that_kills_the_sampler_costs_the_passes_and_never_the_latencies(bench: Bench) -> None:
    meters = (wire.Meter("vanishing", {"after_s": 0.05, "how": "die"}),)
    job = bench.job(["fine"], energy=replace(SHORT, meters=meters, windows=3, scenarios=("closed",)))
    events = run(bench, job)
    assert not passes(events) and counts(events).keys() == expected(job, 2)
    told = [(event.cause, event.final) for event in failures(events)]
    assert sorted(told) == [("signal", False), ("signal", False), ("signal", True), ("signal", True)]
    assert all(event.detail.startswith("the sampler: SIGKILL") for event in failures(events))


def test_a_sampler_that_fails_four_times_in_a_row_ends_all_passes() -> None:
    known = passing.Passes("burst")
    failed = wire.PassFailedEvent(1, 1, 1, "pass-failed", "closed", "a" * 16, 1, 1, "signal", "the sampler: x", False)
    done = wire.PassEvent(1, 1, 1, "pass", "idle", "", 1, 1, 1, 2, 0, 9, 1, 1, False, ())
    other = passing.PassSlot("paced", "b" * 16, 1)
    for event in (failed, failed, failed, replace(failed, detail="SIGSEGV"), done, failed, failed, failed):
        known.add(event)
        assert not passing.settled(PLAN, known, other)
    known.add(failed)
    assert passing.settled(PLAN, known, other)


@pytest.mark.slow
def test_a_case_that_crashes_in_its_passes_fails_there_and_the_others_go_on(bench: Bench) -> None:
    job = bench.job(["wear-out", "fine"], energy=SHORT)
    events = run(bench, job)
    crashed, other = (case.case_id for case in job.cases)
    assert made(events) == Counter(slot for slot in slots(job, 1) if slot[1] != crashed) and other
    found = Counter((e.case_id, e.scenario, e.attempt, e.cause, e.final) for e in failures(events))
    assert found == Counter(
        (crashed, scenario, attempt, "signal", attempt == 2) for scenario in wire.SCENARIOS for attempt in (1, 2)
    )
    reply = bench.device.reply(job)
    assert reply is not None and not reply.failed  # the latencies stand


@pytest.mark.slow
def test_a_case_that_cannot_keep_up_is_too_slow_at_once_and_says_how_slow(bench: Bench) -> None:
    job = bench.job(["fine"], energy=replace(SHORT, rate_hz=5000.0, windows=2))
    events = run(bench, job)
    (failed,) = failures(events)
    assert (failed.scenario, failed.cause, failed.final) == ("paced", "too-slow", True)
    assert "5000 inferences per second were asked for, one takes 0." in failed.detail
    assert {scenario for scenario, _, _ in made(events)} == {"idle", "closed"} and made(events).total() == 4


@pytest.mark.slow
def test_a_throttled_pass_is_made_again_up_to_the_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    root = bench.folder / "root"
    trees.write(root, {**trees.PI, trees.PI_BITS: "50005\n"})
    monkeypatch.setenv("EDGE_HARNESS_SYSROOT", str(root))
    job = bench.job(["fine"], quick(attempts=1), energy=replace(SHORT, scenarios=("closed",)))
    found = passes(run(bench, job))
    assert Counter((event.scenario, event.attempt) for event in found) == Counter(
        (scenario, attempt) for scenario in ("idle", "closed") for attempt in (1, 2)
    )
    assert all(any("throttled (0x50005)" in word for word in event.throttled) for event in found)


def test_a_contended_pass_is_made_again_and_foreign_load_alone_is_no_reason() -> None:
    event = wire.PassEvent(1, 1, 1, "pass", "idle", "", 1, 1, 1, 2, 0, 9, 1, 1, True, ())
    slot, busy = passing.PassSlot("idle", "", 1), wire.Usage(1, 0, 0, 0, 0, foreign_cpu=1.5, steal=0.0)
    known = passing.Passes("burst")
    known.add(event)
    assert not passing.settled(PLAN, known, slot)
    known.add(replace(event, attempt=2))
    assert passing.settled(PLAN, known, slot)  # the last attempt counts
    quiet = passing.Passes("burst")
    quiet.add(replace(event, contended=False, usage=busy))
    assert passing.settled(PLAN, quiet, slot)


# --- killed --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_agent_leaves_no_sampler_and_the_job_goes_on_where_it_was(bench: Bench) -> None:
    job = bench.job(["slow"], energy=replace(SHORT, window_s=0.5, rate_hz=None))
    with bench.begin(job) as agent:
        until_passes(bench, job, 1)
        until_sampled(bench)
        agent.send_signal(signal.SIGKILL)
        agent.communicate()
    assert all_gone(bench)
    before = bench.device.follow(job, 0)
    events = run(bench, job)
    assert bench.device.follow(job, 0).startswith(before) and made(events) == Counter(slots(job, 1))
    assert len({event.rate_hz for event in passes(events)} - {None}) == 1


def until_passes(bench: Bench, job: wire.Job, count: int) -> None:
    end = time.monotonic() + 60
    while len(passes(bench.journal(job))) < count:
        assert time.monotonic() < end, bench.device.log_tail(job)
        time.sleep(0.02)


def until_sampled(bench: Bench) -> None:
    end = time.monotonic() + 60
    while len(workers_of(bench)) < 3:  # the agent, a window, a sampler
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_signal_ends_both_processes_of_a_pass(bench: Bench) -> None:
    job = bench.job(["fine"], energy=replace(SHORT, window_s=60.0))
    with bench.begin(job) as agent:
        until_sampled(bench)
        agent.send_signal(signal.SIGTERM)
        agent.communicate(timeout=10)
    assert agent.returncode == 143 and all_gone(bench) and bench.device.reply(job) is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killing_the_agent_at_many_moments_of_its_passes_loses_nothing_and_repeats_nothing(
    bench: Bench, seed: int
) -> None:
    at_a_rate = replace(PLAN, rate_hz=20.0)  # one that is kept on a busy machine, too
    job = bench.job(["fine", "fine too"], energy=at_a_rate)
    moments, known = random.Random(seed), b""
    for _ in range(8):
        with bench.begin(job) as agent:
            time.sleep(moments.uniform(0, 4))
            agent.kill()
            agent.communicate()
        assert all_gone(bench)
        data = bench.device.follow(job, 0)
        assert data.startswith(known)
        known = data
    events = run(bench, job)
    assert made(events) == Counter(slots(job, 2)) and not failures(events)
    assert set(counts(events).values()) == {1} and counts(events).keys() == expected(job, 2)

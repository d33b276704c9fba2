"""Under which conditions the agent measures: cool or soaked, watched each second, measured again when throttled.

The real agent on a device whose files below EDGE_HARNESS_SYSROOT the tests write, while it runs.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import trees
from agent_jobs import CONTENT, Bench, processes, quick
from trees import PI, write

from harness import wire

E = TypeVar("E", bound=wire.Event)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Raspberry Pi's files, which the agent takes for the machine's own."""
    root = write(tmp_path / "root", PI | {trees.PI_BITS: "0\n"})
    monkeypatch.setenv("EDGE_HARNESS_SYSROOT", str(root))
    return root


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A runtime whose inferences take half a millisecond, or go wrong."""
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    return Bench(tmp_path, runtime="faulty")


@contextmanager
def meanwhile(root: Path, file: str, value: Callable[[float], str]) -> Iterator[None]:
    """Keep a file at a value that depends on the time since now, in s."""
    done, began = threading.Event(), time.monotonic()

    def keep() -> None:
        while not done.wait(0.02):
            write(root, {file: value(time.monotonic() - began)})

    keeper = threading.Thread(target=keep)
    keeper.start()
    yield
    done.set()
    keeper.join()


def of(kind: type[E], events: list[wire.Event]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def run(bench: Bench, job: wire.Job) -> list[wire.Event]:
    done = bench.run(job)
    assert done.returncode == 0, done.stdout + done.stderr
    return bench.journal(job)


# --- watched -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_each_process_is_watched_before_during_once_a_second_and_after(device: Path, slow: Bench) -> None:
    bench, job = slow, slow.job(["fine"], quick(timed_s=2.4, max_samples=200_000), replicates=1)
    events = run(bench, job)
    states = [event for event in of(wire.StateEvent, events) if event.block == 1]
    assert [state.when for state in states] == ["before", "before", "during", "during", "after", "after"]
    assert [bool(state.case_id) for state in states] == [False, True, True, True, True, False]
    (process, *_) = processes(events)
    during = [state.t_ns for state in states if state.when == "during"]
    assert 0.9e9 < during[1] - during[0] < process.wall_ns - 0.9e9
    assert states[-2].seq + 1 == process.seq


def test_state_beside_a_process_is_small_and_says_the_effective_clock_after_it(device: Path, bench: Bench) -> None:
    events = run(bench, bench.job(["a"]))
    beside = [event for event in of(wire.StateEvent, events) if event.case_id]
    assert all(len(wire.encode(event)) < 2000 for event in beside)
    assert len(beside) == 2 * len(processes(events))
    for event in of(wire.StateEvent, events):
        clocks = [value for sensor, _, _, _, value, _ in event.readings if sensor == "effective_clock"]
        assert len(clocks) == (event.when == "after" or not event.case_id)
        assert all(value is None or 0 < value <= 1 for value in clocks)
    after = [event for event in beside if event.when == "after"]
    assert all(("effective_clock", "ok") in {(r[0], r[3]) for r in event.readings} for event in after)


def test_a_process_says_what_it_used_and_others_used_meanwhile(bench: Bench) -> None:
    events = run(bench, bench.job(["a"], quick(timed_s=0.1, max_samples=10_000)))
    for process in processes(events):
        assert process.usage is not None
        assert 0.02e9 < process.usage.cpu_ns < 4 * process.wall_ns
        assert process.usage.foreign_cpu is not None and 0 <= process.usage.foreign_cpu <= (os.cpu_count() or 1) + 0.5
        assert process.usage.steal is not None and process.usage.steal >= 0


def test_without_counters_what_others_used_is_unknown_and_not_zero(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("EDGE_HARNESS_SYSROOT", str(tmp_path / "nothing"))
    events = run(bench, bench.job(["a"], quick(cooldown_s=5.0)))
    usages = [process.usage for process in processes(events)]
    assert {(usage.foreign_cpu, usage.steal) for usage in usages if usage} == {(None, None)} and None not in usages
    waits = of(wire.WaitEvent, events)
    assert [(wait.passed, "no thermal zone" in wait.reason) for wait in waits] == [(True, True)] * 2
    assert all(wait.waited_ns < 1e9 for wait in waits)


def test_settings_are_brought_about_before_the_first_process_and_put_back_before_the_end(
    device: Path, bench: Bench
) -> None:
    governor = "sys/devices/system/cpu/cpufreq/policy0/scaling_governor"
    job = replace(bench.job(["a"]), tune=(wire.Setting("governor", "performance", "/" + governor),))
    bench.device.put_job(job)
    events = run(bench, job)
    assert [event.kind for event in events[:2]] == ["start", "tune"]
    assert [event.kind for event in events[-2:]] == ["tune", "end"]
    applied, restored = of(wire.TuneEvent, events)
    assert [(t.before, t.found) for t in applied.settings] == [("ondemand", "performance")]
    assert [(t.asked, t.found) for t in restored.settings] == [("ondemand", "ondemand")]
    (start,) = of(wire.StartEvent, events)
    assert start.facts["governors"] == ["performance"] and (device / governor).read_text().strip() == "ondemand"


# --- throttled -----------------------------------------------------------------------------------------------------


def test_a_throttled_process_is_measured_again_up_to_the_limit(device: Path, bench: Bench) -> None:
    write(device, {trees.PI_BITS: "50005\n"})
    events = run(bench, bench.job(["a"], quick(attempts=2), replicates=1))
    found = processes(events)
    assert [(process.block, process.attempt) for process in found] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert all("the firmware says: throttled (0x50005)" in process.throttled for process in found)
    assert not any(process.contended for process in found) and of(wire.EndEvent, events)


@pytest.mark.slow
def test_a_process_that_is_throttled_once_is_measured_once_more_after_a_cool_down(device: Path, bench: Bench) -> None:
    protocol = quick(cooldown_s=2.0)
    job = bench.job(["a"], protocol, replicates=1)
    write(device, {trees.PI_BITS: "4\n"})
    with bench.begin(job) as agent:
        bench.until(job, 4)  # start, wait, the block's state, the process's state: it is under way
        write(device, {trees.PI_BITS: "40000\n"})
        said, words = agent.communicate(timeout=60)
    assert agent.returncode == 0, said + words
    events = bench.journal(job)
    first, second, *_ = processes(events)
    assert [(p.block, p.attempt, bool(p.throttled)) for p in (first, second)] == [(1, 1, True), (1, 2, False)]
    between = [event for event in events if first.seq < event.seq < second.seq and isinstance(event, wire.WaitEvent)]
    assert [wait.block for wait in between] == [1]


def test_in_a_sustained_job_throttling_is_kept_as_evidence_and_measured_once(device: Path, bench: Bench) -> None:
    write(device, {trees.PI_BITS: "4\n"})
    events = run(bench, bench.job(["a"], quick(regime="sustained", soak_s=0.3), replicates=1))
    assert [(process.attempt, bool(process.throttled)) for process in processes(events)] == [(1, True)] * 2


# --- cool ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_block_waits_until_the_device_has_cooled_down_and_the_budget_does_not_pay(device: Path, bench: Bench) -> None:
    protocol = quick(cooldown_s=10.0, cooldown_drift=1e9, budget_s=2.0, looks=(2,))
    job = bench.job(["a"], protocol, replicates=1)
    with bench.begin(job) as agent:
        bench.until(job, 1)
        write(device, {trees.ZONE: "70000\n"})
        with meanwhile(device, trees.ZONE, lambda t: "70000\n" if t < 3 else "49000\n"):
            agent.communicate(timeout=60)
    events = bench.journal(job)
    waits = of(wire.WaitEvent, events)
    assert [wait.passed for wait in waits] == [True, True]
    assert max(wait.waited_ns for wait in waits) > 2e9 >= 1e9 * job.protocol.budget_s
    (end,) = of(wire.EndEvent, events)
    assert end.reason == "decided" and end.blocks == 2


def test_a_device_that_does_not_cool_down_is_measured_after_the_longest_wait_and_says_so(
    device: Path, bench: Bench
) -> None:
    job = bench.job(["a"], quick(cooldown_s=0.5), replicates=1)
    with meanwhile(device, trees.ZONE, lambda t: f"{48000 + int(10_000 * t)}\n"):
        events = run(bench, job)
    waits = of(wire.WaitEvent, events)
    assert [wait.passed for wait in waits] == [False, False]
    assert all(wait.waited_ns >= 0.5e9 and "degC/min" in wait.reason for wait in waits)
    assert len(processes(events)) == 2


def test_without_a_cool_down_nothing_is_waited_for(device: Path, bench: Bench) -> None:
    assert not of(wire.WaitEvent, run(bench, bench.job(["a"])))


@pytest.mark.parametrize("changes", [{"cooldown_s": 100.0}, {"regime": "sustained", "soak_s": 100.0}])
def test_a_signal_ends_a_wait_or_a_soak_at_once(device: Path, bench: Bench, changes: dict[str, object]) -> None:
    job = bench.job(["a"], quick(**changes))
    with (
        meanwhile(device, trees.ZONE, lambda t: f"{48000 + int(10_000 * t)}\n"),
        bench.begin(job) as agent,
    ):
        bench.until(job, 1)
        time.sleep(1.0)
        agent.send_signal(signal.SIGTERM)
        began = time.monotonic()
        agent.communicate(timeout=30)
    assert agent.returncode == 143 and time.monotonic() - began < 5
    assert {event.kind for event in bench.journal(job)} == {"start"}


# --- soaked --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sustained_job_loads_the_device_until_it_is_level_before_its_first_block(device: Path, bench: Bench) -> None:
    protocol = quick(regime="sustained", soak_s=3.0, cooldown_s=9.0, budget_s=2.0)
    events = run(bench, bench.job(["a", "b"], protocol))
    (soak,) = of(wire.SoakEvent, events)
    assert [event.kind for event in events[:3]] == ["start", "soak", "state"]
    assert soak.plateau and soak.hottest_degc == (48.312,) * len(soak.at_ns) and "+0.00 degC/min" in soak.reason
    assert 1e9 <= soak.at_ns[-1] - soak.at_ns[0] < 6e9 and min(soak.median_ns) > 0
    assert [end.reason for end in of(wire.EndEvent, events)] != ["budget"] and not of(wire.WaitEvent, events)


@pytest.mark.slow
def test_a_device_that_goes_on_warming_is_measured_after_the_longest_soak_and_says_so(
    device: Path, bench: Bench
) -> None:
    with meanwhile(device, trees.ZONE, lambda t: f"{48000 + int(5_000 * t)}\n"):
        events = run(bench, bench.job(["a"], quick(regime="sustained", soak_s=2.0)))
    (soak,) = of(wire.SoakEvent, events)
    assert not soak.plateau and soak.hottest_degc[-1] and soak.hottest_degc[-1] > 48 and "degC" in soak.reason
    assert processes(events)


@pytest.mark.slow
def test_without_a_thermometer_the_latency_says_when_the_device_is_level(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("EDGE_HARNESS_SYSROOT", str(tmp_path / "nothing"))
    (soak,) = of(wire.SoakEvent, run(bench, bench.job(["a"], quick(regime="sustained", soak_s=1.0))))
    assert set(soak.hottest_degc) == {None} and "no thermal zone" in soak.reason


def test_a_load_that_fails_ends_the_soak_and_is_told(device: Path, slow: Bench) -> None:
    events = run(slow, slow.job(["raise"], quick(regime="sustained", soak_s=50.0)))
    (soak,) = of(wire.SoakEvent, events)
    assert not soak.plateau and "the load failed: error: KeyError" in soak.reason and soak.at_ns == ()
    assert [end.reason for end in of(wire.EndEvent, events)] == ["failed"]


@pytest.mark.slow
def test_a_job_that_goes_on_is_soaked_again_unless_it_worked_just_before(device: Path, bench: Bench) -> None:
    write(device, {"proc/sys/kernel/random/boot_id": "one\n"})
    job = bench.job(["a"], quick(regime="sustained", soak_s=0.3), replicates=1)
    run(bench, job)
    path = bench.device.workdir / "jobs" / "job" / "events.jsonl"
    whole = path.read_bytes()
    soaks = []
    for boot in ("one", "two"):
        (path.parent / "reply.json").unlink()
        path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-4]))
        write(device, {"proc/sys/kernel/random/boot_id": boot + "\n"})
        soaks.append(len(of(wire.SoakEvent, run(bench, job))))
    assert soaks == [1, 2]

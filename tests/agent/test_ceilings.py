"""A device's ceilings are measured once, kept on it, and never zero where they could not be had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agent_jobs import Bench

from devices.agent import ceilings
from devices.agent.launch import Outcome
from harness import wire

ROOT = Path(__file__).resolve().parents[2]


def found(bench: Bench, job: wire.Job) -> wire.CeilingsEvent:
    done = bench.run(job)
    assert done.returncode == 0, done.stdout + done.stderr
    (event,) = [event for event in bench.journal(job) if isinstance(event, wire.CeilingsEvent)]
    return event


@pytest.mark.slow
def test_a_later_job_on_the_device_raises_what_the_first_has_measured_and_never_lowers_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    first, second = (found(bench, bench.job(artifacts=("a",), name=name)) for name in ("one", "two"))
    assert first.macs_per_s is not None and second.macs_per_s is not None
    assert first.bytes_per_s is not None and second.bytes_per_s is not None
    assert first.macs_per_s > 1e7 and first.bytes_per_s > 1e7
    assert first.made_with.startswith("numpy ")
    if not first.contended:  # the machine may really be busy
        assert second.macs_per_s >= first.macs_per_s and second.bytes_per_s >= first.bytes_per_s


@pytest.mark.slow
def test_ceilings_of_pinned_cases_are_made_on_their_cpus_and_say_so(tmp_path: Path) -> None:
    bench, cpu = Bench(tmp_path), str(min(os.sched_getaffinity(0)))
    job = bench.job(artifacts=("a", "b"))
    pinned = replace(job.cases[1], options={"cpus": cpu})
    job = replace(job, cases=(job.cases[0], pinned))
    bench.device.put_job(job)
    done = bench.run(job)
    assert done.returncode == 0, done.stdout + done.stderr
    journal = bench.journal(job)
    events = [event for event in journal if isinstance(event, wire.CeilingsEvent)]
    assert [(event.threads, event.cpus, event.reason) for event in events] == [(1, "", ""), (1, cpu, "")]
    assert isinstance(journal[0], wire.StartEvent)
    assert set(journal[0].spin_ns) == {"1", f"1 on {cpu}"}


def test_a_case_whose_cpus_are_not_there_fails_and_the_others_are_measured(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    job = bench.job(artifacts=("a", "b"))
    job = replace(job, cases=(job.cases[0], replace(job.cases[1], options={"cpus": "900"})))
    bench.device.put_job(job)
    assert bench.run(job).returncode == 0
    reply = bench.device.reply(job)
    assert reply is not None
    ((case, why),) = reply.failed.items()
    assert case == job.cases[1].case_id
    assert why.startswith("setting-ignored: NotPinnedError: cpus 900:")


def test_both_ceilings_are_made_in_the_threads_and_on_the_cpus_that_were_asked_for() -> None:
    cpu = str(min(os.sched_getaffinity(0)))
    told = _in_a_process({"threads": 1, "cpus": cpu})
    assert told["on"] == cpu
    assert told["settings"]["copied_bytes"] >= 2**20
    assert told["settings"]["product_cpu"] > 0 and told["settings"]["copy_cpu"] > 0
    assert told["macs_per_s"] == pytest.approx(told["settings"]["rows"] ** 3 * 1e9 / told["settings"]["product_ns"])


def test_by_cpu_time_alone_threads_that_wait_for_a_core_are_seen() -> None:
    cpu = str(min(os.sched_getaffinity(0)))
    pin = f"import os; os.sched_setaffinity(0, {{{cpu}}})\nwhile True: pass"
    neighbours = [subprocess.Popen([sys.executable, "-c", pin]) for _ in range(4)]
    try:
        told = _in_a_process({"threads": 1, "cpus": cpu})
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()
    assert ceilings._shared(told)


def _in_a_process(request: dict[str, object]) -> dict[str, Any]:
    words = "import json, sys; from devices.agent import ceilings, pinning; told = ceilings.measure(json.loads(sys.argv[1])); "
    words += "print(json.dumps({**told, 'on': pinning.in_force()}))"
    done = subprocess.run(
        [sys.executable, "-c", words, json.dumps(request)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return dict(json.loads(done.stdout))


SIZES = {
    "rows": 8,
    "product_ns": 5,
    "product_cpu": 1.0,
    "copied_bytes": 9,
    "copy_ns": 6,
    "copy_cpu": None,
    "cache_bytes": 3,
}
MEASURED = {"macs_per_s": 1e9, "bytes_per_s": 2e9, "made_with": "numpy 1", "settings": SIZES}
TWO = wire.Place(2)


def told_of(memory: ceilings.Memory, measured: dict[str, Any] | None, slow: bool = False) -> wire.CeilingsEvent:
    outcome = Outcome(measured, "" if measured else "timeout", "" if measured else "no result", 1)
    return wire.CeilingsEvent(1, 0, 0, "ceilings", **ceilings.look(memory, TWO, lambda: (outcome, slow)))


@pytest.mark.parametrize("by", ["a slow spin", "CPU time of the product", "CPU time of the copy"])
def test_what_was_measured_beside_a_neighbour_says_so_and_is_not_kept(by: str, tmp_path: Path) -> None:
    memory = ceilings.Memory(tmp_path / "ceilings.json", "a machine")
    waited = {"product_cpu": 0.5} if "product" in by else {"copy_cpu": 0.5} if "copy" in by else {}
    told = told_of(memory, {**MEASURED, "settings": {**SIZES, **waited}}, slow="spin" in by)
    assert (told.macs_per_s, told.threads, told.reason, told.contended) == (1e9, 2, "", True)
    assert ceilings.Memory(tmp_path / "ceilings.json", "a machine").get(TWO) is None


def test_what_was_quiet_is_kept_for_its_machine_threads_and_cpus(tmp_path: Path) -> None:
    assert not told_of(ceilings.Memory(tmp_path / "ceilings.json", "a machine"), MEASURED).contended
    kept = ceilings.Memory(tmp_path / "ceilings.json", "a machine")
    assert kept.get(TWO) == {**MEASURED, "reason": ""}
    assert kept.get(wire.Place(1)) is None
    assert kept.get(wire.Place(2, "0,1")) is None
    assert ceilings.Memory(tmp_path / "ceilings.json", "another machine").get(TWO) is None


def test_a_kept_ceiling_is_raised_by_a_higher_one_and_lowered_by_none_until_three_were_quiet(tmp_path: Path) -> None:
    memory = ceilings.Memory(tmp_path / "ceilings.json", "a machine")
    told_of(memory, MEASURED)
    second = told_of(memory, {**MEASURED, "macs_per_s": 3e9, "bytes_per_s": 1e9, "settings": {**SIZES, "rows": 16}})
    assert (second.macs_per_s, second.bytes_per_s, second.settings) == (3e9, 2e9, {**SIZES, "rows": 16})
    neighbour = told_of(memory, {**MEASURED, "macs_per_s": 1e6}, slow=True)
    assert (neighbour.macs_per_s, neighbour.contended) == (3e9, False)
    assert told_of(memory, None).macs_per_s == 3e9
    assert told_of(memory, MEASURED).macs_per_s == 3e9
    assert told_of(memory, {**MEASURED, "macs_per_s": 9e9}).macs_per_s == 3e9  # the fourth was not asked for


def test_a_ceiling_of_an_older_agent_which_may_have_been_busy_is_read_and_raised(tmp_path: Path) -> None:
    path = tmp_path / "ceilings.json"
    old = {"macs_per_s": 1e6, "bytes_per_s": 5e9, "made_with": "numpy 1", "settings": {}, "reason": ""}
    memory = ceilings.Memory(path, "m")
    path.write_text(json.dumps({f"m, numpy {memory.numpy}, 2 threads": old}))
    memory = ceilings.Memory(path, "m")
    assert memory.get(TWO) == old
    told = told_of(memory, MEASURED)
    assert (told.macs_per_s, told.bytes_per_s) == (1e9, 5e9)


def test_without_numpy_or_with_a_process_that_fails_there_is_a_reason(tmp_path: Path) -> None:
    memory = ceilings.Memory(tmp_path / "ceilings.json", None)
    told = told_of(memory, None)
    assert (told.macs_per_s, told.bytes_per_s, told.contended) == (None, None, False)
    assert "timeout" in told.reason
    memory.numpy = None
    assert "no numpy" in told_of(memory, MEASURED).reason


def test_each_cache_counts_once_however_many_cpus_share_it(tmp_path: Path) -> None:
    caches = [("1", "Data", "own", "32K"), ("1", "Instruction", "own", "32K"), ("2", "Unified", "own", "1024K")]
    for cpu in range(4):
        last = ("3", "Unified", "0-1" if cpu < 2 else "2-3", "16M")
        for n, (level, kind, shared, size) in enumerate([*caches, last]):
            folder = tmp_path / f"cpu{cpu}/cache/index{n}"
            folder.mkdir(parents=True)
            for name, text in (("level", level), ("type", kind), ("size", size)):
                (folder / name).write_text(text + "\n")
            (folder / "shared_cpu_list").write_text((str(cpu) if shared == "own" else shared) + "\n")
    caches_of_all = ceilings._cache_bytes(tmp_path)
    assert caches_of_all == 4 * (32 + 1024) * 2**10 + 2 * 16 * 2**20
    assert ceilings._array_bytes(caches_of_all, 64 * 2**30) == 2 * caches_of_all
    assert ceilings._cache_bytes(tmp_path / "cpu0") == 0  # a device that does not tell


def test_a_copy_that_would_fit_into_the_caches_is_refused_not_told() -> None:
    assert ceilings._array_bytes(2**30, 2**40) == 2**31
    with pytest.raises(MemoryError, match="beyond the caches"):
        ceilings._array_bytes(2**30, 2**31)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"a": 1}'])
def test_a_damaged_memory_counts_as_nothing_known(text: str, tmp_path: Path) -> None:
    path = tmp_path / "ceilings.json"
    path.write_text(text)
    memory = ceilings.Memory(path, "m")
    assert memory.get(wire.Place(1)) is None
    path.write_text(
        json.dumps({f"m, numpy {memory.numpy}, 1 threads": {**MEASURED, "macs_per_s": "fast", "reason": ""}})
    )
    assert ceilings.Memory(path, "m").get(wire.Place(1)) is None

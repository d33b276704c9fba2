"""The spin knows the device's best over jobs, waits for quiet, and believes in time that a device has become slower."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devices.agent import spin
from devices.agent.pinning import NotPinnedError, possible
from harness.wire import Place

TOLERANCE = 0.1
ONE = Place(1)


def memory(path: Path) -> spin.Memory:
    return spin.Memory(path / "spin.json", "a cpu", 0.02)


def learn(path: Path, best: int, rounds: int = 7, place: Place = ONE) -> spin.Memory:
    memory(path).learn(rounds, {place: best}, TOLERANCE)
    return memory(path)


def test_the_best_of_all_jobs_is_kept_by_place_with_its_rounds(tmp_path: Path) -> None:
    learn(tmp_path, 1000)
    learn(tmp_path, 1050)
    learn(tmp_path, 990)
    known = learn(tmp_path, 2000, place=Place(2))
    assert (known.rounds, known.best) == (7, {ONE: 990, Place(2): 2000})


def test_what_belongs_to_another_cpu_or_length_of_spin_is_unknown_and_kept(tmp_path: Path) -> None:
    learn(tmp_path, 1000)
    other = spin.Memory(tmp_path / "spin.json", "another cpu", 0.02)
    assert (other.rounds, other.best) == (None, {})
    other.learn(9, {ONE: 50}, TOLERANCE)
    assert memory(tmp_path).best == {ONE: 1000}


def test_a_best_for_other_rounds_of_work_is_forgotten(tmp_path: Path) -> None:
    learn(tmp_path, 1000)
    assert learn(tmp_path, 5000, rounds=70).best == {ONE: 5000}


def test_a_best_that_three_jobs_in_a_row_miss_is_replaced_by_the_third_s(tmp_path: Path) -> None:
    learn(tmp_path, 1000)
    assert [learn(tmp_path, best).best[ONE] for best in (1500, 1400, 1450)] == [1000, 1000, 1450]


def test_one_job_that_comes_near_the_best_confirms_it(tmp_path: Path) -> None:
    learn(tmp_path, 1000)
    assert [learn(tmp_path, best).best[ONE] for best in (1500, 1500, 1090, 1500, 1500)] == [1000] * 5


def test_settling_ends_at_once_when_it_is_quiet_and_in_bounded_time_when_a_best_is_out_of_reach() -> None:
    rounds = spin.calibrate(0.001)
    assert spin.Spinner(rounds, {}, TOLERANCE).settle(ONE)
    spinner = spin.Spinner(rounds, {ONE: 1}, TOLERANCE)
    began = spin.now_ns()
    assert not spinner.settle(ONE)
    assert spin.now_ns() - began < 2 * spin._SETTLE_NS
    assert spinner.best == {ONE: 1} and spinner.seen[ONE] > 1 and spinner.slow(spinner.seen[ONE], ONE)


def test_a_file_from_before_cpus_were_told_apart_is_read_and_a_pinned_best_stands_beside_it(tmp_path: Path) -> None:
    learn(tmp_path, 1000)
    text = (tmp_path / "spin.json").read_text()
    assert '"best_ns": {"1": 1000}' in text  # as it always was
    known = learn(tmp_path, 3000, place=Place(1, "0,1"))
    assert known.best == {ONE: 1000, Place(1, "0,1"): 3000}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_a_spin_sees_who_shares_the_cpus_that_it_is_kept_on() -> None:
    first = min(os.sched_getaffinity(0))
    usable, rounds = os.sched_getaffinity(0), spin.calibrate(0.02)
    pin = f"import os; os.sched_setaffinity(0, {{{first}}})\nprint(flush=True)\nwhile True: pass"
    neighbours = [subprocess.Popen([sys.executable, "-c", pin], stdout=subprocess.PIPE) for _ in range(4)]
    try:
        for neighbour in neighbours:
            assert neighbour.stdout is not None and neighbour.stdout.readline()
        shares = []
        for _ in range(5):
            used = time.thread_time_ns()
            elapsed = spin.spin(rounds, Place(1, str(first)))
            shares.append((time.thread_time_ns() - used) / elapsed)
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.communicate()
    assert max(shares) < 0.7  # one of five; anywhere else on a quiet machine it would be 1
    assert os.sched_getaffinity(0) == usable


def test_a_spin_on_cpus_that_are_not_there_is_refused() -> None:
    with pytest.raises(NotPinnedError, match="usable here are"):
        spin.spin(1, Place(1, "900"))
    assert not possible("900") and possible("")

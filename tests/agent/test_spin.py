"""The spin knows the device's best over jobs, waits for quiet, and believes in time that a device has become slower."""

from __future__ import annotations

from pathlib import Path

from devices.agent import spin

TOLERANCE = 0.1


def memory(path: Path) -> spin.Memory:
    return spin.Memory(path / "spin.json", "a cpu", 0.02)


def learn(path: Path, best: int, rounds: int = 7, threads: int = 1) -> spin.Memory:
    memory(path).learn(rounds, {threads: best}, TOLERANCE)
    return memory(path)


def test_the_best_of_all_jobs_is_kept_by_thread_count_with_its_rounds(tmp_path: Path) -> None:
    learn(tmp_path, 1000)
    learn(tmp_path, 1050)
    learn(tmp_path, 990)
    known = learn(tmp_path, 2000, threads=2)
    assert (known.rounds, known.best) == (7, {1: 990, 2: 2000})


def test_what_belongs_to_another_cpu_or_length_of_spin_is_unknown_and_kept(tmp_path: Path) -> None:
    learn(tmp_path, 1000)
    other = spin.Memory(tmp_path / "spin.json", "another cpu", 0.02)
    assert (other.rounds, other.best) == (None, {})
    other.learn(9, {1: 50}, TOLERANCE)
    assert memory(tmp_path).best == {1: 1000}


def test_a_best_for_other_rounds_of_work_is_forgotten(tmp_path: Path) -> None:
    learn(tmp_path, 1000)
    assert learn(tmp_path, 5000, rounds=70).best == {1: 5000}


def test_a_best_that_three_jobs_in_a_row_miss_is_replaced_by_the_third_s(tmp_path: Path) -> None:
    learn(tmp_path, 1000)
    assert [learn(tmp_path, best).best[1] for best in (1500, 1400, 1450)] == [1000, 1000, 1450]


def test_one_job_that_comes_near_the_best_confirms_it(tmp_path: Path) -> None:
    learn(tmp_path, 1000)
    assert [learn(tmp_path, best).best[1] for best in (1500, 1500, 1090, 1500, 1500)] == [1000] * 5


def test_settling_ends_at_once_when_it_is_quiet_and_in_bounded_time_when_a_best_is_out_of_reach() -> None:
    rounds = spin.calibrate(0.001)
    assert spin.Spinner(rounds, {}, TOLERANCE).settle(1)
    spinner = spin.Spinner(rounds, {1: 1}, TOLERANCE)
    began = spin.now_ns()
    assert not spinner.settle(1)
    assert spin.now_ns() - began < 2 * spin._SETTLE_NS
    assert spinner.best == {1: 1} and spinner.seen[1] > 1 and spinner.slow(spinner.seen[1], 1)

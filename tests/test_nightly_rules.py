"""Others' nightly rules, as the benchmark tries them: what each alarms at, worked by hand; and the histories they see."""

import numpy as np
import pytest

from benchmarks import nightly_rules as rules
from benchmarks import regressions
from benchmarks.histories import World, Year, drift, simulate, step

NOISE = np.random.default_rng(0).normal(0, 0.01, 120)


def year(values):
    logs = np.asarray(values, dtype=float)[None, :]
    return Year(World(), logs, logs, np.isfinite(logs), np.zeros(1, dtype=np.int64))


def alarms(rule, values):
    return rule(year(values), len(values) - 1)[0, -1]


def test_conbench_alarms_beyond_five_standard_deviations_of_the_nights_before():
    sd = np.std(np.exp(NOISE), ddof=1)
    assert alarms(rules.conbench, [*NOISE, np.log(1 + 4.5 * sd)]) == 0
    assert alarms(rules.conbench, [*NOISE, np.log(1 + 6 * sd)]) == 1
    assert alarms(rules.conbench, [*NOISE, np.log(1 - 6 * sd)]) == -1


def test_conbench_leaves_out_what_jumps_off_and_back():
    spiked = NOISE.copy()
    spiked[60] += 1.0
    mean, sd = rules._distribution(np.exp(spiked)[None, -100:])
    assert mean[0] == pytest.approx(np.delete(np.exp(spiked[-100:]), 40).mean())
    assert sd[0] == pytest.approx(0.01, rel=0.2)


def test_fai_pep_wants_two_nights_above_the_p90_of_p90s():
    assert alarms(rules.fai_pep, [*NOISE, 0.05]) == 0
    assert alarms(rules.fai_pep, [*NOISE, 0.15, 0.15]) == 1
    assert alarms(rules.fai_pep, [*NOISE, 0.05, 0.05]) == 0  # 5 %: what a p90 lies above its median
    assert alarms(rules.fai_pep, [*NOISE, -0.5, -0.5]) == 0


def test_ours_finds_a_step_once_and_is_quiet_afterwards():
    logs = step(90, 70, 0.05) + np.resize(NOISE, 90) / 2
    told = rules.ours(year(logs), 60)
    assert np.flatnonzero(told.alarms[0]).tolist() == [71] and told.alarms[0, 71] == 1
    assert told.judged == 29  # two nights are no level yet
    assert 2 <= told.suspected <= 4


def test_delays_are_counted_in_usable_nights():
    logs = step(20, 10, 0.05)
    logs[11] = np.nan
    said = np.zeros((1, 20), dtype=np.int8)
    said[0, 13] = 1
    assert regressions.delays(said, regressions.Lab(year(logs), {0: 10}), regressions.STEP) == [3]
    said[0, 13:15] = 0, 1
    assert regressions.delays(said, regressions.Lab(year(logs), {0: 10}), regressions.STEP) == [None]


def test_histories_have_the_noise_that_they_say():
    world = World(sd=0.01, spikes=0.0, contended=0.0)
    made = simulate(np.random.default_rng(1), world, np.zeros((400, 200)))
    known = np.where(np.isnan(made.first), np.nan, made.first)
    assert np.nanstd(known) == pytest.approx(0.01, rel=0.03)
    assert np.nanmean(known[:, 1:] * known[:, :-1]) / np.nanvar(known) == pytest.approx(0.25, abs=0.03)
    assert np.nanmean(made.first * made.again) / np.nanvar(known) == pytest.approx(0.5, abs=0.03)
    one, other = known[made.device == 0][:2]
    assert 0.05 < np.isnan(known).mean() < 0.09 and not (one == other).any()


def test_a_drift_reaches_its_size_after_so_many_nights_and_stays():
    levels = drift(12, at=3, size=0.03, over=7)
    assert levels[2] == 0.0 and levels[3] == pytest.approx(np.log(1.03) / 7)
    assert levels[9:].tolist() == pytest.approx([np.log(1.03)] * 3)

"""Warm-up, timing and the check of outputs, in one process."""

from __future__ import annotations

import array
import gc
import itertools
import math
import time
from collections.abc import Callable

import pytest
from agent_jobs import QUICK, quick, sample

from devices.agent import measure
from harness import wire


def busy(durations_s: itertools.cycle[float] | itertools.chain[float]) -> Callable[[], None]:
    """An inference that takes the durations one after the other."""

    def infer() -> None:
        end = time.perf_counter() + next(durations_s)
        while time.perf_counter() < end:
            pass

    return infer


def test_a_level_network_is_steady_after_three_windows() -> None:
    protocol = quick(warmup_window_s=0.002, warmup_cap_s=20.0, warmup_tolerance=0.2, max_samples=100_000)
    latencies, steady = measure.warm_up(busy(itertools.cycle([2e-4])), protocol)
    assert steady and len(latencies) >= 15


def test_a_network_that_becomes_slower_and_slower_is_never_steady() -> None:
    growing = itertools.chain(1e-4 * 1.05**n for n in range(200))
    _, steady = measure.warm_up(busy(growing), quick(warmup_window_s=0.001, warmup_cap_s=0.1))
    assert not steady


def test_a_slow_network_is_judged_on_fewer_inferences(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = itertools.count(0, 35_000_000)  # each look at the clock is 35 ms after the last: nobody shares this machine
    monkeypatch.setattr(measure, "clock", lambda: next(hand))
    latencies, steady = measure.warm_up(lambda: None, quick(warmup_cap_s=0.09, warmup_tolerance=0.5))
    assert steady and latencies == [35_000_000] * 3


@pytest.mark.slow
def test_timing_goes_on_for_its_time_and_its_least_number_of_samples() -> None:
    starts, latencies = measure.time_session(busy(itertools.cycle([1e-4])), quick(timed_s=0.02, max_samples=10_000))
    assert 10 <= len(latencies) <= 200 and starts[-1] + latencies[-1] - starts[0] >= 0.0199e9
    _, few = measure.time_session(busy(itertools.cycle([0.005])), quick(timed_s=0.001, min_samples=4))
    assert len(few) == 4
    _, many = measure.time_session(lambda: None, quick(timed_s=10.0, max_samples=30))
    assert len(many) == 30


def test_latencies_are_what_passed_and_start_times_go_on() -> None:
    starts, latencies = measure.time_session(busy(itertools.cycle([2e-3])), quick(min_samples=5))
    assert min(latencies) >= 2_000_000
    assert all(later - earlier >= took for earlier, later, took in zip(starts, starts[1:], latencies, strict=False))


def test_the_garbage_collector_rests_while_timing_and_works_again_afterwards() -> None:
    seen: list[bool] = []
    measure.time_session(lambda: seen.append(gc.isenabled()), QUICK)
    assert not any(seen) and gc.isenabled() and gc.get_freeze_count() == 0


def tensor(*values: float) -> wire.Tensor:
    return wire.Tensor.of((len(values),), array.array("f", values).tobytes())


@pytest.mark.parametrize(
    ("actual", "wanted"),
    [
        ((1.0, 2.0), 0.0),
        ((1.0, 2.5), 0.25),
        ((1.0, math.nan), math.inf),
        ((math.inf, 2.0), math.inf),
        ((1.0,), math.inf),
    ],
)
def test_the_error_is_relative_to_the_largest_output_and_infinite_for_what_is_no_number(
    actual: tuple[float, ...], wanted: float
) -> None:
    assert measure.relative_error([tensor(*actual)], [tensor(1.0, 2.0)]) == wanted


CASE = wire.JobCase(
    "0" * 16, "a", wire.FileRef("0" * 64, 0), wire.FileRef("0" * 64, 0), 1e-4, "fp32", 2, 4, {"spinning": "off", "workspace": "9"}
)  # fmt: skip
IN_FORCE = {"threads": 2, "precision": "fp32", "batch": 4, "spinning": "off", "workspace": 9, "provider": "cpu"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": 1}, "threads: asked for 2, in force is 1"),
        ({"precision": "mixed"}, "precision: asked for fp32, in force is mixed"),
        ({"batch": 1}, "batch: asked for 4, in force is 1"),
        ({"spinning": "on"}, "spinning: asked for off, in force is on"),
    ],
)
def test_a_setting_that_is_not_in_force_as_asked_for_is_refused_by_name(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(measure.SettingIgnoredError, match=message):
        measure.require_effective(CASE, {**IN_FORCE, **changes})


@pytest.mark.parametrize("key", ["threads", "precision", "spinning"])
def test_a_setting_that_a_runtime_does_not_read_back_is_refused(key: str) -> None:
    with pytest.raises(measure.SettingIgnoredError, match=key + ": asked for .*, in force is unknown"):
        measure.require_effective(CASE, {name: value for name, value in IN_FORCE.items() if name != key})


def test_settings_in_force_as_asked_for_pass_and_a_runtime_need_not_tell_its_batch() -> None:
    measure.require_effective(CASE, IN_FORCE)
    measure.require_effective(CASE, {name: value for name, value in IN_FORCE.items() if name != "batch"})


def test_a_sample_is_fed_in_sets_of_the_case_s_batch() -> None:
    sets = list(measure.input_sets(sample(batch=6), 2))
    assert [inputs[0].shape for inputs, _ in sets] == [(2, 3)] * 3
    assert b"".join(inputs[0].raw() for inputs, _ in sets) == sample(6).inputs[0].raw()
    assert b"".join(outputs[0].raw() for _, outputs in sets) == sample(6).outputs[0].raw()
    with pytest.raises(ValueError, match="6 rows cannot be fed in batches of 4"):
        list(measure.input_sets(sample(batch=6), 4))

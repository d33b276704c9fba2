"""What a step of load tells of a sensor, on traces whose answer is known."""

from __future__ import annotations

import math
import random

import pytest

from harness import wire
from harness.check.response import Response, point, response

RAIL = wire.Channel("ina3221", "VDD_IN", "module", "instant_power", True, update_s=0.01, resolution=0.04)
LOAD = (4_000_000_000, 8_000_000_000)


def traced(channel: wire.Channel = RAIL, rise_w: float = 3.0, tau_s: float = 0.3, every_s: float = 0.05) -> wire.Trace:
    """12 s: idle at 5 W with noise of 20 mW, a load from 4 s to 8 s behind a low pass of `tau_s`, idle again."""
    chance, times, values = random.Random(1), [], []
    for n in range(int(12 / every_s)):
        t = n * every_s
        level = 0.0 if t < 4 else 1 - math.exp(-(t - 4) / tau_s)
        level = level if t < 8 else (1 - math.exp(-4 / tau_s)) * math.exp(-(t - 8) / tau_s)
        times.append(int(t * 1e9))
        values.append(5 + rise_w * level + chance.gauss(0, 0.02))
    return wire.Trace(channel, tuple(times), tuple(values))


def answered(trace: wire.Trace) -> Response:
    found = response(trace, LOAD)
    assert isinstance(found, Response)
    return found


def test_a_low_pass_rises_by_the_step_and_lags_by_its_time_constant() -> None:
    found = answered(traced(tau_s=0.3))
    assert found.rise_w == pytest.approx(3, abs=0.05) and found.rose and found.returned
    assert found.lag_s == pytest.approx(0.3 * math.log(10), abs=0.06)
    assert found.update_s == pytest.approx(0.05)
    assert not found.slower, "it was not read more often"


def test_a_counter_is_judged_by_its_slope() -> None:
    counter = wire.Channel("rapl", "package", "package", "energy_counter", True)
    times = tuple(n * 100_000_000 for n in range(120))
    joules, values = 0.0, []
    for t in times:
        joules += 0.1 * (9.0 if LOAD[0] <= t < LOAD[1] else 4.0)
        values.append(joules)
    found = answered(wire.Trace(counter, times, tuple(values)))
    assert (found.idle_w, found.load_w, found.after_w) == pytest.approx((4, 9, 4))


def test_what_does_not_follow_the_load_is_told_with_a_question() -> None:
    told = point(traced(rise_w=0.0), LOAD)
    assert told.severity == "differs" and "right rail" in told.advice
    gpu = wire.Channel("nvml", "0", "gpu", "instant_power", True)
    assert "while it computes" in point(traced(gpu, rise_w=0.0), LOAD).advice


def test_a_device_that_does_not_return_to_idle_is_told() -> None:
    trace = traced(tau_s=20.0)
    assert not answered(trace).returned
    assert point(trace, LOAD).severity == "differs"


def test_a_sensor_that_is_seldom_anew_is_told_by_how_much() -> None:
    held = traced()
    stairs = wire.Trace(RAIL, held.t_ns, tuple(held.values[n - n % 20] for n in range(len(held.values))))
    assert answered(stairs).update_s == pytest.approx(1.0) and answered(stairs).slower
    told = point(stairs, LOAD)
    assert told.severity == "differs" and told.expected == "a new value every 0.01 s" and "--window" in told.advice


def test_a_healthy_sensor_is_ok() -> None:
    channel = wire.Channel("ina3221", "VDD_IN", "module", "instant_power", True, update_s=0.05, resolution=0.04)
    told = point(traced(channel), LOAD)
    assert told.severity == "ok" and "rises by 3.0" in told.found and "returns to idle" in told.found


@pytest.mark.parametrize("kept", [0, 3, 30], ids=["none", "three", "only idle"])
def test_too_few_readings_give_no_answer(kept: int) -> None:
    trace = traced()
    few = wire.Trace(RAIL, trace.t_ns[:kept], trace.values[:kept])
    told = point(few, LOAD)
    assert told.severity == "missing" and "too few readings" in told.found


def test_readings_that_failed_are_counted_and_never_a_number() -> None:
    trace = traced()
    gap = wire.Gap(1, "error", "ENODATA")
    told = point(wire.Trace(RAIL, trace.t_ns, trace.values, (gap,)), LOAD)
    assert told.severity == "missing" and "error in 1 of 241 readings: ENODATA" in told.found

"""Windows: whole inferences back to back, whole periods at a rate, or nothing; and the words with the sampler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from devices.agent import window

REQUEST = {"scenario": "idle", "window_s": 0.1, "lead_s": 0.0, "phase": 0.0, "least_phase_s": 0.0, "rate_hz": 50.0}


class Work:
    """Something to infer, which takes `seconds` asleep; `began`: when each was called, by the monotonic clock in ns."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.began: list[int] = []

    def __call__(self) -> None:
        self.began.append(time.monotonic_ns())
        time.sleep(self.seconds)


def test_a_closed_window_ends_with_the_last_whole_inference() -> None:
    work = Work(0.03)
    found = window._closed(work, 100_000_000)
    assert found["inferences"] == len(work.began) <= 4
    assert found["start_ns"] <= work.began[0] and work.began[-1] + 30_000_000 <= found["end_ns"]
    assert work.began[-1] < found["start_ns"] + 100_000_000 <= found["end_ns"]


def test_a_paced_window_is_whole_periods_and_begins_none_before_its_time() -> None:
    work = Work(0.001)
    found = window._paced(work, 0.2, 50.0)
    assert (found["inferences"], found["end_ns"] - found["start_ns"]) == (10, 200_000_000)
    early = [began - (found["start_ns"] + k * 20_000_000) for k, began in enumerate(work.began)]
    assert all(ns >= 0 for ns in early) and time.monotonic_ns() >= found["end_ns"]
    assert found["late"] <= sum(ns > 2_000_000 for ns in early)


def test_one_slow_inference_makes_the_next_late_and_the_window_no_longer() -> None:
    work = Work(0.0)
    stumbling = iter([0.0, 0.05, 0.0, 0.0, 0.0])

    def infer() -> None:
        work.seconds = next(stumbling)
        work()

    found = window._paced(infer, 0.125, 40.0)
    assert found["late"] >= 1 and found["end_ns"] - found["start_ns"] == 125_000_000


@pytest.mark.parametrize(("window_s", "rate_hz", "count"), [(20, 0.05, 3), (20, 0.3, 6), (0.3, 10, 3), (1.0, 4.7, 4)])
def test_a_paced_window_holds_whole_periods_and_three_at_least(window_s: float, rate_hz: float, count: int) -> None:
    assert window.periods(window_s, rate_hz) == count


def test_a_case_that_cannot_keep_up_is_told_as_soon_as_that_is_clear() -> None:
    work = Work(0.05)
    with pytest.raises(window.TooSlowError, match=r"1000 inferences per second were asked for, one takes 5\d") as told:
        window._paced(work, 0.1, 1000.0)
    assert told.value.cause == "too-slow" and len(work.began) <= 3


def test_a_case_that_is_held_up_once_at_the_end_is_not_called_too_slow() -> None:
    work = Work(0.0)
    stumbling = iter([0.0, 0.0, 0.0, 0.1])

    def infer() -> None:
        work.seconds = next(stumbling)
        work()

    with pytest.raises(
        window.HeldUpError, match="ended too late, of 4: 40 inferences per second were asked for"
    ) as told:
        window._paced(infer, 0.1, 40.0)
    assert told.value.cause == "held-up"


def test_an_idle_window_imports_no_runtime_and_takes_no_cpu_time() -> None:
    program = (
        "import json, sys, time\n"
        "from devices.agent import window\n"
        f"found = window.measure(json.loads({json.dumps(json.dumps({**REQUEST, 'go': -1, 'ack': -1}))}))\n"
        "runtimes = [name for name in sys.modules if name.startswith('devices.runtimes') or name == 'numpy']\n"
        "print(json.dumps([found, runtimes]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    found, runtimes = json.loads(done.stdout)
    assert runtimes == [] and found["end_ns"] - found["start_ns"] == 100_000_000
    assert (found["inferences"], found["unsampled_ns"], found["sampled_ns"]) == (0, None, None)


def test_a_stretch_is_a_third_of_a_second_and_ten_inferences_and_never_more_than_two_seconds() -> None:
    assert len(window._stretch(Work(0.02)) or ()) in range(10, 17)
    assert len(window._stretch(Work(0.04)) or ()) == 10
    assert len(window._stretch(Work(0.5)) or ()) in (3, 4)


# --- the sampler ---------------------------------------------------------------------------------------------------


def pipes() -> tuple[window.Sampler, int, int]:
    """A window's view of a sampler, and the sampler's ends of the pipes."""
    go, go_in = os.pipe()
    ack_out, ack = os.pipe()
    return window.Sampler(go_in, ack_out), go, ack


def test_a_window_waits_for_the_first_readings_and_hears_how_often_there_are_new_ones() -> None:
    sampler, go, ack = pipes()
    os.write(ack, b'{"opened": 1}\n')
    sampler.opened()
    os.write(ack, b'{"update_s": 0.25}\n')
    assert sampler.go() == 0.25 and os.read(go, 10) == b"g"
    sampler.stop()
    assert (os.read(go, 1), os.read(go, 1)) == (b"e", b"")
    for fd in (go, ack, sampler._ack):
        os.close(fd)


@pytest.mark.parametrize("silent", [False, True], ids=["it ended", "it is silent"])
def test_a_window_does_not_go_on_without_its_sampler(silent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "_ACK_S", 0.05)
    sampler, go, ack = pipes()
    if not silent:
        os.close(ack)
    said = "within 0.05 s" if silent else "and ended"
    with pytest.raises(window.SamplerError, match="the sampler did not open its sensors " + said):
        sampler.opened()
    os.close(go)
    with pytest.raises(window.SamplerError, match="the sampler has ended"):
        sampler.go()

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import example_run
import pytest

from harness import store
from harness.errors import UsageError
from harness.nights import gates, picked
from harness.records import Estimate, Run, RunVerdict, Speedup, Summary, Tail

RUN = example_run.run()


def case(run: Run = RUN, rung: int = 3) -> Summary:
    return next(each for each in run.cases if each.rung == rung)


def timed(median: float, low: float | None, high: float | None, **more: Any) -> Summary:
    estimate = Estimate(
        median * 1e6, low and low * 1e6, high and high * 1e6, None, None, None, median * 1e6, None, 900, 24, **more
    )
    return replace(case(), latency_ns=estimate)


def sped(ratio: float, low: float | None, high: float | None) -> Summary:
    return replace(case(), speedup=Speedup(ratio, low, high, None), blocks=10)


def test_a_latency_passes_only_with_its_whole_interval_below_the_limit() -> None:
    assert gates.latency(RUN, timed(4.9, 4.8, 4.99), 5.0, "median") is None
    for at_the_limit in (timed(4.9, 4.8, 5.0), timed(4.9, 4.8, 5.1)):
        said = gates.latency(RUN, at_the_limit, 5.0, "median")
        assert said is not None and ": unclear: " in said
    said = gates.latency(RUN, timed(5.3, 5.2, 5.4), 5.0, "median")
    assert said == (
        "local resnet18 easier rung 3 onnxruntime fp32 (run 20261120T101500Z-1a2b): "
        "median 5.300 ms [5.200, 5.400] is not below 5 ms"
    )


def test_unclear_says_how_much_longer_would_decide_it() -> None:
    said = gates.latency(RUN, timed(4.9, 4.7, 5.1), 5.0, "median")
    assert said is not None and "about 117 blocks or processes instead of 24 would decide it" in said
    assert said.endswith("measure longer, for instance with --budget 1170")
    said = gates.latency(RUN, timed(4.99, 4.7, 5.1), 5.0, "median")
    assert said is not None and "move the limit" in said


def test_a_speed_up_passes_only_with_its_whole_interval_at_or_above_the_limit() -> None:
    assert gates.speedup(RUN, sped(1.25, 1.2, 1.3), 1.2) is None
    assert "is less than 1.4" in (gates.speedup(RUN, sped(1.25, 1.2, 1.3), 1.4) or "")
    said = gates.speedup(RUN, sped(1.25, 1.19, 1.3), 1.2)
    assert said is not None and "unclear: speed-up 1.250 [1.190, 1.300] is not wholly at least 1.2" in said


def test_without_an_interval_nothing_passes() -> None:
    said = gates.latency(RUN, timed(1.0, None, None), 5.0, "median")
    assert said is not None and "24 processes and 900 samples are too few" in said
    assert "too few blocks" in (gates.speedup(RUN, sped(9.0, None, None), 1.2) or "")


def test_a_tail_is_judged_by_its_own_interval() -> None:
    tails = {"p99": Tail(6e6, 5.5e6, 6.4e6, None), "p95": Tail(None, None, None, None)}
    made = timed(4.0, 3.9, 4.1, tails=tails)
    assert gates.latency(RUN, made, 6.5, "p99") is None
    assert "p99 6.000 ms [5.500, 6.400] is not below 5 ms" in (gates.latency(RUN, made, 5.0, "p99") or "")
    assert all("too few" in (gates.latency(RUN, made, 99, of) or "") for of in ("p95", "p90"))


def test_what_failed_or_was_not_measured_or_is_emulated_never_passes() -> None:
    failed = example_run.failed(RUN, 3)
    assert "it failed: signal: SIGSEGV" in (gates.latency(failed, case(failed), 1e9, "median") or "")
    assert "it failed: signal: SIGSEGV" in (gates.speedup(failed, case(failed), 0.1) or "")
    emulated = replace(RUN, virtual=True)
    assert "the device is emulated" in (gates.latency(emulated, case(emulated), 1e9, "median") or "")


def test_a_disturbed_run_is_said_to_be_one_where_it_fails() -> None:
    disturbed = replace(RUN, verdict=RunVerdict("throttled", ("it reached 85 degrees",)))
    said = gates.speedup(disturbed, sped(1.0, 0.9, 1.1), 1.2) or ""
    assert said.endswith("; the run is throttled (it reached 85 degrees): measure it again before the code is blamed")
    assert gates.speedup(disturbed, sped(1.3, 1.25, 1.35), 1.2) is None


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
def test_a_limit_is_a_number_above_0(limit: float) -> None:
    with pytest.raises(UsageError, match="a number above 0"):
        gates.require_finite("below_ms", limit)


def test_a_run_is_picked_by_its_folder_its_id_and_the_start_of_it(tmp_path: Path) -> None:
    folder = store.create(tmp_path, RUN)
    for word in (folder, str(folder), RUN.run, RUN.run[:8]):
        rungs = [each.rung for _, each in picked.pick(word, tmp_path, {})]
        assert rungs == list(range(9))  # controls are not among them
    assert len(picked.pick(RUN.run, tmp_path, {"ladder": "controls"})) == 3
    assert len(picked.pick(RUN.run, tmp_path, {"rung": 3, "runtime": "onnxruntime"})) == 1


def test_an_expression_picks_of_each_device_the_newest_run_that_has_such_a_case(tmp_path: Path) -> None:
    for device, run in (("a", "20260101T000000Z-0000"), ("a", "20260201T000000Z-0000"), ("b", "20260101T000000Z-0000")):
        store.create(tmp_path, replace(RUN, device=device, run=run))
    found = picked.pick("model = 'resnet18' and rung in (2, 3)", tmp_path, {"rung": 3})
    assert [(run.device, run.run[:6], each.rung) for run, each in found] == [("a", "202602", 3), ("b", "202601", 3)]


def test_what_picks_nothing_is_refused_with_what_is_there(tmp_path: Path) -> None:
    store.create(tmp_path, RUN)
    with pytest.raises(UsageError, match="no case has rung=99") as caught:
        picked.pick(RUN.run, tmp_path, {"rung": 99})
    assert "easier rung 8 onnxruntime" in caught.value.hint
    with pytest.raises(UsageError, match="no case is picked"):
        picked.pick("rung = 99", tmp_path, {})
    with pytest.raises(UsageError, match='did you mean "runtime"'):
        picked.pick(RUN.run, tmp_path, {"runtme": "torch"})
    with pytest.raises(UsageError, match="column"):
        picked.pick("rong = 3", tmp_path, {})

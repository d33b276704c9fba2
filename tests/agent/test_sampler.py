"""The sampler's process as a window rules it, over two pipes; and what it keeps of what sensors give."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from agent_jobs import CONTENT, Bench

from devices.agent import launch, sampler
from harness import wire
from harness.decode import build
from harness.sensing import Taken

CHANNEL = wire.Channel("waves", "total", "module", "instant_power", True, 0.1)


class Ruled:
    """A sampler's process, and the window's ends of its pipes."""

    def __init__(self, bench: Bench, meters: Sequence[tuple[str, Mapping[str, Any]]], cpus: str = "") -> None:
        go, self.go = os.pipe()
        self.ack, ack = os.pipe()
        named = [{"sensor": sensor, "options": options} for sensor, options in meters]
        request = {
            "meters": named,
            "cpus": cpus,
            "expected_s": 1.0,
            "rate_hz": 0.0,
            "go": go,
            "ack": ack,
            "parent": os.getpid(),
        }
        command = bench.command("sampler-worker")
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=(go, ack))
        os.close(go)
        os.close(ack)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request).encode())
        self.process.stdin.close()
        self.process.stdin = None

    def said(self) -> dict[str, Any]:
        ready, _, _ = select.select([self.ack], [], [], 20)
        assert ready, "the sampler said nothing"
        answer: dict[str, Any] = json.loads(os.read(self.ack, 4096))
        return answer

    def end(self) -> dict[str, Any]:
        os.close(self.go)
        out, err = self.process.communicate(timeout=20)
        assert self.process.returncode == 0 and out, err.decode()
        result: dict[str, Any] = json.loads(out)["result"]
        return result


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("HARNESS_CONTENT", str(CONTENT))
    return Bench(tmp_path, sensors=("waves", "vanishing", "meter", "broken_meter"))


@pytest.fixture
def begun() -> Iterator[list[Ruled]]:
    """Samplers that a test began: none outlives it."""
    found: list[Ruled] = []
    yield found
    for each in found:
        each.process.kill()
        each.process.communicate()
        os.close(each.ack)


def begin(begun: list[Ruled], bench: Bench, *meters: tuple[str, Mapping[str, Any]], cpus: str = "") -> Ruled:
    begun.append(Ruled(bench, meters, cpus))
    return begun[-1]


def test_nothing_is_read_before_the_word_and_once_more_at_the_end(bench: Bench, begun: list[Ruled]) -> None:
    ruled = begin(begun, bench, ("waves", {"period_s": 0.2}))
    assert ruled.said() == {"opened": 1}
    before = time.monotonic_ns()
    os.write(ruled.go, b"g")
    assert ruled.said() == {"update_s": 0.2}
    ending = time.monotonic_ns()
    told = ruled.end()
    (trace,) = (build(wire.Trace, trace, "trace") for trace in told["traces"])
    assert before < trace.t_ns[0] < ending < trace.t_ns[-1] and set(trace.values) == {10.0}
    assert (told["unopened"], told["cpus"]) == ({}, "")


def test_a_window_that_dies_before_it_began_ends_the_sampler(bench: Bench, begun: list[Ruled]) -> None:
    ruled = begin(begun, bench, ("waves", {}))
    assert ruled.said() == {"opened": 1}
    assert [trace["t_ns"] for trace in ruled.end()["traces"]] == [[]]


def test_each_sensor_that_cannot_be_opened_says_why_and_the_others_are_read(bench: Bench, begun: list[Ruled]) -> None:
    shapes = ("waves", {"shape": "square"})
    ruled = begin(begun, bench, ("meter", {}), ("broken_meter", {}), ("unknown", {}), shapes, ("vanishing", {}))
    assert ruled.said() == {"opened": 0}
    assert ruled.end()["unopened"] == {
        "meter": "unsupported: no meter is attached",
        "broken_meter": "error: no such bus",
        "unknown": "error: No module named 'devices.sensors.unknown'",
        "waves": "error: shape must be constant or sine, not 'square'",
        "vanishing": "error: 'how'",
    }


def test_a_sensor_that_hangs_does_not_keep_the_sampler(bench: Bench, begun: list[Ruled]) -> None:
    ruled = begin(begun, bench, ("vanishing", {"after_s": 0.01, "how": "hang"}), ("waves", {}))
    ruled.said()
    os.write(ruled.go, b"g")
    ruled.said()
    time.sleep(0.05)
    hung, wave = ruled.end()["traces"]
    assert [gap["reason"] for gap in hung["gaps"]] == ["a read did not come back before the pass was over"]
    assert wave["t_ns"] and not wave["gaps"]


def test_it_keeps_to_the_cpus_that_it_is_given_and_says_where_it_could_not(bench: Bench, begun: list[Ruled]) -> None:
    last = str(max(os.sched_getaffinity(0)))
    for asked, got in ((last, last), ("4095", "")):
        ruled = begin(begun, bench, ("waves", {}), cpus=asked)
        ruled.said()
        assert ruled.end()["cpus"] == got


# --- what is kept --------------------------------------------------------------------------------------------------


def kept_of(*readings: Taken, most: int = 10) -> wire.Trace:
    kept = sampler._Kept(CHANNEL)
    for n, taken in enumerate(readings):
        kept.add(taken, 100 * (n + 1), most)
    return build(wire.Trace, kept.trace(), "trace")


def test_a_reading_has_the_sensor_s_own_time_or_the_middle_of_the_read() -> None:
    trace = kept_of(Taken(0, 1.5), Taken(0, 2, t_ns=150))
    assert (trace.t_ns, trace.values) == ((100, 150), (1.5, 2.0))


@pytest.mark.parametrize(
    ("taken", "reason"),
    [
        (Taken(0, math.nan), "it gave nan"),
        (Taken(0, math.inf), "it gave inf"),
        (Taken(0, 1e300), "it gave 1e+300"),
        (Taken(0, True), "it gave True"),
        (Taken(0, 1.0, t_ns=10**30), "it gave a time of another clock"),
        (Taken(0, None, "stale", "old", t_ns=-1), "it gave a time of another clock"),
        (Taken(0, 1.0, t_ns=50), "it gave a time before that of its last reading"),
        (Taken(0, None, "error", "bus"), "bus"),
        (Taken(0, None, "broken", ""), "no reason was given"),
        (Taken(0, 3.0, "stale", "old"), "old"),
    ],
    ids=[
        "nan",
        "infinite",
        "nobody has so much",
        "a word",
        "future",
        "before the boot",
        "backwards",
        "none",
        "unknown status",
        "a number that is stale",
    ],
)
def test_what_is_no_number_is_a_gap_and_never_one(taken: Taken, reason: str) -> None:
    trace = kept_of(Taken(0, 1.0), taken, Taken(0, 2.0))
    assert trace.values == (1.0, 2.0) and [gap.reason for gap in trace.gaps] == [reason]
    assert trace.gaps[0].status == ("stale" if reason == "old" else "error")


class Odd:
    """A session as somebody's file might give it."""

    channels = (CHANNEL, dataclasses.replace(CHANNEL, name="other"))

    def __init__(self, period_s: float = 0.1) -> None:
        self.period_s = period_s

    def read(self) -> Sequence[Taken]:
        return (Taken(-1, 5.0),)


@pytest.mark.parametrize("period_s", [math.nan, math.inf, -1.0])
def test_a_period_that_is_none_is_told_of_its_sensor_alone(period_s: float) -> None:
    with pytest.raises(ValueError, match="a period of"):
        sampler.Reader("odd", {})._take_over(Odd(period_s))


def test_a_reading_of_a_channel_that_there_is_not_is_no_other_channel_s() -> None:
    reader, session = sampler.Reader("odd", {}), Odd()
    reader._take_over(session)
    reader._read(session)
    assert [kept.values for kept in reader._kept] == [[], []]
    assert {gap.reason for kept in reader._kept for gap in kept.gaps} == {"its file gives a reading of a channel -1"}


def test_whatever_a_read_raises_is_a_gap_whose_words_move_no_cursor() -> None:
    class Rude(Odd):
        def read(self) -> Sequence[Taken]:
            raise KeyboardInterrupt("gone\x1b[2J\nfor good")

    reader, session = sampler.Reader("odd", {}), Rude()
    reader._take_over(session)
    reader._read(session)
    assert [gap.reason for gap in reader._kept[0].gaps] == ["gone [2J for good"]


def test_a_sensor_that_opens_when_the_others_are_read_already_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(sampler.worker, "load_part", lambda *_: Slow)
    with sampler.Sampling([{"sensor": "slow", "options": {}}], 1.0) as sampling:
        time.sleep(0.2)
    reasons = {gap["reason"] for trace in sampling.told()["traces"] for gap in trace["gaps"]}
    assert reasons == {"it was not open after 8 s"}


class Slow:
    """A sensor's file whose meter takes long to open."""

    @staticmethod
    @contextlib.contextmanager
    def open(options: Mapping[str, Any]) -> Iterator[Odd]:
        time.sleep(0.15)
        yield Odd()


def test_of_like_gaps_in_a_row_the_first_and_the_last_are_kept() -> None:
    gone = Taken(0, None, "error", "gone")
    trace = kept_of(Taken(0, 1.0), gone, gone, gone, gone, Taken(0, 2.0), gone, Taken(0, None, "stale", "gone"), gone)
    assert [(gap.t_ns, gap.status) for gap in trace.gaps] == [
        (200, "error"),
        (500, "error"),
        (700, "error"),
        (800, "stale"),
        (900, "error"),
    ]


def test_more_readings_than_a_journal_s_line_holds_are_a_gap_that_says_so() -> None:
    trace = kept_of(*(Taken(0, 1.0) for _ in range(5)), most=3)
    assert len(trace.values) == 3
    assert {gap.reason for gap in trace.gaps} == {"more than 3 readings, more are not kept"}


def test_sensors_that_would_give_too_many_readings_are_read_more_rarely() -> None:
    fast, slow = sampler.Reader("waves", {}), sampler.Reader("waves", {})
    for reader, period_s in ((fast, 0.001), (slow, 0.1)):
        reader.channels, reader.period_s = (CHANNEL,), period_s
    sampler._pace([fast, slow], 1.0)
    assert (fast.period_s, slow.period_s) == (0.001, 0.1)
    sampler._pace([fast, slow], 600.0)
    wanted = 600.0 / fast.period_s + 600.0 / slow.period_s
    assert wanted == pytest.approx(sampler._MOST_READINGS) and fast.most == sampler._MOST_READINGS // 2


@pytest.mark.parametrize("rate_hz", [1.0, 5.0, 10.0, 19.98, 20.0, 40.0, 150.0])
@pytest.mark.parametrize("period_s", [0.02, 0.05, 0.1])
def test_readings_come_evenly_upon_all_parts_of_a_paced_beat(period_s: float, rate_hz: float) -> None:
    reader = sampler.Reader("waves", {})
    reader.channels, reader.period_s = (CHANNEL,), period_s
    sampler._pace([reader], 20.0, rate_hz)
    assert period_s <= reader.period_s <= 1.5 * period_s
    parts = sorted(math.fmod(n * reader.period_s * rate_hz, 1) for n in range(int(20 / reader.period_s)))
    assert max(abs(part - n / len(parts)) for n, part in enumerate(parts)) < 0.05  # 0.5 where both beats are one


def test_where_nothing_goes_in_a_beat_a_sensor_is_read_as_it_asks() -> None:
    assert (sampler.off_beat(0.05, 0.0), sampler.off_beat(0.0, 10.0)) == (0.05, 0.0)


def test_an_answer_counts_although_a_sensor_left_a_process_behind() -> None:
    leaving = "import os, time\nif os.fork() == 0: time.sleep(4); os._exit(0)\nos.write(1, b'the answer')"
    with subprocess.Popen([sys.executable, "-c", leaving], stdout=subprocess.PIPE) as process:
        assert launch._await(process, 3.0, None) == b"the answer"

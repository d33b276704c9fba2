import math

import pytest
from simulated import process

from harness import stats, wire
from harness.stats import Process


def test_only_the_last_attempt_of_a_process_counts():
    first, last = process(100, attempt=0), process(50, attempt=2)
    other = process(70, replicate=1)
    assert stats.last_attempts([last, first, other]) == (last, other)
    assert stats.estimate([last, first, other]).median == 60


def test_a_journal_event_becomes_a_process():
    event = wire.ProcessEvent(
        1, 0, 9, "process", "a" * 16, 2, 1, 3, 1, 1, 1, 1, 1, True, False, 0.0, {}, (9,), (0, 5), (5, 7)
    )
    made = Process.of(event)
    assert (made.block, made.replicate, made.attempt, made.contended, made.steady) == (2, 1, 3, True, False)
    assert not Process.of(event, contended=False).contended
    assert made.median_ns == 6


@pytest.mark.parametrize("bad", [[], [-1], [1, math.nan], [math.inf]])
def test_impossible_latencies_are_refused(bad):
    with pytest.raises(ValueError, match="latenc"):
        Process("a" * 16, 0, 0, 0, bad)


def test_throttling_evidence_marks_a_process():
    event = wire.ProcessEvent(
        1, 0, 9, "process", "a" * 16, 2, 1, 3, 1, 1, 1, 1, 1, False, True, 0.0, {}, (9,), (0, 5), (5, 7), ("hot",)
    )
    assert Process.of(event).throttled and not process(1).throttled

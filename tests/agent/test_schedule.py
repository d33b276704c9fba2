"""What is still to be measured follows from the journal alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from devices.agent import schedule, throttle
from devices.agent.schedule import History, Slot
from harness import wire

REF, A, B = (f"{n:016x}" for n in range(3))
FILE = wire.FileRef("0" * 64, 0)


def job(looks: tuple[int, ...] = (2, 4), attempts: int = 3) -> wire.Job:
    cases = tuple(
        wire.JobCase(case, case, FILE, FILE, 1e-4, "fp32", 1, 1, replicates=2 if case == REF else 1)
        for case in (REF, A, B)
    )
    pairs = ((REF, REF), (A, REF), (B, REF))
    return wire.Job("run", "job", "empty", 7, cases, pairs, wire.Protocol(looks=looks, attempts=attempts))


def process(slot: Slot, latency_ns: int = 100, attempt: int = 1, contended: bool = False) -> wire.ProcessEvent:
    rest: dict[str, Any] = dict.fromkeys(("wall_ns", "import_ns", "load_ns", "spin_before_ns", "spin_after_ns"), 1)
    return wire.ProcessEvent(
        1, 0, 0, "process", *slot, attempt=attempt, contended=contended, steady=True, artifact_error=0.0, effective={},
        warmup_ns=(), start_ns=(0,), latency_ns=(latency_ns,), **rest,
    )  # fmt: skip


def failed(slot: Slot, final: bool) -> wire.FailedEvent:
    return wire.FailedEvent(1, 0, 0, "failed", *slot, attempt=1, cause="crash", detail="exit code 3", final=final)


def measured(work: wire.Job, block: int, **latencies: int) -> list[wire.Event]:
    return [process(slot, latencies.get("abc"[int(slot.case_id)], 100)) for slot in schedule.order(work, block)]


def test_a_block_holds_every_case_and_replicate_once_in_an_order_of_its_own() -> None:
    orders = [schedule.order(job(), block) for block in range(1, 20)]
    assert all(sorted(slots) == sorted({*slots}) and len(slots) == 4 for slots in orders)
    assert len({tuple((s.case_id, s.replicate) for s in slots) for slots in orders}) > 5
    assert orders == [schedule.order(job(), block) for block in range(1, 20)]


@settings(deadline=None)  # other work may share the machine
@given(st.sets(st.integers(0, 3)))
def test_a_resumed_block_repeats_exactly_what_is_missing(done: set[int]) -> None:
    slots = schedule.order(job(), 1)
    history = History(process(slots[n]) for n in sorted(done))
    assert schedule.pending(job(), history, 1) == [slot for n, slot in enumerate(slots) if n not in done]


def test_a_contended_process_is_measured_again_after_the_others_until_the_attempts_are_used_up() -> None:
    first, *others = schedule.order(job(), 1)
    history = History([process(first, contended=True)])
    assert schedule.pending(job(), history, 1) == [*others, first]
    history.add(process(first, attempt=2, contended=True))
    assert first in schedule.pending(job(), history, 1)
    history.add(process(first, attempt=3, contended=True))
    assert schedule.pending(job(), history, 1) == others


def test_the_last_attempt_counts() -> None:
    slot = Slot(A, 1, 0)
    history = History([process(slot, 900, 1, contended=True), process(slot, 100, 2)])
    (values,) = history.log_medians().values()
    assert len(values) == 1 and 4.6 < values[0] < 4.7


def test_a_failed_process_is_tried_again_and_a_case_given_up_is_not() -> None:
    slot = next(slot for slot in schedule.order(job(), 1) if slot.case_id == A)
    assert slot in schedule.pending(job(), History([failed(slot, final=False)]), 1)
    assert slot not in schedule.pending(job(), History([failed(slot, final=True)]), 1)


def test_extra_blocks_leave_out_decided_cases_but_never_a_reference() -> None:
    noisy = {1: 100, 2: 300}
    history = History(event for block in (1, 2) for event in measured(job(), block, b=50, c=noisy[block]))
    assert schedule.needed(job(), history, 2) == {REF, A, B}
    assert schedule.needed(job(), history, 3) == {REF, B}


def test_a_job_is_decided_only_at_a_planned_look() -> None:
    history = History(event for block in (1, 2, 3) for event in measured(job(), block))
    assert schedule.verdict(job(), history, 1) is None
    assert schedule.verdict(job(), history, 2) == "decided"
    assert schedule.verdict(job(), history, 3) is None


def test_a_job_ends_undecided_after_the_last_look() -> None:
    history = History(event for block in range(1, 5) for event in measured(job(), block, c=100 * block))
    assert schedule.verdict(job(), history, 2) is None
    assert schedule.verdict(job(), history, 4) == "blocks"


def test_a_case_is_given_up_when_processes_of_it_fail_in_a_row_not_when_some_fail_now_and_then() -> None:
    slots = [Slot(A, block, 0) for block in range(1, 20)]
    history = History()
    for slot in slots:
        history.add(failed(slot, final=False))
        assert history.failures[A] == 1 < schedule.MOST_FAILURES
        history.add(process(slot, attempt=2))
    history.add(failed(slots[-1], final=False))
    history.add(process(Slot(B, 1, 0)))  # another case's success says nothing
    history.add(failed(slots[-1], final=False))
    assert history.failures[A] == schedule.MOST_FAILURES


def test_comparisons_lost_with_their_reference_are_not_called_decided() -> None:
    history = History(event for block in (1, 2) for event in measured(job(), block))
    history.add(failed(Slot(REF, 2, 0), final=True))
    assert schedule.verdict(job(), history, 1) is None
    assert schedule.verdict(job(), history, 2) == "reference-failed"


def test_failed_cases_hold_nothing_up_and_a_job_fails_when_all_have() -> None:
    work = job()
    lost = History([failed(Slot(case, 1, 0), final=True) for case in (A, B)])
    assert schedule.verdict(work, lost, 2) == "decided"
    lost.add(failed(Slot(REF, 1, 0), final=True))
    assert schedule.verdict(work, lost, 0) == "failed"


def test_time_between_a_kill_and_the_next_start_is_not_spent() -> None:
    def start(t_ns: int) -> wire.StartEvent:
        return wire.StartEvent(1, 0, t_ns, "start", "run", "job", "agent", 1, False, {"spin_rounds": 5}, {"1": 9})

    state = [wire.StateEvent(1, 0, t, "state", 1, "before", ()) for t in (130, 1040)]
    history = History([start(100), state[0], start(1000), state[1]])
    assert history.spent_ns == 70
    assert (history.spin_rounds, history.best_spin) == (5, {wire.Place(1): 9})


def test_blocks_are_complete_up_to_the_first_that_lacks_something() -> None:
    work = job()
    assert schedule.complete_blocks(work, History()) == 0
    whole = [event for block in (1, 2) for event in measured(work, block)]
    assert schedule.complete_blocks(work, History(whole)) == 2
    assert schedule.complete_blocks(work, History(whole[:-1])) == 1
    assert schedule.complete_blocks(work, History(whole[1:])) == 0
    lost = History([failed(Slot(case, 1, 0), final=True) for case in (REF, A, B)])
    assert schedule.complete_blocks(work, lost) == 1


def test_a_throttled_process_is_measured_again_in_a_burst_until_the_attempts_are_used_up() -> None:
    first, *others = schedule.order(job(), 1)
    hot = [replace(process(first, attempt=n), throttled=("the firmware says: throttled (0x4)",)) for n in (1, 2, 3)]
    history = History(hot[:2])
    assert schedule.pending(job(), history, 1) == [*others, first]
    history.add(hot[2])
    assert schedule.pending(job(), history, 1) == others


def test_throttling_is_part_of_a_sustained_job_and_sleep_of_none() -> None:
    slot, *others = schedule.order(job(), 1)
    hot = replace(process(slot), throttled=("the firmware says: throttled (0x4)",))
    slept = replace(process(slot), throttled=(throttle.SUSPENDED + " for 3 s",))
    assert schedule.pending(job(), History([hot], "sustained"), 1) == others
    assert schedule.pending(job(), History([slept], "sustained"), 1) == [*others, slot]
    assert schedule.pending(job(), History([slept]), 1) == [*others, slot]


def test_neither_waiting_to_cool_nor_loading_until_warm_is_spent() -> None:
    start = wire.StartEvent(1, 0, 100, "start", "run", "job", "agent", 1, False, {"hottest_degc": 41.5}, {})
    soak = wire.SoakEvent(1, 1, 5_100, "soak", REF, (), (), (), True, "level")
    wait = wire.WaitEvent(1, 2, 8_200, "wait", 1, 3_000, True, "cool")
    history = History([start, soak, wait, wire.StateEvent(1, 3, 8_250, "state", 1, "before", ())])
    assert (history.spent_ns, history.reference_degc) == (150, 41.5)


def test_what_the_hottest_zone_was_when_a_job_began_is_not_forgotten_when_it_goes_on() -> None:
    starts = [
        wire.StartEvent(1, 0, 100, "start", "run", "job", "agent", 1, n > 0, {"hottest_degc": degrees}, {})
        for n, degrees in enumerate((None, 40, 70.0))
    ]
    assert History(starts).reference_degc == 40.0

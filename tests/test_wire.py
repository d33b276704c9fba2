from __future__ import annotations

import dataclasses
import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import decode, wire
from harness.errors import WireError

CASE = wire.JobCase(
    "0123456789abcdef", "easier 0", wire.FileRef("a" * 64, 3), wire.FileRef("b" * 64, 4), 1e-4, "fp32", 1, 1
)
JOB = wire.Job("run", "run-empty", "empty", 7, (CASE,), ((CASE.case_id, CASE.case_id),))
PROCESS = wire.ProcessEvent(
    v=1, seq=0, t_ns=5, kind="process", case_id=CASE.case_id, block=1, replicate=0, attempt=1, wall_ns=9, import_ns=1,
    load_ns=1, spin_before_ns=1, spin_after_ns=1, contended=False, steady=True, artifact_error=0.0, effective={"threads": 1},
    warmup_ns=(3, 2), start_ns=(10, 20), latency_ns=(2, 2),
)  # fmt: skip
RAIL = wire.Channel("ina3221", "VDD_IN", "module", "instant_power", True, 0.0066, 0.04)
TRACE = wire.Trace(RAIL, (10, 20), (4.7, 4.8), (wire.Gap(30, "error", "ENODATA"),))
PASS = wire.PassEvent(
    v=1, seq=0, t_ns=5, kind="pass", scenario="paced", case_id=CASE.case_id, block=1, attempt=1, start_ns=10, end_ns=20,
    inferences=3, wall_ns=9, spin_before_ns=1, spin_after_ns=1, contended=False, traces=(TRACE,), rate_hz=2.5,
)  # fmt: skip
ENERGY = dataclasses.replace(JOB, energy=wire.EnergyPlan((wire.Meter("ina3221", {"total": ["VDD_IN"]}),), windows=5))
OPERATOR = wire.Operator("conv1", "Conv", 1000, 4096, time_ns=7, dtype="fp32", layout="blocked")


def changed(value: object, **fields: object) -> str:
    tree = json.loads(wire.encode(value))
    for name, item in fields.items():
        tree[name] = item
    return json.dumps(tree)


def test_a_job_comes_back_as_it_went() -> None:
    assert wire.decode(wire.Job, wire.encode(JOB), "job") == JOB


def test_every_kind_of_event_comes_back_as_it_went() -> None:
    events = (
        PROCESS,
        wire.StartEvent(1, 0, 5, "start", "run", "job", "abc", 12, False, {"python": "3.8"}, {"1": 20}),
        wire.StateEvent(1, 0, 5, "state", 1, "before", (("loadavg", "system", "load", "ok", 0.5, "1"),)),
        wire.WaitEvent(1, 0, 5, "wait", 1, 3, False, "hottest zone 3 degC above the start"),
        wire.SoakEvent(1, 0, 5, "soak", CASE.case_id, (1,), (2,), (None,), True, "no thermal zone"),
        wire.TuneEvent(1, 0, 5, "tune", "apply", (wire.Tuned("turbo", "/sys/x", "1", "0", "0", "ok"),)),
        wire.FailedEvent(1, 0, 5, "failed", CASE.case_id, 1, 0, 1, "signal", "SIGSEGV", True),
        wire.GraphEvent(1, 0, 5, "graph", CASE.case_id, (OPERATOR,), "", 12, {"cycles": None}, {"cycles": "no PMU"}),
        wire.CeilingsEvent(1, 0, 5, "ceilings", 2, 1e10, 2e10, "numpy 2.0", {"size": 512}, "", "0,1", True),
        PASS,
        wire.PassFailedEvent(1, 0, 5, "pass-failed", "idle", "", 1, 1, "error", "no such meter", True),
        wire.EndEvent(1, 0, 5, "end", "budget", 4, {CASE.case_id: None}, {CASE.case_id: 3}),
    )
    assert {type(event) for event in events} == set(wire.EVENTS.values())
    for event in events:
        assert wire.decode_event(wire.encode(event), "here") == event


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed(JOB, v=2), "job version must be 1, not 2"),
        (changed(JOB, colour="red"), "without unknown keys, it is \\['colour'\\]"),
        (changed(JOB, run="../../etc"), "run must be a plain name"),
        (changed(JOB, runtime="a/b"), "runtime must be a plain name"),
        (changed(JOB, cases=[]), "at least one case"),
        (changed(JOB, comparisons=[["0" * 16, "0" * 16]]), "comparisons must name cases"),
        (changed(JOB, seed="7"), "job.seed: must be of type int"),
        (changed(JOB, seed=True), "job.seed: must be of type int"),
        (wire.encode(JOB)[:-1], "not JSON"),
        ('{"run": 1, "run": 2}', "a key stands twice"),
        ('{"run": NaN}', "NaN is not a number"),
        ("[]", "must be an object"),
    ],
)
def test_a_job_that_breaks_a_rule_is_refused_with_the_rule(text: str, message: str) -> None:
    with pytest.raises(WireError, match=message):
        wire.decode(wire.Job, text, "job")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"latency_ns": [2]}, "equally long"),
        ({"latency_ns": [], "start_ns": []}, "from 1 to 200000 samples"),
        ({"latency_ns": [2, -1]}, "latency_ns: must be from 0 to"),
        ({"warmup_ns": [1] * 400_001}, "warmup_ns must have bounded length"),
        ({"wall_ns": -1}, "wall_ns: must be from 0 to"),
        ({"t_ns": 2**63}, "too large|64 bits|to 2"),
        ({"start_ns": [10, 10**30]}, "too large|64 bits|to 2"),
        ({"effective": {"threads": 2**70}}, "too large|64 bits|to 2"),
        ({"block": 0}, "block and attempt must count from 1"),
        ({"attempt": 0}, "block and attempt must count from 1"),
        ({"artifact_error": 10**400}, "too large|64 bits|to 2"),
        ({"artifact_error": [10**400]}, "of type float"),
        ({"start_ns": [20, 10]}, "must not go backwards"),
        ({"latency_ns": [2, 2.5]}, "a list of integers"),
        ({"artifact_error": 1e999}, "not JSON|finite"),
        ({"kind": "noise"}, "kind must be one of"),
        ({"v": 3}, "journal version 3"),
    ],
)
def test_a_journal_line_that_breaks_a_rule_is_refused_with_the_rule(fields: dict[str, object], message: str) -> None:
    with pytest.raises(WireError, match=message):
        wire.decode_event(changed(PROCESS, **fields), "line 1")


def test_a_reading_has_a_value_exactly_when_its_status_is_ok() -> None:
    for status, value in (("ok", None), ("unsupported", 0.0)):
        with pytest.raises(ValueError, match="load must be null unless its status is ok"):
            wire.StateEvent(1, 0, 5, "state", 1, "before", (("load", "machine", "gauge", status, value, "1"),))


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9223372036854775808", "1" * 5000])
@pytest.mark.parametrize("facts", [{"x": 12345678}, {"x": [[{"y": 12345678}]]}])
def test_a_number_that_is_too_large_is_refused_wherever_it_stands(number: str, facts: dict[str, object]) -> None:
    text = changed(START, facts=facts).replace("12345678", number)
    with pytest.raises(WireError, match=r"finite|64 bits|not JSON"):
        wire.decode_event(text, "device")


def test_a_number_that_no_float_can_hold_is_a_wire_error_even_when_it_was_not_parsed() -> None:
    with pytest.raises(WireError):
        decode.build(wire.Protocol, {"budget_s": 10**400}, "protocol")


def test_a_job_from_before_there_was_profiling_does_not_profile() -> None:
    tree = json.loads(wire.encode(JOB))
    del tree["profile"]
    assert wire.decode(wire.Job, json.dumps(tree), "job") == JOB


def test_what_is_not_known_of_a_graph_or_of_ceilings_has_its_reason() -> None:
    with pytest.raises(ValueError, match="operators or the reason why there are none"):
        dataclasses.replace(GRAPH, reason="")
    with pytest.raises(ValueError, match="both ceilings or the reason why there are none"):
        wire.CeilingsEvent(1, 0, 5, "ceilings", 1, None, None, "", {})
    with pytest.raises(ValueError, match="must not be negative"):
        dataclasses.replace(OPERATOR, macs=-1)


@pytest.mark.parametrize("ceiling", [0.0, -1.0])
@pytest.mark.parametrize("name", ["macs_per_s", "bytes_per_s"])
def test_a_ceiling_that_nothing_could_reach_is_refused(name: str, ceiling: float) -> None:
    event = wire.CeilingsEvent(1, 0, 5, "ceilings", 1, 1e10, 2e10, "numpy 2.0", {})
    with pytest.raises(WireError, match="a ceiling must be above 0"):
        wire.decode_event(changed(event, **{name: ceiling}), "device")


def test_a_counter_below_zero_is_refused() -> None:
    with pytest.raises(WireError, match="counters must not be negative"):
        wire.decode_event(changed(GRAPH, counters={"cycles": -1.5}), "device")


@pytest.mark.parametrize("word", ["name", "kind", "dtype", "layout"])
def test_what_an_operator_says_of_itself_has_at_most_200_characters(word: str) -> None:
    assert len(getattr(dataclasses.replace(OPERATOR, **{word: "a" * wire.MAX_WORDS}), word)) == 200
    with pytest.raises(ValueError, match="at most 200 characters, not 201"):
        dataclasses.replace(OPERATOR, **{word: "a" * 201})


@pytest.mark.parametrize("kind", ["graph", "ceilings"])
def test_a_journal_from_before_contention_was_told_of_graphs_and_ceilings_is_read(kind: str) -> None:
    ceilings = wire.CeilingsEvent(1, 0, 5, "ceilings", 1, 1e10, 2e10, "numpy 2.0", {})
    event = GRAPH if kind == "graph" else ceilings
    line = json.loads(wire.encode(event))
    for name in {"contended", "cpus"} & set(line):
        del line[name]
    assert wire.decode_event(json.dumps(line), "device") == event


def test_a_place_is_written_as_it_is_read_and_old_thread_counts_are_places() -> None:
    for place, text in ((wire.Place(2), "2"), (wire.Place(1, "0,12"), "1 on 0,12")):
        assert (str(place), wire.Place.parse(text)) == (text, place)
    assert dataclasses.replace(CASE, threads=2, options={"cpus": "3"}).place == wire.Place(2, "3")


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "99999", "2 on", "2 on ", "2 on 0-1", "two", "1 on 0,", "1 on 0\n", "1" * 5000]
)
def test_spins_of_a_place_that_is_none_are_refused(text: str) -> None:
    with pytest.raises(WireError, match="a place must be a thread count"):
        wire.decode_event(changed(START, spin_ns={text: 5}), "device")


def test_an_end_has_one_of_the_known_reasons() -> None:
    end = wire.EndEvent(1, 0, 5, "end", "reference-failed", 4, {}, {})
    with pytest.raises(WireError, match="reason must be one of decided, reference-failed"):
        wire.decode_event(changed(end, reason="bored"), "device")


# --- a journal as a whole ------------------------------------------------------------------------------------------

START = wire.StartEvent(1, 0, 5, "start", "run", "run-empty", "agent", 9, False, {"boot_id": "x"}, {"1": 20})
GRAPH = wire.GraphEvent(1, 0, 8, "graph", CASE.case_id, (), "not to be walked")
END = wire.EndEvent(1, 0, 9, "end", "decided", 1, {CASE.case_id: None}, {CASE.case_id: 3})


def read(*events: wire.Event) -> list[wire.Event]:
    """Read the events as a job's journal, each as it would stand in it."""
    lines = [wire.encode(dataclasses.replace(event, seq=n)) + "\n" for n, event in enumerate(events)]
    return wire.JournalReader(JOB, "journal").read("".join(lines))


def test_a_journal_read_piece_by_piece_is_checked_across_the_pieces() -> None:
    reader = wire.JournalReader(JOB, "journal")
    reader.read(wire.encode(START) + "\n")
    assert reader.read(wire.encode(dataclasses.replace(PROCESS, seq=1)) + "\n")
    with pytest.raises(WireError, match="line 3: seq must be 2, it is 1"):
        reader.read(wire.encode(dataclasses.replace(PROCESS, seq=1)) + "\n")
    with pytest.raises(WireError, match="line 3: t_ns must not go back from 5, not 4"):
        reader.read(wire.encode(dataclasses.replace(PROCESS, seq=2, t_ns=4)) + "\n")
    assert reader.events == 2


def test_a_journal_of_the_job_is_accepted() -> None:
    state = wire.StateEvent(1, 0, 5, "state", 1, "before", ())
    failed = wire.FailedEvent(1, 0, 8, "failed", CASE.case_id, 36, 0, 1, "signal", "SIGSEGV", True)
    assert not read()
    read(START, state, PROCESS, failed, GRAPH, END)


@pytest.mark.parametrize(
    ("event", "fields", "message"),
    [
        (START, {"run": "another"}, r"run and job must be run, run-empty, not \('another'"),
        (START, {"job": "another"}, "run and job must be"),
        (PROCESS, {"case_id": "f" * 16}, "case_id must be one of the job's, not 'ffff"),
        (PROCESS, {"replicate": 1}, "replicate must be below 1, not 1"),
        (PROCESS, {"block": 37}, "block must be at most 36, not 37"),
        (PROCESS, {"t_ns": 4}, "t_ns must not go back from 5, not 4"),
        (GRAPH, {"case_id": "f" * 16}, "case_id must be one of the job's, not 'ffff"),
        (END, {"half_widths": {"f" * 16: 0.1}}, "an end must name cases of the job"),
    ],
)
def test_an_event_that_does_not_belong_to_the_job_is_refused_with_its_line(
    event: wire.Event, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(WireError, match="journal line 2: " + message):
        read(START, dataclasses.replace(event, **fields))


def test_a_journal_begins_with_a_start() -> None:
    with pytest.raises(WireError, match="line 1: a journal must begin with a start, not 'process'"):
        read(PROCESS)


def test_time_goes_backwards_only_when_the_device_has_booted_anew() -> None:
    late = dataclasses.replace(START, t_ns=100)
    for boot_id in ("y", None):
        read(late, dataclasses.replace(START, facts={"boot_id": boot_id}))
    with pytest.raises(WireError, match="line 2: t_ns must not go back from 100, not 5"):
        read(late, START)


def test_a_torn_last_line_is_left_out_and_a_gap_in_seq_is_refused() -> None:
    lines = [wire.encode(dataclasses.replace(PROCESS, seq=n)) for n in range(3)]
    assert len(wire.read_journal("\n".join(lines), "journal")) == 2
    with pytest.raises(WireError, match="line 2: seq must be 1, it is 2"):
        wire.read_journal("\n".join((lines[0], lines[2], "")), "journal")


def test_a_line_beyond_the_bound_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(WireError, match="at most"):
        wire.parse(" " * (wire.MAX_LINE_BYTES + 1), "line")


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_a_tensor_keeps_its_bytes(values: list[float]) -> None:
    raw = struct.pack(f"<{len(values)}f", *values)
    tensor = wire.Tensor.of((len(values),), raw)
    assert wire.decode(wire.Tensor, wire.encode(tensor), "t").raw() == raw


def test_rows_of_a_tensor_are_a_tensor() -> None:
    tensor = wire.Tensor.of((3, 2), struct.pack("<6f", *range(6)))
    assert tensor.rows(1, 2) == wire.Tensor.of((2, 2), struct.pack("<4f", *range(2, 6)))


def test_tokens_are_a_tensor_of_int64_and_stay_one_row_by_row() -> None:
    tokens = wire.Tensor.of((2, 2), struct.pack("<4q", 0, 1, 2, 50264), "int64")
    assert wire.decode(wire.Tensor, wire.encode(tokens), "t") == tokens
    assert tokens.rows(1, 1) == wire.Tensor.of((1, 2), struct.pack("<2q", 2, 50264), "int64")


def test_a_sample_that_names_no_type_holds_floats() -> None:
    assert wire.decode(wire.Tensor, json.dumps({"shape": [1], "data": "AAAAAA=="}), "t").dtype == "float32"


def test_a_tensor_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(WireError, match="dtype must be one of float32, int64"):
        wire.decode(wire.Tensor, json.dumps({"shape": [1], "data": "AAAA", "dtype": "object"}), "t")


def test_a_tensor_whose_data_do_not_fill_its_shape_is_refused() -> None:
    with pytest.raises(WireError, match="data must match its shape"):
        wire.decode(wire.Tensor, json.dumps({"shape": [2, 3], "data": "AAAA"}), "t")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_whatever_a_device_says_is_an_event_or_a_wire_error(value: object) -> None:
    text = json.dumps(value)
    with pytest.raises(WireError):
        wire.decode_event(text, "device")


@given(st.sampled_from([f.name for f in dataclasses.fields(wire.ProcessEvent)]), json_values)
def test_a_process_event_with_one_field_replaced_is_valid_or_a_wire_error(name: str, value: object) -> None:
    try:
        event = wire.decode_event(changed(PROCESS, **{name: value}), "device")
    except WireError:
        return
    assert isinstance(event, wire.Event)
    assert not isinstance(value, float) or math.isfinite(value)


def test_half_a_character_from_a_device_becomes_a_question_mark_and_a_whole_one_stays() -> None:
    said = wire.parse(r'{"a\udcff": ["\ud800x", "\ud83d\ude00", "\\ud800"]}', "it")
    assert said == {"a?": ["?x", "\U0001f600", "\\ud800"]}
    json.dumps(said, ensure_ascii=False).encode()


# --- energy ----------------------------------------------------------------------------------------------------------


def test_a_job_with_energy_passes_comes_back_as_it_went() -> None:
    assert wire.decode(wire.Job, wire.encode(ENERGY), "job") == ENERGY


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"meters": []}, "energy passes need a meter"),
        ({"scenarios": ["open"]}, "scenarios must be of paced, closed"),
        ({"scenarios": []}, "scenarios must be of paced, closed"),
        ({"windows": 0}, "windows must be from 1 to 1000"),
        ({"window_s": 0}, "window_s must be above 0"),
        ({"rate_hz": 0}, "rate_hz must be positive"),
        ({"meters": [{"sensor": "../x"}]}, "a sensor's name must be a plain name"),
    ],
)
def test_a_plan_of_passes_that_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    tree = {**json.loads(wire.encode(ENERGY))["energy"], **fields}
    with pytest.raises(WireError, match=message):
        wire.decode(wire.Job, changed(ENERGY, energy=tree), "job")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scenario": "open"}, "scenario must be idle, paced, closed"),
        ({"scenario": "idle"}, "only an idle pass has no case"),
        ({"inferences": 0}, "only an idle pass has no inferences"),
        ({"end_ns": 10}, "a window must end after it began"),
        ({"rate_hz": None}, "a paced pass must have a rate"),
        ({"block": 0}, "count from 1"),
    ],
)
def test_a_pass_that_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(WireError, match=message):
        wire.decode_event(changed(PASS, **fields), "here")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"t_ns": [10]}, "equally long"),
        ({"t_ns": [20, 10]}, "must not go backwards"),
        ({"gaps": [{"t_ns": 1, "status": "ok", "reason": ""}]}, "a gap's status must be one of"),
        ({"values": [1e308, -1e308]}, "values must be at most 1e\\+15"),
    ],
)
def test_a_trace_that_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    trace = {**json.loads(wire.encode(PASS))["traces"][0], **fields}
    with pytest.raises(WireError, match=message):
        wire.decode_event(changed(PASS, traces=[trace]), "here")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scope": "planet"}, "scope must be one of"),
        ({"kind": "power"}, "kind must be one of"),
        ({"update_s": 1e300}, "update_s must be from 0 to 1e\\+15"),
    ],
)
def test_a_channel_says_what_it_measures_in_known_words(fields: dict[str, object], message: str) -> None:
    channel = {**json.loads(wire.encode(RAIL)), **fields}
    with pytest.raises(WireError, match=message):
        wire.decode(wire.Channel, json.dumps(channel), "here")


def test_a_channel_measures_in_the_unit_of_its_kind() -> None:
    assert {kind: dataclasses.replace(RAIL, kind=kind).unit for kind in wire.UNITS} == wire.UNITS


@pytest.mark.parametrize(
    ("job", "fields", "message"),
    [
        (JOB, {}, "scenario must be one that the job asks for"),
        (ENERGY, {"block": 6}, "block of a pass must be at most 5"),
        (ENERGY, {"case_id": "f" * 16}, "case_id must be one of the job's"),
    ],
    ids=["none asked for", "too many blocks", "another case"],
)
def test_a_journal_holds_only_passes_that_its_job_asks_for(
    job: wire.Job, fields: dict[str, object], message: str
) -> None:
    start = wire.StartEvent(1, 0, 1, "start", "run", "run-empty", "abc", 12, False, {}, {})
    told = dataclasses.replace(PASS, seq=1, **fields)  # type: ignore[arg-type]
    with pytest.raises(WireError, match=message):
        wire.JournalReader(job, "journal").read(f"{wire.encode(start)}\n{wire.encode(told)}\n")
    whole = f"{wire.encode(start)}\n{wire.encode(dataclasses.replace(PASS, seq=1))}\n"
    assert len(wire.JournalReader(ENERGY, "journal").read(whole)) == 2

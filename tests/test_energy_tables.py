"""Energy passes as frames, and the frames on disk."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import example_energy_run as example
import pytest

from harness import store, tables, wire
from harness.errors import StoreError

RUN = example.run()
RUNG_0, RUNG_1 = RUN.cases[:2]


def test_every_reading_and_every_gap_is_a_row_and_a_gap_has_no_value() -> None:
    event = example.passed(0, 1, "closed", RUNG_1, gap=True)
    frame = tables.power({"onnxruntime": [event]})
    whole, part = event.traces
    assert len(frame) == len(whole.t_ns) + len(whole.gaps) + len(part.t_ns)
    gaps = frame[frame.status != "ok"]
    assert len(gaps) == len(whole.gaps) > 0
    assert gaps.value.isna().all() and set(gaps.reason) == {"ina3221: in1_input: No such device"}
    assert frame[frame.status == "ok"].value.notna().all()
    mine = frame[frame.channel == "VDD_IN"]
    assert mine.start_ns.is_monotonic_increasing
    assert tuple(mine.value.dropna()) == whole.values and tuple(mine[mine.status == "ok"].start_ns) == whole.t_ns


def test_a_reading_says_whose_it_is_of_what_and_in_which_unit() -> None:
    frame = tables.power({"torch": [example.passed(0, 3, "paced", RUNG_0, attempt=2)]})
    first = frame.iloc[0].to_dict()
    assert {key: first[key] for key in ("runtime", "block", "scenario", "case_id", "attempt")} == {
        "runtime": "torch",
        "block": 3,
        "scenario": "paced",
        "case_id": RUNG_0.case_id,
        "attempt": 2,
    }
    assert (first["sensor"], first["channel"], first["scope"], first["unit"]) == ("ina3221", "VDD_IN", "module", "W")
    assert frame[frame.channel == "VDD_CPU_GPU_CV"].total.eq(False).all()


def test_a_counters_readings_are_joules() -> None:
    counter = wire.Channel("nvml", "total", "gpu", "energy_counter", True)
    event = example.passed(0, 1, "idle", None, traces=(wire.Trace(counter, (1, 2), (10.0, 10.5)),))
    frame = tables.power({"torch": [event]})
    assert set(frame.unit) == {"J"} and frame.case_id.isna().all()


def test_readings_of_the_controllers_meters_stand_beside_and_belong_to_no_pass() -> None:
    wall = wire.Trace(wire.Channel("shelly", "switch:0", "wall", "instant_power", True), (5, 7), (8.1, 8.3))
    frame = tables.power({"onnxruntime": [example.passed(0, 1, "idle", None)]}, {"onnxruntime": [wall]})
    remote = frame[frame.sensor == "shelly"]
    assert list(remote.value) == [8.1, 8.3] and list(remote.start_ns) == [5, 7]
    assert remote[["block", "scenario", "case_id", "attempt"]].isna().all(axis=None)


def test_a_sensor_that_could_not_be_opened_is_a_row_without_a_value_not_nothing() -> None:
    event = example.passed(0, 1, "idle", None, traces=(), unopened={"rapl": "permission: energy_uj: root only"})
    (row,) = tables.power({"torch": [event]}).to_dict("records")
    assert (row["sensor"], row["status"], row["reason"]) == ("rapl", "permission", "energy_uj: root only")
    assert math.isnan(row["value"]) and row["channel"] is None and row["start_ns"] == event.start_ns


def test_only_the_last_attempt_of_a_pass_is_valid_and_only_where_it_was_not_disturbed() -> None:
    journal = [
        example.passed(0, 1, "paced", RUNG_0, contended=True),
        example.passed(1, 1, "paced", RUNG_0, attempt=2),
        example.passed(2, 1, "closed", RUNG_0, throttled=("the clock fell to 600 MHz",)),
        example.passed(3, 2, "idle", None),
    ]
    frame = tables.windows({"onnxruntime": journal})
    assert list(frame.valid) == [False, True, False, True]
    lasting = tables.windows({"onnxruntime": journal}, "sustained")
    assert list(lasting.valid) == [False, True, True, True], "under a lasting load throttling is part of it"
    assert list(frame.throttled) == ["", "", "the clock fell to 600 MHz", ""]
    assert frame.iloc[3].isna().loc[["case_id", "rate_hz", "unsampled_ns"]].all()
    assert frame.iloc[1].inferences == journal[1].inferences and frame.iloc[1].rate_hz == example.RATE_HZ


def test_frames_come_back_from_disk_as_they_went(tmp_path: Path) -> None:
    folder = store.create(tmp_path, RUN)
    journals = example.journals(RUN, blocks=1)
    store.save_frames(folder, journals)
    found = store.frames(folder)
    expected = tables.power(journals)
    assert len(found.power) == len(expected) and list(found.power.columns) == list(expected.columns)
    assert math.fsum(found.power.value.dropna()) == math.fsum(expected.value.dropna())
    assert list(found.windows.valid) == [True] * 9 and dict(found.power.dtypes) == dict(expected.dtypes)


def test_a_run_without_energy_has_empty_frames_with_the_same_columns_and_types(tmp_path: Path) -> None:
    folder = store.create(tmp_path, replace(RUN, run="20261120T101500Z-none"))
    store.save_frames(folder, {})
    found = store.frames(folder)
    full = tables.power(example.journals(RUN, blocks=1))
    assert len(found.power) == len(found.windows) == 0
    assert list(found.power.columns) == list(full.columns)
    assert found.power.value.dtype == full.value.dtype and found.power.block.dtype == full.block.dtype


def test_an_old_run_without_the_files_still_loads_and_a_damaged_file_is_said(tmp_path: Path) -> None:
    folder = store.create(tmp_path, RUN)
    store.save_frames(folder, {})
    for name in ("power", "windows"):
        (folder / f"{name}.parquet").unlink()
    assert "unit" in store.frames(folder).power and "valid" in store.frames(folder).windows
    (folder / "power.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(StoreError, match=r"power\.parquet: cannot be read"):
        store.frames(folder)

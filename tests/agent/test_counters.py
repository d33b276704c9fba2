"""Hardware counters: per inference, scaled for the time they ran, null with the exact cause where there are none."""

from __future__ import annotations

import errno
import struct

import pytest

from devices.agent import counters


def test_a_counter_is_null_exactly_when_there_is_a_cause() -> None:
    calls: list[int] = []
    values, reasons = counters.Counters().per_inference(lambda: calls.append(sum(range(1000))), 0.0)
    assert set(values) == set(counters.EVENTS)
    assert {name for name, value in values.items() if value is None} == set(reasons)
    assert len(calls) == 11  # one to warm up


def test_page_faults_of_this_process_are_counted_where_the_kernel_permits_it() -> None:
    counted = counters.Counters()
    if "page-faults" in counted.reasons:
        pytest.skip(counted.reasons["page-faults"])
    kept: list[bytearray] = []
    values, _ = counted.per_inference(lambda: kept.append(bytearray(b"x") * 2**22), 0.0)
    assert values["page-faults"] is not None
    assert values["page-faults"] > 100  # of 1024 pages, unless they are huge or were used before


def test_a_counter_that_shared_its_register_is_scaled_and_one_that_never_ran_is_unknown() -> None:
    assert counters.scaled(struct.pack("=QQQ", 50, 100, 25)) == 200
    assert counters.scaled(struct.pack("=QQQ", 0, 100, 0)) is None


def test_the_attributes_have_the_size_and_the_flags_that_the_kernel_documents() -> None:
    kind, size, number = struct.unpack_from("=IIQ", counters.attributes(0, 3))
    (flags,) = struct.unpack_from("=Q", counters.attributes(0, 3), 40)
    assert (kind, size, number, len(counters.attributes(0, 3))) == (0, 112, 3, 112)
    assert flags == 0b1100011  # disabled, inherit, exclude_kernel, exclude_hv


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EACCES, "perf_event_paranoid"),
        (errno.ENOENT, "no such counter"),
        (errno.ENOSYS, "no perf_event_open"),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_each_refusal_of_the_kernel_has_its_cause(code: int, words: str) -> None:
    import os

    assert words in counters._cause(OSError(code, os.strerror(code)))

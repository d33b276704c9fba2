"""Programs that print readings: real children that print well, badly, late, too much, nothing, or die."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import content
from harness.sensing import AbsentError, Taken

COMMAND: Any = content.load("sensor", "command")
LINES = COMMAND._command._lines
W = {"unit": "W", "scope": "dc_input"}


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def lines_of(*lines: str, then: str = "time.sleep(60)") -> list[str]:
    """A program that prints these lines, and then does something."""
    return python(f"import time\nfor line in {lines!r}: print(line, flush=True); time.sleep(0.01)\n{then}")


def taken(options: dict[str, Any], count: int, within_s: float = 5.0) -> list[Taken]:
    """The first `count` readings of a session."""
    found: list[Taken] = []
    with COMMAND.open(options) as session:
        end = time.monotonic() + within_s
        while len(found) < count and time.monotonic() < end:
            found += session.read()
    return found[:count]


def read_line(line: str, **options: Any) -> Taken:
    """What a session makes of one line."""
    return taken({"program": lines_of(line), **W, **options}, 1)[0]


def gone(pid: int, within_s: float = 3.0) -> bool:
    """Whether a process is gone, or soon is (a zombie is)."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        with contextlib.suppress(FileNotFoundError):
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                time.sleep(0.02)
                continue
        return True
    return False


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[Callable[[int], list[int]]]:
    """Waits until a program has written so many process ids into the file `pids`; ends what is left of them."""
    file = tmp_path / "pids"

    def wait(count: int) -> list[int]:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            found = [int(word) for word in file.read_text().split()] if file.exists() else []
            if len(found) >= count:
                return found
            time.sleep(0.02)
        raise AssertionError("the program did not start")

    yield wait
    for pid in wait(0) if file.exists() else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


# --- the parser


@pytest.mark.parametrize(
    ("line", "unit", "expected"),
    [
        ("12.34 W", "W", 12.34),
        ("8123 mW", "mW", 8.123),
        ("5.2e3 J", "J", 5200.0),
        ("12 mJ", "mJ", 0.012),
        ("3 Wh", "Wh", 10800.0),
        ("4 kWh", "kWh", 14_400_000.0),
        ("5\tµW", "uW", 5e-6),
        (".5W\r", "W", 0.5),
        ("  7.  ", "mWh", 25.2),
        ("+1 uJ", "uJ", 1e-6),
        ("-0 W", "W", 0.0),
    ],
)
def test_a_line_is_a_number_in_our_unit(line: str, unit: str, expected: float) -> None:
    assert LINES.value(line.encode(), unit) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("12 mW", "says mW where the option unit says W"),
        ("12 MW", "says MW"),
        ("12 J", "says J"),
        ("-3 W", "is negative"),
        ("nan", "is no number"),
        ("nan W", "is no number"),
        ("inf", "is no number"),
        ("1e999 W", "no finite number"),
        ("", "an empty line"),
        ("   ", "an empty line"),
        ("power: 12 W", "is no number"),
        ("12 W 13 W", "is no number"),
        ("12,5 W", "is no number"),
        ("0x10", "is no number"),
        ("1_000", "is no number"),
        ("٣ W", "is no number"),
        ("9" * 5000, "longer than 4096 bytes"),
    ],
)
def test_a_line_that_is_no_number_in_the_unit_is_refused_with_why(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        LINES.value(line.encode(), "W")


@pytest.mark.parametrize(
    ("line", "key", "reason"),
    [
        ('{"a": {"b": "12.3"}}', "a.b", "not a number"),
        ('{"a": {"b": true}}', "a.b", "not a number"),
        ('{"a": {"b": null}}', "a.b", "not a number"),
        ('{"a": 1}', "a.b", "has no a.b"),
        ('{"a": [1]}', "a.1", "has no a.1"),
        ('{"a": NaN}', "a", "not JSON"),
        ('{"a": -1}', "a", "negative"),
        ('{"a": 1e999}', "a", "no finite number"),
        ('{"a": 1', "a", "not JSON"),
        ("[" * 4000, "a", "not JSON"),
    ],
)
def test_json_without_a_number_at_its_key_is_refused_with_why(line: str, key: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        LINES.value(line.encode(), "W", key)


def test_json_gives_the_number_at_its_key_through_objects_and_lists() -> None:
    assert LINES.value(b'{"a": [0, {"b": 1500}]}', "mW", "a.1.b") == 1.5


@given(st.floats(0, 1e12), st.sampled_from(sorted(LINES.UNITS)), st.sampled_from(["", " ", "\t"]), st.booleans())
def test_what_is_printed_in_any_unit_is_read_back(number: float, unit: str, between: str, told: bool) -> None:
    line = f"{number!r}{between}{unit if told else ''}".encode()
    assert LINES.value(line, unit) == number * LINES.UNITS[unit][1]
    assert LINES.value(json.dumps({"k": number}).encode(), unit, "k") == number * LINES.UNITS[unit][1]


@given(st.one_of(st.binary(max_size=5000), st.text(max_size=200).map(str.encode)), st.sampled_from(["", "a", "a.0"]))
def test_no_line_does_more_than_give_a_number_of_at_least_0_or_a_reason(line: bytes, key: str) -> None:
    try:
        assert 0 <= LINES.value(line, "mW", key) < float("inf")
    except ValueError as error:
        assert str(error).isprintable() and len(str(error)) < 300


# --- options


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({}, "option unit must be given"),
        ({"unit": "W", "scope": "wall"}, "option program must be a list of words"),
        ({"program": "meter --watts", **W}, "list of words.*no shell.*'meter --watts'"),
        ({"program": [], **W}, "option program must be a list"),
        ({"program": [""], **W}, "option program must be a list"),
        ({"program": ["a", 1], **W}, "option program must be a list"),
        ({"program": ["a\0b"], **W}, "option program must be a list"),
        ({"program": ["a"], "unit": "watt", "scope": "wall"}, "option unit must be one of W, mW.*not 'watt'"),
        ({"program": ["a"], "unit": "W"}, "option scope must be given"),
        ({"program": ["a"], "unit": "W", "scope": "house"}, "option scope must be one of rail"),
        ({"program": ["a"], **W, "kind": "energy_counter"}, "option kind must be one of instant_power, averaged_power"),
        ({"program": ["a"], **W, "kind": "averaged_power"}, "average_s"),
        ({"program": ["a"], **W, "average_s": 1}, "average_s belongs to"),
        ({"program": ["a"], **W, "mode": "often"}, "option mode must be one of stream, poll"),
        ({"program": ["a"], **W, "period_s": 0}, "option period_s must be a number"),
        ({"program": ["a"], **W, "programme": 0}, 'did you mean "program"'),
    ],
)
def test_a_wrong_option_is_refused_with_option_rule_and_value(options: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule), COMMAND.open(options):
        pass
    status, reason = COMMAND.probe(options)
    assert status == "error" and re.search(rule, reason)


def test_the_two_sensors_differ_in_where_they_are_read_alone() -> None:
    other = content.load("sensor", "controller_command")
    assert (other.WHERE, COMMAND.WHERE) == ("controller", "device")
    assert (other.OPTIONS, other.WINDOW_S) == (COMMAND.OPTIONS, COMMAND.WINDOW_S)
    with other.open({"program": lines_of("1 W"), **W}) as session:
        assert session.channels[0].sensor == "controller_command"


def test_a_channel_says_what_the_options_say() -> None:
    averaged = {"kind": "averaged_power", "average_s": 2, "period_s": 0.5, "resolution": 100}
    with COMMAND.open({"program": lines_of("1"), "unit": "mW", "scope": "wall", **averaged}) as session:
        [channel] = session.channels
    assert (channel.scope, channel.kind, channel.unit, channel.total) == ("wall", "averaged_power", "W", True)
    assert (channel.update_s, channel.resolution, channel.average_s) == (0.5, 0.1, 2.0)
    with COMMAND.open({"program": lines_of("1"), "unit": "Wh", "scope": "wall"}) as session:
        assert (session.channels[0].kind, session.channels[0].update_s) == ("energy_counter", 0.0)


# --- stream


def test_a_stream_gives_each_line_with_the_time_at_which_it_came() -> None:
    readings = taken({"program": lines_of("1 W", "2 W", "3 W"), **W}, 3)
    assert [(reading.value, reading.status) for reading in readings] == [(1, "ok"), (2, "ok"), (3, "ok")]
    times = [reading.t_ns for reading in readings]
    assert times[1] - times[0] >= 5_000_000 and times[2] - times[1] >= 5_000_000


def test_lines_that_are_no_numbers_are_gaps_and_the_next_number_counts() -> None:
    readings = taken({"program": lines_of("1 W", "hello", "2 mW", "", "nan", "-1 W", "7" * 9000, "3 W"), **W}, 8)
    assert [reading.value for reading in readings] == [1, None, None, None, None, None, None, 3]
    assert {reading.status for reading in readings[1:-1]} == {"error"}
    assert all(reading.reason for reading in readings[1:-1])


def test_a_counter_that_falls_is_an_error_until_it_has_risen_twice() -> None:
    lines = ("10 J", "20 J", "3 J", "3 J", "4 J", "5 J", "6 J")
    readings = taken({"program": lines_of(*lines), "unit": "J", "scope": "wall"}, 7)
    assert [reading.value for reading in readings] == [10, 20, None, None, None, 5, 6]
    assert "fell from 20 to 3 J" in readings[2].reason and readings[2].status == "error"


def test_half_a_line_at_the_end_is_no_number() -> None:
    [first, last] = taken({"program": lines_of("1 W", then="print('12', end='', flush=True)"), **W}, 2)
    assert (first.value, last.value, last.status) == (1, None, "error")
    assert "half a line" in last.reason and "ended with code 0" in last.reason


def test_a_program_that_dies_is_an_error_with_its_last_words_again_and_again_but_not_at_full_speed() -> None:
    dying = python("import sys; print('9 W', flush=True); sys.exit('no meter on ttyUSB0')")
    began = time.monotonic()
    readings = taken({"program": dying, **W}, 4)
    assert [reading.value for reading in readings] == [9, None, None, None]
    assert "ended with code 1" in readings[1].reason and "no meter on ttyUSB0" in readings[1].reason
    assert time.monotonic() - began >= 1.0


def test_a_program_that_is_killed_is_told_by_its_signal() -> None:
    [reading] = taken({"program": python("import os; os.kill(os.getpid(), 9)"), **W}, 1)
    assert reading.status == "error" and "signal 9" in reading.reason


def test_a_stream_without_a_line_is_stale_after_its_patience_and_never_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(COMMAND._command, "_LEAST_PATIENCE_S", 0.3)  # 5 s, else
    silent = {"program": lines_of("1 W"), **W, "period_s": 0.01}
    with COMMAND.open(silent) as session:
        found: list[Taken] = []
        while not any(reading.status == "stale" for reading in found):
            began = time.monotonic()
            found += session.read()
            assert time.monotonic() - began < 1.5
    assert found[0].value == 1 and found[-1].value is None and "no line for" in found[-1].reason


def test_lines_that_lay_in_a_buffer_are_no_readings_for_their_times_are_unknown() -> None:
    burst = python("import os, time; time.sleep(1.2); os.write(1, b'1 W\\n2 W\\n3 W\\n'); time.sleep(60)")
    readings = taken({"program": burst, **W}, 3)
    assert {reading.status for reading in readings} == {"error"}
    assert "must flush" in readings[0].reason


def test_one_value_for_longer_than_stall_s_is_stale() -> None:
    program = python("import time\nwhile True: print('5 W', flush=True); time.sleep(0.1)")
    readings = taken({"program": program, **W, "stall_s": 1}, 14)
    assert readings[0].value == 5 and readings[-1].status == "stale" and readings[-1].value is None


def test_endless_output_without_a_line_end_does_not_fill_memory() -> None:
    flood = python("import sys\nwhile True: sys.stdout.write('1' * 65536); sys.stderr.write('x' * 65536)")
    with COMMAND.open({"program": flood, **W}) as session:
        session.read()
        assert len(session._child.half) <= 2**16 and len(session._child._words) <= 2**12


# --- programs that are not there


def test_a_program_that_is_not_there_is_unsupported_with_the_next_move() -> None:
    missing = {"program": ["/nowhere/meter"], **W}
    assert COMMAND.probe(missing) == (
        "unsupported",
        "there is no program /nowhere/meter here: install it, or give its whole path in the option program",
    )
    with pytest.raises(AbsentError), COMMAND.open(missing):
        pass


def test_a_program_without_its_interpreter_is_told_as_such(tmp_path: Path) -> None:
    script = tmp_path / "meter"
    script.write_text("#!/nowhere/python\n")
    script.chmod(0o755)
    status, reason = COMMAND.probe({"program": [str(script)], **W})
    assert status == "unsupported" and "interpreter" in reason


@pytest.mark.parametrize("mode", ["stream", "poll"])
def test_a_program_that_may_not_be_run_is_a_matter_of_permission(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "meter"
    file.write_text("#!/bin/sh\necho 1 W\n")
    status, reason = COMMAND.probe({"program": [str(file)], **W, "mode": mode})
    assert status == "permission" and "chmod +x" in reason


def test_a_file_that_is_no_program_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "meter"
    file.write_bytes(b"\x7fELF nonsense")
    file.chmod(0o755)
    status, reason = COMMAND.probe({"program": [str(file)], **W})
    assert status == "error" and "cannot be run" in reason


def test_words_reach_the_program_as_they_are_and_no_shell_reads_them(tmp_path: Path) -> None:
    program = [*python("import sys; print(len(sys.argv[1]), flush=True)"), f"$(touch {tmp_path}/made); * ~"]
    status, reason = COMMAND.probe({"program": program, **W})
    assert status == "ok" and not (tmp_path / "made").exists()
    assert f"{len(program[-1])} W" in reason


def test_a_probe_tells_the_kind_scope_and_the_value_and_is_quick() -> None:
    assert COMMAND.probe({"program": lines_of("8123 mW"), "unit": "mW", "scope": "wall"}) == (
        "ok",
        "instant power of wall, now 8.123 W",
    )
    began = time.monotonic()
    status, reason = COMMAND.probe({"program": ["sleep", "60"], **W, "start_s": 0.2})
    assert status == "stale" and "start_s" in reason and time.monotonic() - began < 2.5


# --- poll


def poll(program: list[str], **options: Any) -> Taken:
    with COMMAND.open({"program": program, **W, "mode": "poll", **options}) as session:
        assert session.period_s == options.get("period_s", 1.0)
        return session.read()[0]


def test_a_polled_program_is_run_once_per_reading(tmp_path: Path) -> None:
    count = tmp_path / "count"
    program = ["/bin/sh", "-c", f"echo x >> {count}; wc -l < {count}"]
    with COMMAND.open({"program": program, **W, "mode": "poll", "period_s": 0.1}) as session:
        assert [session.read()[0].value for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (["/bin/sh", "-c", "echo 1 W; echo 2 W"], "printed 2 lines"),
        (["/bin/sh", "-c", ":"], "printed 0 lines"),
        (["/bin/sh", "-c", "echo 1 W; echo broken >&2; exit 3"], "ended with code 3.*broken"),
        (["/bin/sh", "-c", "echo twelve"], "is no number"),
    ],
)
def test_a_run_that_gives_not_one_number_is_an_error(program: list[str], reason: str) -> None:
    reading = poll(program)
    assert (reading.value, reading.status) == (None, "error") and re.search(reason, reading.reason)


def test_a_run_that_ended_well_needs_no_line_end() -> None:
    assert poll(["printf", "12.5 W"]).value == 12.5


def test_a_run_that_hangs_is_stale_and_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(COMMAND._command, "_LEAST_PATIENCE_S", 0.3)
    began = time.monotonic()
    reading = poll(["sleep", "60"], period_s=0.01)
    assert reading.status == "stale" and time.monotonic() - began < 3


def test_a_polled_program_that_vanishes_between_readings_is_unsupported(tmp_path: Path) -> None:
    script = tmp_path / "meter"
    script.write_text("#!/bin/sh\necho 4 W\n")
    script.chmod(0o755)
    with COMMAND.open({"program": [str(script)], **W, "mode": "poll"}) as session:
        assert session.read()[0].value == 4
        script.unlink()
        assert session.read()[0].status == "unsupported"


# --- the end


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
with open(sys.argv[1], "w") as file: file.write("%d %d" % (os.getpid(), child.pid))
print("1 W", flush=True)
while True: time.sleep(60)
"""


def test_a_stubborn_program_and_what_it_started_end_with_the_session(
    tmp_path: Path, pids: Callable[[int], list[int]]
) -> None:
    with pytest.raises(KeyError), COMMAND.open({"program": [*python(STUBBORN), str(tmp_path / "pids")], **W}):
        started = pids(2)
        raise KeyError("the session ends by an error")
    assert all(gone(pid) for pid in started)


@pytest.mark.parametrize("mode", ["stream", "poll"])
def test_the_program_ends_though_the_sampler_is_killed_outright(
    tmp_path: Path, pids: Callable[[int], list[int]], mode: str
) -> None:
    program = [*python(STUBBORN), str(tmp_path / "pids")]
    sampler = f"""
from harness import content
with content.load("sensor", "command").open({{"program": {program!r}, **{W!r}, "mode": {mode!r}}}) as session:
    while True: session.read()
"""
    with subprocess.Popen([sys.executable, "-c", sampler]) as process:
        started = pids(2)
        time.sleep(0.1)  # the guard is told of the group by then
        process.kill()
    assert all(gone(pid) for pid in started)


def test_a_gentle_program_may_tidy_up(tmp_path: Path) -> None:
    tidy = python(
        "import signal, sys, time, pathlib\n"
        f"def stop(*_): pathlib.Path({str(tmp_path / 'tidy')!r}).touch(); sys.exit()\n"
        "signal.signal(signal.SIGTERM, stop); print('1 W', flush=True); time.sleep(60)"
    )
    assert taken({"program": tidy, **W}, 1)[0].value == 1
    assert (tmp_path / "tidy").exists()

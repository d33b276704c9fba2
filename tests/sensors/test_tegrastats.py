"""tegrastats: lines of JetPack 4 to 7, and a child that talks nonsense, falls silent or dies."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import content

DATA = Path(__file__).resolve().parents[1] / "data" / "sensors" / "tegrastats.txt"
_WORDS = DATA.read_text().splitlines()
BY_SYSTEM = {comment[2:].split(" ")[0]: line for comment, line in zip(_WORDS[::2], _WORDS[1::2], strict=True)}
NANO = BY_SYSTEM["jetpack-7-nano"]


@pytest.fixture
def sensor() -> Any:
    return content.load("sensor", "tegrastats")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_HARNESS_SYSROOT", str(tmp_path))
    return tmp_path


def put_program(root: Path, body: str, name: str = "usr/bin/tegrastats") -> Path:
    """A program in the place of tegrastats; $2 is its interval in ms."""
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def saying(*lines: str) -> str:
    """A program that says these lines, one every 50 ms, and stays."""
    return "".join(f"echo '{line}'\nsleep 0.05\n" for line in lines) + "exec sleep 60"


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("jetpack-4-nano", {"POM_5V_IN": 3478}),
        ("jetpack-4-xavier-nx", {"VDD_IN": 3902, "VDD_CPU_GPU_CV": 1331}),
        (
            "jetpack-5-agx",
            {"VDD_GPU_SOC": 2399, "VDD_CPU_CV": 400, "VIN_SYS_5V0": 4032, "VDDQ_VDD2_1V8AO": 301},
        ),
        ("jetpack-6-agx", {"VDD_GPU_SOC": 2412, "VDD_CPU_CV": 1607, "VIN_SYS_5V0": 4607}),
        ("jetpack-6-nano-not-root", {"VDD_IN": 4761, "VDD_CPU_GPU_CV": 515, "VDD_SOC": 1428}),
        ("jetpack-7-nano", {"VDD_IN": 4093, "VDD_CPU_GPU_CV": 802, "VDD_SOC": 1243}),
        ("jetpack-7-agx", {"VDD_GPU_SOC": 5139, "VDD_CPU_CV": 802, "VIN_SYS_5V0": 4607}),
    ],
)
def test_a_line_gives_what_its_rails_draw_now(sensor: Any, system: str, expected: dict[str, int]) -> None:
    assert sensor.rails(BY_SYSTEM[system]) == expected  # the first number, no NC, no RAM, no -256C


@pytest.mark.parametrize(
    "text",
    [
        "VDD_IN 4W/5W",
        "VDD_IN 4093uW/4463uW",
        "VDD_IN 4093mW/4463",
        "VDD_IN 4093/4463mW",
        "VDD_IN 4093mW",
        "VDD_IN -1mW/2mW",
    ],
)
def test_another_unit_or_half_a_rail_is_none(sensor: Any, text: str) -> None:
    assert sensor.rails(text) == {}


def test_a_rail_that_stands_twice_is_left_out(sensor: Any) -> None:
    assert sensor.rails("VDD_IN 1mW/1mW VDD_SOC 3mW/3mW VDD_IN 2mW/2mW") == {"VDD_SOC": 3}


@given(st.text())
def test_no_text_makes_the_parser_fail(text: str) -> None:
    assert all(power >= 0 for power in content.load("sensor", "tegrastats").rails(text).values())


NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,15}", fullmatch=True).filter(lambda name: name != "NC")
POWERS = st.integers(0, 9_999_999)


@given(st.dictionaries(NAMES, st.tuples(POWERS, POWERS, POWERS), max_size=6), st.booleans(), st.sampled_from((4, 5, 7)))
def test_composed_lines_are_read_back(rails: dict[str, tuple[int, int, int]], dated: bool, jetpack: int) -> None:
    unit = "" if jetpack == 4 else "mW"
    shown = 3 if jetpack == 7 else 2
    said = [f"{name} " + "/".join(f"{power}{unit}" for power in powers[:shown]) for name, powers in rails.items()]
    date = "09-04-2026 19:40:47 " if dated else ""
    line = f"{date}RAM 1803/7486MB (lfb 8x4MB) CPU [64%@729,off] GPU@-256C {' '.join(said)} NC 0{unit}/0{unit}"
    found = content.load("sensor", "tegrastats").rails(line)
    assert found == {name: powers[0] for name, powers in rails.items()}


def test_lines_become_readings_with_the_time_they_came(sensor: Any, root: Path) -> None:
    second = NANO.replace("VDD_IN 4093mW", "VDD_IN 5000mW")
    put_program(root, saying(NANO, second))
    with sensor.open({}) as session:
        before = time.monotonic_ns()
        taken = session.read()
        after = time.monotonic_ns()
    assert [channel.name for channel in session.channels] == ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]
    total = session.channels[0]
    assert (total.scope, total.kind, total.total, total.average_s) == ("module", "averaged_power", True, 0.2)
    assert [each.value for each in taken] == [5.0, 0.802, 1.243]
    assert before <= taken[0].t_ns <= after


def test_an_agx_is_the_sum_of_three_rails(sensor: Any, root: Path) -> None:
    put_program(root, saying(BY_SYSTEM["jetpack-5-agx"], BY_SYSTEM["jetpack-6-agx"]))
    with sensor.open({}) as session:
        taken = session.read()
    assert session.channels[0].name == "VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0"
    assert taken[0].value == pytest.approx(2.412 + 1.607 + 4.607)
    assert (taken[-1].value, taken[-1].status) == (None, "error")  # VDDQ_VDD2_1V8AO: not in this line


def test_the_interval_is_passed_on_and_bound(sensor: Any, root: Path) -> None:
    put_program(root, f'echo "$@" > {root}/words; {saying(NANO)}')
    with sensor.open({"interval_ms": 500}) as session:
        assert session.channels[0].average_s == 0.5
    assert (root / "words").read_text() == "--interval 500\n"  # and never --stop
    with pytest.raises(ValueError, match="whole number from 50 to 1000, not 10"), sensor.open({"interval_ms": 10}):
        pass


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("E: cannot open debugfs", "error", 'not a line of tegrastats: "E: cannot open debugfs"'),
        (NANO.replace("VDD_IN", "VDD_XX"), "error", "no VDD_IN in the line, or twice; it has VDD_XX"),
        (NANO.replace("VDD_IN 4093mW/", "VDD_IN 0mW/"), "error", "draws more than nothing"),
        (NANO.replace("VDD_IN 4093mW/", "VDD_IN 4W/"), "error", "no VDD_IN in the line"),
    ],
    ids=["text", "no-total", "zero", "other-unit"],
)
def test_a_line_that_tells_no_total_is_a_gap(sensor: Any, root: Path, line: str, status: str, said: str) -> None:
    put_program(root, saying(NANO, line))
    with sensor.open({}) as session:
        taken = session.read()[0]
    assert (taken.value, taken.status) == (None, status) and said in taken.reason


def test_of_lines_that_come_at_once_only_the_last_has_a_time(sensor: Any, root: Path) -> None:
    put_program(root, f"echo '{NANO}'; sleep 0.1; printf '%s\\n%s\\n' '{NANO}' '{NANO}'; exec sleep 60")
    with sensor.open({}) as session:
        totals = [each for each in session.read() if each.channel == 0]
    assert [each.status for each in totals] == ["stale", "ok"] and "came late" in totals[0].reason


def test_a_child_that_falls_silent_is_stale(sensor: Any, root: Path) -> None:
    put_program(root, saying(NANO))
    with sensor.open({"interval_ms": 50}) as session:
        taken = session.read()
    assert {each.status for each in taken} == {"stale"} and taken[0].reason == "no line for 0.8 s"


def test_a_child_that_dies_gives_gaps_without_spinning(sensor: Any, root: Path) -> None:
    put_program(root, f"echo '{NANO}'; sleep 0.1; echo 'lost the chip' >&2; exit 3")
    with sensor.open({"interval_ms": 100}) as session:
        taken = session.read()
        begun = time.monotonic()
        again = session.read()
        assert time.monotonic() - begun >= 0.1
    for each in (*taken, *again):
        assert (each.value, each.status) == (None, "error")
        assert each.reason == "tegrastats ended with 3 (lost the chip)"


def test_the_child_and_what_it_started_are_gone_afterwards(sensor: Any, root: Path) -> None:
    put_program(root, f"echo $$ > {root}/pid; {saying(NANO)}")
    with sensor.open({}):
        pid = int((root / "pid").read_text())
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_somebody_elses_tegrastats_goes_on(sensor: Any, root: Path) -> None:
    program = put_program(root, f'[ "$1" = --stop ] && touch {root}/stopped; {saying(NANO)}')
    with sensor.open({"program": str(program)}):
        pass
    assert not (root / "stopped").exists()


def test_probe_reads_a_line_and_tells_the_rails(sensor: Any, root: Path) -> None:
    put_program(root, saying(NANO, NANO))
    assert sensor.probe({}) == ("ok", "module: VDD_IN; every 200 ms; parts: VDD_CPU_GPU_CV, VDD_SOC")


def test_no_program_is_unsupported(sensor: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(root))
    status, reason = sensor.probe({})
    assert status == "unsupported" and "say where it is: `program: /path/to/tegrastats`" in reason
    put_program(root, saying(NANO, NANO), "tegrastats")  # now on PATH
    monkeypatch.setenv("PATH", f"{root}:/usr/bin:/bin")
    assert sensor.probe({})[0] == "ok"


def test_a_program_that_says_nothing_of_use_is_told_with_its_words(sensor: Any, root: Path) -> None:
    put_program(root, "echo 'RAM 1/2MB'; exit 1")
    assert sensor.probe({}) == ("error", 'tegrastats gave no line with rails (it said "RAM 1/2MB")')


def test_a_total_that_is_not_in_the_lines_is_unsupported(sensor: Any, root: Path) -> None:
    put_program(root, saying(NANO))
    status, reason = sensor.probe({"total": ["VIN"]})
    assert status == "unsupported" and "there are VDD_IN, VDD_CPU_GPU_CV, VDD_SOC" in reason


def test_the_same_line_again_and_again_is_stale(sensor: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensor._hwmon, "STALL_S", 0.2)
    monkeypatch.setattr(sensor._hwmon, "STALL_READINGS", 3)
    put_program(root, f"while :; do echo '{NANO}'; sleep 0.1; done")
    with sensor.open({}) as session:
        statuses = [each.status for _ in range(6) for each in session.read() if each.channel == 0]
    assert statuses[:2] == ["ok", "ok"] and statuses[-1] == "stale"


def test_the_lead_holds_the_longest_interval_that_may_be_asked_for(sensor: Any, root: Path) -> None:
    put_program(root, saying(NANO))
    with sensor.open({"interval_ms": 1000}) as session:
        assert session.channels[0].average_s + 0.5 <= sensor.LEAD_S

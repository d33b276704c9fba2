"""Nights on disk: back as they were, in their order, refused where damaged or newer; one harness nightly at a time."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import made_nights
import pytest

from harness.errors import StoreError
from harness.records.nights import Night
from harness.store import nights

HOLD = """\
import sys
from pathlib import Path
from harness.store import nights

with nights.held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def eventful() -> Night:
    found = made_nights.eventful()
    rows = tuple(replace(row, here={"network": "x"}, there={"kernel": "6.1"}) for row in found.rows)
    return replace(found, rows=rows, session="5e55")


def test_a_night_comes_back_as_it_was(tmp_path: Path) -> None:
    nights.save(tmp_path, eventful())
    assert nights.nights(tmp_path) == (eventful(),)
    assert [file.name for file in (tmp_path / "nights").iterdir()] == [f"{eventful().night}.json"]


def test_nights_come_in_the_order_in_which_they_began_whatever_their_names(tmp_path: Path) -> None:
    for name, began in (("2026-11-20-b", "03"), ("2026-11-20-a", "22"), ("2026-11-19-c", "01")):
        nights.save(tmp_path, made_nights.night(night=name, began=f"{name[:10]}T{began}:00:00+00:00"))
    assert [each.night for each in nights.nights(tmp_path)] == ["2026-11-19-c", "2026-11-20-b", "2026-11-20-a"]


def test_nights_with_numbers_come_in_their_order_behind_those_of_before_there_were_numbers(tmp_path: Path) -> None:
    for name, number in (("1970-01-01-b", 2), ("2026-11-20-a", 1), ("2036-01-01-0", 0), ("2026-11-21-c", 3)):
        nights.save(tmp_path, made_nights.night(night=name, began=f"{name[:10]}T01:00:00+00:00", number=number))
    ordered = ["2036-01-01-0", "2026-11-20-a", "1970-01-01-b", "2026-11-21-c"]
    assert [each.night for each in nights.nights(tmp_path)] == ordered


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "damaged"),
        ("{}", "damaged: 'schema'"),
        ('{"schema": 1, "night": 3}', "damaged: night"),
        ('{"schema": 2}', "schema 2, this program reads up to 1"),
        ('{"schema": true}', "schema True"),
    ],
)
def test_a_night_that_cannot_be_read_is_named_and_not_left_out(tmp_path: Path, text: str, said: str) -> None:
    nights.save(tmp_path, eventful())
    file = tmp_path / "nights" / "2026-11-21-1.json"
    file.write_text(text)
    with pytest.raises(StoreError, match=said) as refused:
        nights.nights(tmp_path)
    assert refused.value.message.startswith(str(file))


@pytest.mark.parametrize(
    "old, new, said",
    [
        ('"night": "2026-11-20"', '"night": "../x"', "night: '../x' is not what its file is called"),
        ("2026-11-20T02:00:00+00:00", "yesterday", "began: 'yesterday' is no time with a zone"),
        ("2026-11-20T05:30:00+00:00", "2026-11-20T05:30:00", "ended: '2026-11-20T05:30:00' is no time with a zone"),
        ('"run": "20261120T021500Z-1a2b"', '"run": "../../etc"', "rows.0.run must be a plain name"),
        ('"run": "20261120T021500Z-1a2b"', '"run": null', "rows.0: measured, and without a run"),
        ('"seconds": 61.5', '"seconds": NaN', "rows.0.seconds: nan is no number"),
        ('"seconds": 61.5', '"seconds": -1', "rows.0.seconds: -1.0 is below 0"),
        ('"ratio": 1.107', '"ratio": 1e999', "changes.0.ratio: inf is no number"),
    ],
)
def test_a_night_that_was_edited_by_hand_is_refused_where_it_makes_no_sense(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    nights.save(tmp_path, eventful())
    (file,) = (tmp_path / "nights").glob("*.json")
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(StoreError, match="damaged") as refused:
        nights.nights(tmp_path)
    assert said in refused.value.message


def test_one_nightly_at_a_time_and_one_that_is_killed_lets_go(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=rf"at work there \(process {other.pid} of {platform.node()}\)"):
            nights.held(tmp_path).__enter__()
        other.kill()
        other.wait()
        with nights.held(tmp_path):
            pass

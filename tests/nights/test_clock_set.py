"""Nights under a clock that is set while they go on: summer time begins or ends, hours are gained or lost, midnight comes."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import shifted_clock
from command import Cli
from shifted_clock import ShiftedClock
from test_night import PATIENCE_S, measured, rows, until, write

from harness import store
from harness.records.nights import Night
from harness.store import nights

DAY_S = 86400

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shifted_clock.why_not() is not None, reason=str(shifted_clock.why_not())),
]


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShiftedClock:
    """A clock that the commands of this test go by; this process keeps the machine's."""
    made = ShiftedClock(tmp_path)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


def set_to(clock: ShiftedClock, when: datetime) -> None:
    clock.set(when.timestamp() - time.time())


def kept(cli: Cli) -> tuple[Night, ...]:
    return nights.nights(cli.folder / "results")


def lasted_s(night: Night) -> float:
    assert night.ended is not None
    return (datetime.fromisoformat(night.ended) - datetime.fromisoformat(night.began)).total_seconds()


@pytest.mark.parametrize(
    "zone, before",
    [
        ("America/Sao_Paulo", datetime(2018, 11, 3, 23, 59, 56)),  # midnight does not come: it is one o'clock
        ("Asia/Beirut", datetime(2022, 10, 29, 23, 59, 56)),  # midnight comes twice
    ],
)
def test_a_night_in_which_summer_time_begins_or_ends_at_midnight_is_one_night_of_as_long_as_it_took(
    cli: Cli, clock: ShiftedClock, monkeypatch: pytest.MonkeyPatch, zone: str, before: datetime
) -> None:
    monkeypatch.setenv("TZ", zone)
    local = before.replace(tzinfo=ZoneInfo(zone))
    assert datetime.fromtimestamp(local.timestamp() + 10, ZoneInfo(zone)).utcoffset() != local.utcoffset()
    write(cli)
    set_to(clock, local)
    began = time.monotonic()
    done = cli("nightly", "--json", "--page", "night.html", "--junit", "night.xml")
    took_s = time.monotonic() - began
    assert done.code == 0 and set(rows(done).values()) == {"measured"}, done.err
    (night,) = kept(cli)
    assert night.night.startswith(f"{local.astimezone(UTC):%Y-%m-%d}-")
    assert 4 < lasted_s(night) <= took_s + 1
    assert sum(row.seconds or 0 for row in night.rows) <= took_s
    names = [row.run for row in night.rows]
    assert names == sorted(map(str, names)) == [folder.name for folder in cli.runs]


@pytest.mark.parametrize("ahead_s", [-400 * DAY_S, 3650 * DAY_S])
def test_a_clock_that_is_set_in_mid_night_neither_spends_the_budget_nor_disorders_the_history(
    cli: Cli, clock: ShiftedClock, ahead_s: float
) -> None:
    write(cli, more="  budget_s: 3600\n  max_age_days: 400\n  keep_samples_days: 30\n")
    process = cli.start("nightly", "--json")
    until(lambda: len(cli.runs) == 1 and measured(cli.runs[-1]))
    clock.set(ahead_s)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    first = json.loads(out)
    assert {row["outcome"] for row in first["rows"]} == {"measured"}
    assert all(0 < row["seconds"] < 200 for row in first["rows"])
    assert len({row["run"] for row in first["rows"]}) == 2

    second = cli("nightly", "--json")  # under the clock as it was set
    clock.set(0)
    third = cli("nightly", "--json", "--page", "night.html")
    for done in (second, third):
        assert done.code == 0, done.err
        assert {row["outcome"] for row in done.json["rows"] if not row["row"]["canary"]} <= {"fresh", "measured"}
        assert all(row["seconds"] is None or 0 < row["seconds"] < 200 for row in done.json["rows"])
    assert [night.night for night in kept(cli)] == [first["night"], second.json["night"], third.json["night"]]
    assert [night.number for night in kept(cli)] == [1, 2, 3]
    assert all(store.raw(folder) for folder in cli.runs), "a clock that was wrong cost samples"


def test_a_clock_that_is_set_back_in_mid_night_gives_the_night_no_more_time(cli: Cli, clock: ShiftedClock) -> None:
    write(cli, methods="[order, random]", more="  budget_s: 0.5\n")
    process = cli.start("nightly", "--json")
    until(lambda: len(cli.runs) == 2 and measured(cli.runs[-1]))
    clock.set(-12 * 3600)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert [row["outcome"] for row in json.loads(out)["rows"]] == ["measured", "measured", "out-of-time"]


def test_a_night_that_is_killed_before_midnight_and_goes_on_after_it_is_one_night(
    cli: Cli, clock: ShiftedClock
) -> None:
    write(cli)
    set_to(clock, datetime(2026, 12, 31, 23, 59, 50, tzinfo=UTC))
    process = cli.start("nightly")
    until(lambda: len(cli.runs) == 1 and measured(cli.runs[-1]))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE_S)
    set_to(clock, datetime(2027, 1, 1, 0, 0, 5, tzinfo=UTC))
    done = cli("nightly", "--json")
    assert done.code == 0 and set(rows(done).values()) == {"measured"} and len(cli.runs) == 2, done.err
    (night,) = kept(cli)
    assert night.night.startswith("2026-12-31-") and str(night.ended).startswith("2027-01-01T00:00")

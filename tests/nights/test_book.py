"""Which night is written: the one that was cut off, whatever the clock says meanwhile, or a new one; what becomes of old ones."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import made_nights
import pytest

from harness.nights import book
from harness.records.nights import Night
from harness.store import nights

ROWS = (made_nights.row(), made_nights.row(model="vgg16"))
EVENING = datetime(2026, 11, 20, 23, 59, 50, tzinfo=UTC)


def opened(results: Path, now: datetime) -> book.Book:
    found, _ = book.opened(results, nights.nights(results), ROWS, "5e55", now)
    return found


def test_a_night_is_named_by_the_day_on_which_it_began_in_universal_time(tmp_path: Path) -> None:
    tokyo = EVENING.astimezone(timezone(timedelta(hours=9)))  # there it is morning already
    night = opened(tmp_path, tokyo).night
    assert night.night.startswith("2026-11-20-") and night.began == "2026-11-20T23:59:50+00:00"
    assert nights.nights(tmp_path) == (night,)


@pytest.mark.parametrize("later", [timedelta(seconds=20), timedelta(hours=17), timedelta(hours=-1), timedelta(days=-3)])
def test_a_night_that_was_cut_off_goes_on_past_midnight_and_though_the_clock_was_put_back(
    tmp_path: Path, later: timedelta
) -> None:
    first = opened(tmp_path, EVENING)
    first.add(made_nights.came(ROWS[0]))
    second = opened(tmp_path, EVENING + later)
    assert second.night == first.night and second.of(ROWS[0].key) is not None


@pytest.mark.parametrize("jump", [timedelta(days=-400), timedelta(hours=-3), timedelta(0), timedelta(days=4000)])
def test_a_night_comes_behind_those_before_it_whatever_clocks_said_meanwhile(tmp_path: Path, jump: timedelta) -> None:
    nights.save(tmp_path, made_nights.night(night="2026-11-19-old", began="2026-11-19T02:00:00+00:00"))
    made = []
    for when in (EVENING, EVENING + jump, EVENING + timedelta(days=1)):
        mine = opened(tmp_path, when)
        mine.write(ended=when.isoformat())
        made.append(mine.night.night)
    assert [each.night for each in nights.nights(tmp_path)] == ["2026-11-19-old", *made]
    assert [each.number for each in nights.nights(tmp_path)] == [0, 1, 2, 3]


def test_no_night_takes_the_name_of_an_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, drawn = secrets.token_hex, iter(("1a2b", "1a2b", "3c4d"))
    monkeypatch.setattr("secrets.token_hex", lambda size: next(drawn) if size == 2 else real(size))
    first = nights.new(tmp_path, (), "5e55", EVENING)
    second = nights.new(tmp_path, (first,), "5e55", EVENING)
    assert (first.night, second.night) == ("2026-11-20-1a2b", "2026-11-20-3c4d")


def test_a_night_that_ended_is_not_gone_on_with_though_it_is_the_same_day(tmp_path: Path) -> None:
    first = opened(tmp_path, EVENING)
    first.write(ended="2026-11-20T23:59:55+00:00")
    second, past = book.opened(tmp_path, nights.nights(tmp_path), ROWS, "5e55", EVENING + timedelta(seconds=7))
    assert second.night.night != first.night.night and past.nights == (first.night,)


def test_a_night_that_was_cut_off_long_ago_is_closed_and_what_it_had_not_done_is_missing(tmp_path: Path) -> None:
    first = opened(tmp_path, EVENING)
    first.add(made_nights.came(ROWS[0]))
    second, past = book.opened(tmp_path, nights.nights(tmp_path), ROWS, "5e55", EVENING + timedelta(days=2))
    assert second.night.night.startswith("2026-11-22-")
    (closed,) = past.nights
    assert closed.ended == "2026-11-22T23:59:50+00:00"
    assert [(each.outcome, each.reason) for each in closed.rows][1] == ("missing", "the night was cut off")


def test_what_came_of_a_row_is_on_the_disk_at_once_and_stands_there_once(tmp_path: Path) -> None:
    mine = opened(tmp_path, EVENING)
    mine.add(made_nights.came(ROWS[0], "failed", reason="no"))
    mine.add(made_nights.came(ROWS[0]))
    mine.annotate("pi5", ["a 1 -> 2", "a 1 -> 2"])
    mine.annotate("pi5", ["a 1 -> 2", "b 1 -> 2"])
    (stored,) = nights.nights(tmp_path)
    assert stored == mine.night and [each.outcome for each in stored.rows] == ["measured"]
    assert stored.annotations == {"pi5": ("a 1 -> 2", "b 1 -> 2")}
    assert mine.spent_s("pi5") == 61.5 and mine.spent_s("pi4") == 0


def test_earlier_nights_stay_as_they_were(tmp_path: Path) -> None:
    old = made_nights.eventful()
    nights.save(tmp_path, old)
    opened(tmp_path, EVENING + timedelta(days=9))
    found: tuple[Night, ...] = nights.nights(tmp_path)
    assert found[0] == old and len(found) == 2

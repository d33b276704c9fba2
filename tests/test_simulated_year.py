"""The year of nights that never were: what happens is told, nothing else is, and its page is drawn."""

from __future__ import annotations

import pytest

from harness.nights import gallery
from scripts import simulated_year


@pytest.fixture(scope="module")
def year():
    """The lab and every night of it."""
    lab = simulated_year.simulated(365, 0)
    return lab, [simulated_year.one_night(lab, night) for night in range(8, 365)]


def test_what_happens_is_told_and_nothing_else(year):
    _, nights = year
    told = {(change.row.device, change.row.model) for night in nights for change in night.changes}
    happened = {(event.device, event.model) for event in simulated_year.EVENTS if event.model}
    assert happened <= told
    assert {device for device, _ in told - happened} == {"desktop"}  # its canary, and the night before it was blamed


def test_an_upgrade_is_no_change_and_a_device_whose_canary_moved_is_blamed(year):
    _, nights = year
    assert not [
        change
        for night in nights
        for change in night.changes
        if change.row.device == "jetson" and night.night < "2026-08"
    ]
    assert {device for night in nights for device in night.blamed} == {"desktop"}


def test_the_last_night_says_who_has_to_get_up_and_draws_all_series(year, tmp_path):
    lab, nights = year
    found = simulated_year.chronicles(lab, nights[-1])
    page = gallery.write(nights[-1], found, tmp_path / "year.html").read_text()
    assert "Get up: 1 confirmed regression on pi5" in page and len(found) == len(lab.keys)
    assert len(page) < 3_500_000

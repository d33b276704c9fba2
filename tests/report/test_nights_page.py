"""The page of a night: facts first, then every series with its levels; the same page as that of runs."""

from __future__ import annotations

import json
import re

import browser
import pytest
import vl_convert

from harness.report.page import chronicles, nights, room
from harness.report.page.chronicles import Chronicle
from harness.report.page.nights import Fact, Section

EVIL = "<img src=x onerror=alert(1)>"
DAYS = tuple(f"2026-01-{day:02}" for day in range(1, 31))


def series(device="pi5", level=10.0, step=None, **more):
    """Thirty nights, 0.2 % up and down; from position `step` on a tenth higher."""
    noise = (1.0, 1.002, 0.998, 0.998, 1.002)  # alike in every five nights
    values = tuple(level * (1.1 if step is not None and n >= step else 1.0) * noise[n % 5] for n in range(30))
    given = {"breaks": {}, "told": {}, "usable": (True,) * 30, "values": values}
    unit, quantity = more.pop("unit_", "ms"), more.pop("quantity_", "latency")
    return Chronicle(
        device,
        "resnet18 order",
        "order 2",
        quantity,
        unit,
        DAYS,
        low=tuple(v and v * 0.99 for v in (more.get("values") or values)),
        high=tuple(v and v * 1.01 for v in (more.get("values") or values)),
        **{**given, **more},
    )


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def page_of(*found, sections=()):
    return nights.html("Nobody has to get up.", "Night 2026-01-30.", sections, found)


def test_a_step_ends_a_level_there_and_says_by_how_much():
    found = list(chronicles.marks(series(step=20), 0))
    levels = [each for each in found if each["kind"] == "level"]
    assert [(each["night"], each["until"]) for each in levels] == [(DAYS[0], DAYS[19]), (DAYS[20], DAYS[29])]
    assert [each["value"] for each in levels] == pytest.approx([10, 11], rel=2e-3)
    (moved,) = (each for each in found if each["kind"] == "moved")
    assert moved["night"] == DAYS[20] and moved["text"] == "+10.0 %"


def test_a_level_that_ended_with_an_upgrade_says_what_it_was_and_no_percentage():
    found = list(chronicles.marks(series(step=20, breaks={20: "JetPack 6.2 -> 6.3"}), 0))
    assert not [each for each in found if each["kind"] == "moved"]
    (around,) = (each for each in found if each["kind"] == "around")
    assert around["text"] == "JetPack 6.2 -> 6.3" and around["night"] == DAYS[20]


def test_nights_that_were_disturbed_or_missing_are_of_no_level():
    values = tuple(100.0 if 20 <= n < 25 else None if n == 3 else 10.0 + n % 2 / 100 for n in range(30))
    usable = tuple(not 20 <= n < 25 for n in range(30))
    found = list(chronicles.marks(series(values=values, usable=usable), 0))
    assert len([each for each in found if each["kind"] == "level"]) == 1
    points = [each for each in found if each["kind"] == "point"]
    assert len(points) == 29 and sum(not each["usable"] for each in points) == 5


def test_a_series_of_nothing_and_one_of_a_single_night_are_drawn():
    nothing, one = series(values=(None,) * 30), series(values=(None,) * 29 + (10.0,))
    points = data_of(page_of(nothing, one))["points"]
    assert [each["value"] for each in points["series"]] == [[], [10.0]]


def test_points_are_columns_with_the_nights_of_all_series_once():
    values = (*(None,) * 27, 10.0, 123456.789, 10.5)
    found = (series(values=values, usable=(*(True,) * 28, False, True)), series(level=3.0))
    points = chronicles.points(found, DAYS[26])
    assert points["nights"] == list(DAYS[26:])
    one, two = points["series"]
    assert (one["at"], one["value"], one["off"]) == ([1, 2, 3], [10.0, 123457.0, 10.5], [1])
    assert two["at"] == [0, 1, 2, 3] and len(two["low"]) == len(two["high"]) == 4 and two["off"] == []


def test_what_has_no_room_is_left_out_from_the_last_in_rank_and_the_oldest_night_and_that_is_said():
    found = [series(f"pi{n}") for n in range(4)]
    fits = room.of(found, (2, 0, 1, 3), series=3, values=30)
    assert fits.series == (2, 0, 1) and fits.begin == DAYS[20]
    assert fits.note == (
        "3 of 4 series are on this page: those that changed last. Figures have the newest 10 of 30 nights; levels rest on all."
    )
    assert room.of(found, (0, 1, 2, 3)) == room.Room((0, 1, 2, 3), DAYS[0], "")
    assert room.of((), ()) == room.Room((), "", "")


def test_levels_and_cuts_before_the_first_night_that_is_drawn_are_left_out():
    drawn = list(chronicles.lines(series(step=20, breaks={5: "upgrade"}), 0, DAYS[24]))
    assert [(each["kind"], each["night"]) for each in drawn if each["kind"] != "margin"] == [("level", DAYS[24])]


def test_an_axis_is_never_so_narrow_that_rounding_fills_it():
    for level in (98.518518, 3.1e-7, 0.0):
        flat = list(chronicles.lines(series(values=(level,) * 30), 0))
        low, high = (each["value"] for each in flat if each["kind"] == "margin")
        assert low < level < high and high - low >= 0.019 * level


def test_small_numbers_have_a_power_of_ten_and_what_has_no_unit_no_brackets():
    text = page_of(series(values=(3.1e-7,) * 30, unit_="", quantity_="fold error"))
    assert "3.100e-07" in text and "()" not in data_of(text)["panels"]["0"]


def test_a_fact_of_a_series_without_room_stands_without_it(monkeypatch):
    monkeypatch.setattr(room, "SERIES", 1)
    monkeypatch.setattr(room.of, "__defaults__", (1, room.VALUES))
    section = Section("Missing", "warning", "Did not arrive.", (Fact("calm", "it is gone", (0,)),))
    text = page_of(series("calm"), series("said", tonight="+10.0 %"), sections=[section])
    assert "it is gone" in text and len(data_of(text)["rows"]["rows"]) == 1


def test_the_figure_is_vega_lite_that_compiles():
    shown = list(chronicles.marks(series(step=20, breaks={5: "upgrade"}, told={21: "+10 %"}), 0))
    spec = {**chronicles.figure(), "width": 300, "datasets": {"shown": shown}}
    drawn = vl_convert.vegalite_to_svg({**spec, "config": {"range": {"category": ["#000", "#111", "#222"]}}})
    assert ">upgrade<" in drawn and "+10.0 %<" in drawn


def test_what_is_said_tonight_comes_first_then_what_moved_last_and_facts_find_their_series():
    found = (series("calm"), series("early", step=10), series("late", step=20), series("said", tonight="+10.0 %"))
    text = page_of(*found, sections=[Section("Regressions", "error", "Confirmed.", (Fact("early", "it rose", (1,)),))])
    keys, rows = data_of(text)["rows"].values()
    assert [row[keys.index("device")] for row in rows] == ["said", "late", "early", "calm"]
    assert 'data-rows="2"' in text


def test_names_with_markup_in_them_are_text():
    text = page_of(series(EVIL, told={3: EVIL}), sections=[Section(EVIL, "error", EVIL, (Fact(EVIL, EVIL, (0,)),))])
    assert "<img" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


@pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium: apt-get install chromium")
def test_a_browser_draws_it_without_a_word_and_filters_it(tmp_path):
    found = (series("pi4"), series(EVIL, step=20, tonight="+10.0 %"))
    section = Section("Regressions", "error", "Confirmed.", (Fact(EVIL, "it rose", (1,)),))
    file = nights.write("Get up.", "Night 2026-01-30.", [section], found, tmp_path / "night.html")
    with browser.chromium() as chrome, browser.opened(chrome, file) as opened:
        opened.draw_all()
        page = opened.page
        assert page.locator("figure:visible").count() == 2 and page.locator("img").count() == 0
        page.get_by_label("pi4", exact=True).uncheck()
        assert page.locator("figure:visible").count() == 1 and page.locator("#table tbody tr:visible").count() == 1
        assert page.locator("#found").inner_text().startswith("1 fact;")
        assert opened.errors() == [] and opened.asked == [file.as_uri()]

"""What the page of a night draws of real nights: every row's series, with what was known of breaks and what was told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import made_nights
import pytest
from test_judging import NIGHTS, OTHER, ROW, Lab, slower, write_sizes

from harness.nights import gallery, history, series
from harness.nights.past import Past
from harness.records.nights import RowOutcome
from harness.report.page.chronicles import Chronicle


def chronicles(lab: Lab) -> dict[tuple[str, str, str], Chronicle]:
    *earlier, last = lab.nights
    past = Past(earlier)
    found = history.chronicles(series.all_rows(last, past, series.Cases(lab.results)), last, past)
    assert gallery.write(last, found, lab.results / "night.html").stat().st_size > 10_000
    return {(each.row.split(" ")[0], each.rung, each.quantity): each for each in found}


def test_a_series_has_its_values_with_intervals_and_what_was_confirmed_and_when(tmp_path: Path) -> None:
    lab = Lab(tmp_path, factor=slower(NIGHTS - 3, 1.1)).made()
    since = lab.nights[-3].night
    lab.nights[-1] = replace(lab.nights[-1], changes=(made_nights.change(ROW, 1.1, rung="easier 1", since=since),))
    drawn = chronicles(lab)["resnet18", "easier 1", "latency"]
    assert len(drawn.nights) == drawn.measured == NIGHTS and drawn.nights[0].startswith("2026-10-01T02:00")
    assert list(drawn.told) == [NIGHTS - 3] and drawn.tonight.startswith("+10.0 %")
    for value, low, high in zip(drawn.values, drawn.low, drawn.high, strict=True):
        assert low is not None and value is not None and high is not None and low < value < high


def test_values_are_drawn_in_the_unit_in_which_they_are_read_most_easily(tmp_path: Path) -> None:
    drawn = chronicles(Lab(tmp_path).made())
    assert {each.unit for key, each in drawn.items() if key[2] == "latency"} == {"ms"}
    latency, accuracy = drawn["resnet18", "easier 0", "latency"], drawn["resnet18", "easier 0", "accuracy"]
    assert 1 < (latency.newest or 0) < 100 and accuracy.unit == "%" and 90 < (accuracy.newest or 0) <= 100


def test_an_upgrade_stands_in_words_where_the_series_begins_anew(tmp_path: Path) -> None:
    def upgraded(n: int, came: RowOutcome) -> RowOutcome:
        return replace(came, there={"kernel": "6.2"}) if n >= NIGHTS - 2 else came

    drawn = chronicles(Lab(tmp_path, came=upgraded).made())["resnet18", "easier 0", "latency"]
    assert drawn.breaks == {NIGHTS - 2: "kernel 6.1 -> 6.2"}


def test_rows_that_were_fresh_or_missing_tonight_are_drawn_all_the_same(tmp_path: Path) -> None:
    def came(n: int, each: RowOutcome) -> RowOutcome:
        if n < NIGHTS - 1:
            return each
        return replace(each, outcome="fresh" if each.row == OTHER else "unreachable", run=None)

    drawn = chronicles(Lab(tmp_path, rows=(ROW, OTHER), came=came).made())
    fresh, away = drawn["vgg16_bn", "easier 0", "latency"], drawn["resnet18", "easier 0", "latency"]
    assert len(fresh.nights) == fresh.measured == NIGHTS - 1
    assert len(away.nights) == NIGHTS and away.measured == NIGHTS - 1 and away.values[-1] is None


def test_sizes_of_artifacts_are_drawn_of_every_night_whose_job_can_be_read(tmp_path: Path) -> None:
    lab = Lab(tmp_path).made(5)
    write_sizes(lab, lambda n: 1000 + n)
    damaged = ("{", '{"cases": [{"case_id": "a", "artifact": {"size_bytes": "9"}}]}')
    for night, text in zip(lab.nights[1:], damaged, strict=False):
        (tmp_path / "local" / str(night.rows[0].run) / "jobs" / "onnxruntime" / "job.json").write_text(text)
    drawn = chronicles(lab)["resnet18", "easier 1", "artifact size"]
    assert drawn.values == pytest.approx((1.0, None, None, 1.003, 1.004)) and drawn.unit == "kB"

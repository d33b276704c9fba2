"""A matrix that changes between nights: what left is not missed, what comes back goes on, new names and canaries begin anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import made_nights
from test_judging import CANARY, NIGHTS, OTHER, ROW, Lab, named, slower

from harness.nights import judging, series
from harness.nights.facts import facts
from harness.nights.past import Past
from harness.records.nights import MatrixRow

NEW_CANARY = made_nights.row("local", model="vgg16_bn", method="order", canary=True)


def without(of: MatrixRow, nights: set[int], lab: Lab) -> Lab:
    """The lab with a row that stood in no matrix on some nights."""
    for n in nights:
        night = lab.nights[n]
        lab.nights[n] = replace(night, rows=tuple(each for each in night.rows if each.row != of))
    return lab


def judged(lab: Lab, again: float | None = None) -> judging.Judged:
    return lab.judged(again=again, of=ROW)


def test_a_row_that_left_the_matrix_is_neither_missing_nor_judged(tmp_path: Path) -> None:
    lab = without(OTHER, {NIGHTS - 1}, Lab(tmp_path, rows=(CANARY, ROW, OTHER)).made())
    assert "vgg16_bn" not in {each.row.model for each in judged(lab).moved}
    assert not facts(lab.nights[-1]).absent
    *earlier, last = lab.nights
    assert OTHER.key not in {each.row.key for each in series.all_rows(last, Past(earlier), series.Cases(tmp_path))}


def test_a_row_that_comes_back_goes_on_where_it_was_and_is_not_new(tmp_path: Path) -> None:
    lab = Lab(tmp_path, rows=(CANARY, ROW), factor=slower(NIGHTS - 2, 1.1, ROW)).made()
    found = judged(without(ROW, set(range(NIGHTS - 6, NIGHTS - 2)), lab), again=1.1)
    assert named(found.confirmed) == {("resnet18", "easier 0", "latency"), ("resnet18", "easier 1", "latency")}
    assert Past(lab.nights[:-1]).of(ROW.key)


def test_another_canary_is_another_series_and_the_old_one_is_not_missed(tmp_path: Path) -> None:
    lab = Lab(tmp_path, rows=(CANARY, NEW_CANARY, ROW), factor=slower(NIGHTS - 2, 1.1, ROW)).made()
    lab = without(CANARY, {NIGHTS - 1}, without(NEW_CANARY, set(range(NIGHTS - 1)), lab))
    found = judged(lab, again=1.1)
    assert not found.blamed and not found.confirmed and not facts(lab.nights[-1]).absent
    assert "fewer than 3 nights" in found.waiting["local"]


def test_a_device_of_another_name_is_another_device(tmp_path: Path) -> None:
    past = Past(Lab(tmp_path).made(4).nights)
    assert past.measured(ROW.key) and not past.measured(replace(ROW, device="box").key)


def test_a_night_whose_runs_were_deleted_by_hand_has_no_value_and_costs_no_other(tmp_path: Path) -> None:
    lab = Lab(tmp_path, rows=(CANARY, ROW), factor=slower(NIGHTS - 2, 1.1, ROW)).made()
    for n in (3, 9):
        for came in lab.nights[n].rows:
            (tmp_path / "local" / str(came.run) / "run.json").unlink()
    found = judged(lab, again=1.1)
    assert len(found.confirmed) == 2 and not found.blamed

"""What seems to have changed is measured again, canaries first, and a device that is to blame is spared the rest."""

from __future__ import annotations

from pathlib import Path

from test_judging import CANARY, NIGHTS, OTHER, ROW, Lab, absent_canary, slower

from harness.nights import book, night
from harness.nights.past import Past
from harness.records.nights import MatrixRow, Night
from harness.store import nights


def confirmed(lab: Lab, factor: float) -> tuple[Night, list[set[str]]]:
    """Confirm the last night of a lab, whose devices are so many times slower when they are asked again; and what was asked."""
    *earlier, last = lab.nights
    nights.save(lab.results, last)
    mine, asked = book.Book(lab.results, last), list[set[str]]()

    def again(keys: set[str]) -> None:
        asked.append(keys)
        for came in mine.night.rows:
            if came.row.key in keys:
                mine.add(lab.repeated(came, factor))

    night.confirm(mine, Past(earlier), again)
    assert nights.nights(lab.results) == (mine.night,)
    return mine.night, asked


def models(of: Night) -> set[str]:
    return {change.row.model for change in of.changes}


def keys(*rows: MatrixRow) -> set[str]:
    return {row.key for row in rows}


def test_where_nothing_seems_to_change_nothing_is_measured_again(tmp_path: Path) -> None:
    found, asked = confirmed(Lab(tmp_path, rows=(CANARY, ROW)).made(), 1.0)
    assert not asked and not found.changes and not found.suspected and not found.blamed


def test_rows_that_seem_to_have_changed_are_measured_again_and_only_these(tmp_path: Path) -> None:
    lab = Lab(tmp_path, rows=(CANARY, ROW, OTHER), factor=slower(NIGHTS - 2, 1.1, ROW)).made()
    found, asked = confirmed(lab, 1.1)
    assert asked == [keys(ROW)] and models(found) == {"resnet18"} and not found.suspected
    assert [bool(came.again) for came in found.rows] == [False, True, False]


def test_what_a_second_run_does_not_show_stays_a_suspicion(tmp_path: Path) -> None:
    lab = Lab(tmp_path, rows=(CANARY, ROW), factor=slower(NIGHTS - 1, 1.1, ROW)).made()
    found, asked = confirmed(lab, 1.0)
    assert asked == [keys(ROW)] and not found.changes


def test_a_canary_is_measured_again_first_and_its_device_s_other_rows_are_not_where_it_moved(tmp_path: Path) -> None:
    lab = Lab(tmp_path, rows=(CANARY, ROW, OTHER), factor=slower(NIGHTS - 2, 1.1)).made()
    found, asked = confirmed(lab, 1.1)
    assert asked == [keys(CANARY)]
    assert set(found.blamed) == {"local"} and models(found) == {"tiny"} and not found.suspected


def test_where_the_canary_s_second_run_is_as_it_was_the_other_rows_are_measured_again_after_it(tmp_path: Path) -> None:
    lab = Lab(tmp_path, rows=(CANARY, ROW), factor=slower(NIGHTS - 1, 1.1)).made()
    found, asked = confirmed(lab, 1.0)
    assert asked == [keys(CANARY), keys(ROW)] and not found.blamed and not found.changes


def test_where_no_canary_vouches_nothing_is_measured_again_for_it_could_not_be_confirmed(tmp_path: Path) -> None:
    lab = Lab(tmp_path, rows=(CANARY, ROW), factor=slower(NIGHTS - 2, 1.1, ROW), came=absent_canary).made()
    found, asked = confirmed(lab, 1.1)
    assert not asked and not found.changes and models_of(found) == {"resnet18"}
    assert found.waiting == {"local": "its canary was not measured, failed: no space"}


def models_of(found: Night) -> set[str]:
    """Models of what was seen and not confirmed."""
    return {change.row.model for change in found.suspected}


def test_a_calibration_that_cannot_be_read_is_told_and_judged_without(tmp_path: Path) -> None:
    lab = Lab(tmp_path, rows=(CANARY, ROW), factor=slower(NIGHTS - 2, 1.1, ROW)).made()
    (tmp_path / "local" / "calibration.json").write_text("{")
    found, asked = confirmed(lab, 1.1)
    assert asked == [keys(ROW)] and models(found) == {"resnet18"}
    (note,) = found.annotations["local"]
    assert "calibration.json: damaged" in note and note.endswith("changes count from 2 % on")

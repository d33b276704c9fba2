"""Nights on disk that never were: what is timed with them is what a real night would do."""

from __future__ import annotations

from scripts import stored_year


def test_its_nights_are_judged_and_drawn_with_all_their_series(tmp_path, capsys):
    stored_year.written(tmp_path, 2)
    stored_year.timed(tmp_path / "results", tmp_path / "night.html")
    assert "300 series" in capsys.readouterr().out
    assert "Nobody has to get up" in (tmp_path / "night.html").read_text()

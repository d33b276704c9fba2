"""What is due tonight: what is missing or stale by content, and nothing else; each with its reason in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from made_nights import change as made_change
from made_nights import night

from harness import content, inventory
from harness.nights import due, identity, matrix
from harness.nights.matrix import Laid
from harness.nights.past import Past
from harness.records.nights import Night, Outcome, PlannedRow, RowOutcome

INVENTORY = """\
devices: {one: {profile: host, runtimes: [empty]}}
nightly:
  matrix: [{devices: [one], models: [tiny, resnet18], methods: [order]}]
"""
TODAY = date(2026, 11, 22)


@pytest.fixture
def rows(tmp_path: Path) -> tuple[Laid, ...]:
    file = tmp_path / "inventory.yaml"
    file.write_text(INVENTORY)
    devices, found = inventory.nightly(file)
    return matrix.lay(found, devices)


def earlier(results: Path, laid: Laid, day: str, outcome: Outcome = "measured", **more: object) -> Night:
    """A night on which a row came to something, with its run where it was measured."""
    assert laid.plan is not None
    came = RowOutcome(laid.row, outcome, seconds=60.0, here=identity.here(laid.plan, laid.device))
    if outcome == "measured":
        came = replace(came, run=f"{day}-{laid.row.model}", **more)  # type: ignore[arg-type]
        folder = results / laid.row.device / f"{day}-{laid.row.model}"
        folder.mkdir(parents=True)
        (folder / "run.json").touch()
    return night(came, night=f"{day}-1", began=f"{day}T23:59:59+00:00")


def planned(
    rows: tuple[Laid, ...], results: Path, *nights: Night, max_age_days: int | None = None
) -> tuple[PlannedRow, ...]:
    return due.plan(rows, Past(nights), results, TODAY, max_age_days)


def reasons(found: tuple[PlannedRow, ...]) -> list[tuple[str, str, str]]:
    return [(each.row.model, each.due, each.reason) for each in found if not each.row.canary]


def test_what_was_never_measured_is_due_and_the_canary_always(rows: tuple[Laid, ...], tmp_path: Path) -> None:
    found = planned(rows, tmp_path, earlier(tmp_path, rows[0], "2026-11-21"))
    assert found[0].row.canary and (found[0].due, found[0].reason) == ("due", "the canary: every night")
    assert reasons(found) == [("tiny", "due", "never measured"), ("resnet18", "due", "never measured")]
    assert [each.expected_s for each in found] == [60.0, None, None]


def test_what_did_not_change_is_fresh_with_its_run_and_what_waits_longest_comes_first(
    rows: tuple[Laid, ...], tmp_path: Path
) -> None:
    found = planned(rows, tmp_path, earlier(tmp_path, rows[1], "2026-11-01"))
    assert reasons(found) == [
        ("resnet18", "due", "never measured"),
        ("tiny", "fresh", "nothing changed since 2026-11-01-1"),
    ]
    assert found[2].run == "2026-11-01-tiny"


def test_a_row_is_due_again_after_as_many_nights_as_were_said_counted_by_their_days(
    rows: tuple[Laid, ...], tmp_path: Path
) -> None:
    nights = [earlier(tmp_path, rows[1], "2026-11-21"), earlier(tmp_path, rows[2], "2026-11-22")]
    found = planned(rows, tmp_path, *nights, max_age_days=1)
    assert reasons(found)[0] == ("tiny", "due", "measured 1 night ago")  # though it is minutes past midnight
    assert reasons(found)[1][1] == "fresh"


def test_what_was_measured_by_a_clock_that_ran_ahead_does_not_stay_fresh_until_then(
    rows: tuple[Laid, ...], tmp_path: Path
) -> None:
    nights = [earlier(tmp_path, rows[1], "2036-01-01"), earlier(tmp_path, rows[2], "2026-11-20")]
    assert sorted(reasons(planned(rows, tmp_path, *nights, max_age_days=5))) == [
        ("resnet18", "fresh", "nothing changed since 2026-11-20-1"),
        ("tiny", "due", "measured on 2036-01-01, which is yet to come: a clock was wrong"),
    ]
    assert {each[1] for each in reasons(planned(rows, tmp_path, *nights))} == {"fresh"}


@pytest.mark.parametrize(
    "state, reason", [("contended", "due"), ("throttled", "due"), ("noisy", "fresh"), ("", "fresh")]
)
def test_a_row_whose_run_was_disturbed_is_due_for_such_a_run_decides_nothing(
    rows: tuple[Laid, ...], tmp_path: Path, state: str, reason: str
) -> None:
    (found,) = reasons(planned(rows[1:2], tmp_path, earlier(tmp_path, rows[1], "2026-11-20", state=state)))
    assert found[1] == reason and (reason == "fresh" or found[2] == f"its run of 2026-11-20-1 was {state}")


def test_what_seemed_to_have_changed_is_due_though_nothing_changed_for_a_second_night_decides(
    rows: tuple[Laid, ...], tmp_path: Path
) -> None:
    doubtful = earlier(tmp_path, rows[1], "2026-11-21")
    for quantity, state in (("latency", "due"), ("artifact size", "fresh")):
        change = made_change(rows[1].row, quantity=quantity)
        found = planned(rows[1:2], tmp_path, replace(doubtful, suspected=(change,)))
        assert reasons(found)[0][1] == state
    found = planned(rows[1:2], tmp_path, replace(doubtful, suspected=(made_change(rows[1].row),)))
    assert reasons(found) == [("tiny", "due", "it seemed to have changed on 2026-11-21-1")]
    later = earlier(tmp_path, rows[1], "2026-11-22")
    assert reasons(planned(rows[1:2], tmp_path, replace(doubtful, suspected=(change,)), later))[0][1] == "fresh"


def test_a_row_whose_last_try_failed_and_one_whose_run_is_gone_are_due(rows: tuple[Laid, ...], tmp_path: Path) -> None:
    nights = [
        earlier(tmp_path, rows[1], "2026-11-20"),
        earlier(tmp_path, rows[2], "2026-11-20"),
        earlier(tmp_path, rows[1], "2026-11-21", "failed"),
        earlier(tmp_path, rows[2], "2026-11-21", "unreachable"),
    ]
    (tmp_path / "one" / "2026-11-20-resnet18" / "run.json").unlink()
    found = planned(rows, tmp_path, *nights)
    assert reasons(found) == [
        ("tiny", "due", "failed when it was last tried"),
        ("resnet18", "due", "its run 2026-11-20-resnet18 is gone"),
    ]


def test_an_excluded_row_is_never_due_and_keeps_its_reason(rows: tuple[Laid, ...], tmp_path: Path) -> None:
    excluded = replace(rows[1], plan=None, excluded="too slow; issue 3")
    found = planned((rows[0], excluded), tmp_path)
    assert reasons(found) == [("tiny", "excluded", "too slow; issue 3")]


def test_a_network_whose_source_changes_is_due_and_no_other(
    rows: tuple[Laid, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = [earlier(tmp_path, rows[1], "2026-11-20"), earlier(tmp_path, rows[2], "2026-11-20")]
    own = tmp_path / "content" / "models"
    own.mkdir(parents=True)
    for name in ("tiny.py", "_resnet.py"):
        (own / name).write_text((content.ROOT / "models" / name).read_text() + "# another\n" * (name == "tiny.py"))
    monkeypatch.setenv("HARNESS_CONTENT", str(own.parent))
    found = planned(rows, tmp_path, *nights)
    assert sorted(reasons(found)) == [
        ("resnet18", "fresh", "nothing changed since 2026-11-20-1"),
        ("tiny", "due", "what its networks are made of changed"),
    ]


def test_an_upgrade_here_is_due_in_words_and_begins_a_segment(rows: tuple[Laid, ...], tmp_path: Path) -> None:
    before = earlier(tmp_path, rows[1], "2026-11-20")
    (came,) = before.rows
    old = {**came.here, "torch here": "2.12.0", "network": "other"}  # torch is part of the network's digest
    found = planned(rows[1:2], tmp_path, replace(before, rows=(replace(came, here=old),)))
    assert reasons(found) == [("tiny", "due", f"torch here 2.12.0 -> {came.here['torch here']}")]
    assert identity.breaks(old, came.here) and not identity.breaks({**came.here, "network": "other"}, came.here)


def test_an_upgrade_on_the_device_is_told_in_words(rows: tuple[Laid, ...], tmp_path: Path) -> None:
    was = {"kernel": "6.1", "onnxruntime": "1.22.0", "serial": "1"}
    past = Past([earlier(tmp_path, rows[1], "2026-11-20", there=was)])
    key = rows[1].row.key
    assert due.upgraded(past, key, was) == ()
    now = {"kernel": "6.1", "onnxruntime": "1.23.0", "serial": "2"}
    assert due.upgraded(past, key, now) == ("onnxruntime 1.22.0 -> 1.23.0", "serial 1 -> 2")
    assert due.upgraded(past, key, {"kernel": "6.1", "onnxruntime": "1.22.0"}) == ("serial 1 -> unknown",)
    assert due.upgraded(past, rows[2].row.key, now) == ()


def test_how_a_row_is_measured_is_part_of_what_it_is(rows: tuple[Laid, ...]) -> None:
    laid = rows[1]
    assert laid.plan is not None
    now = identity.here(laid.plan, laid.device)
    other = identity.here(replace(laid.plan, threads=3), laid.device)
    assert identity.changes(now, other) == ("how it is measured changed",) and identity.breaks(now, other)
    options = identity.here(replace(laid.plan, options={"a": "b"}), laid.device)
    assert identity.changes(now, options) == ("how it is built changed",)


def test_what_a_row_will_take_is_the_median_of_what_it_took(rows: tuple[Laid, ...], tmp_path: Path) -> None:
    nights = []
    for n, seconds in enumerate((10.0, 90.0, 20.0)):
        made = earlier(tmp_path, rows[1], f"2026-11-0{n + 1}")
        nights.append(replace(made, rows=(replace(made.rows[0], seconds=seconds),)))
    failed = earlier(tmp_path, rows[1], "2026-11-09", "failed")
    assert Past([*nights, failed]).expected_s(rows[1].row.key) == 20.0

"""Raw samples go only where someone asked, only of old whole runs, and never half."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import made_nights
import pytest
from typer.testing import CliRunner

from harness import content, findings, report, store, stored
from harness.cli import app
from harness.errors import StoreError, UsageError
from harness.nights import retention

EXAMPLE = content.ROOT / "results" / "examples" / "local" / "20261121T063146Z-b45a"
RAW = ("jobs/onnxruntime/events.jsonl", "samples.parquet")
LATER = datetime(2027, 6, 1, tzinfo=UTC)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLE, tmp_path / "results" / "local" / EXAMPLE.name)
    return tmp_path / "results"


def only(results: Path) -> Path:
    (folder,) = store.folders(results)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


@pytest.mark.slow
def test_what_was_computed_stays_and_raw_samples_go(results: Path) -> None:
    folder = only(results)
    before, shown = files_of(folder), report.to_json(stored.load(folder))
    done = retention.thin(results, 30, LATER)
    after = files_of(folder)
    assert done.runs == (folder,) and done.freed_bytes == sum(len(before[name]) for name in RAW) and not done.kept
    assert before.keys() - after.keys() == set(RAW) and after.keys() - before.keys() == {
        "thinned.json",
        "medians.parquet",
    }
    assert report.to_json(stored.load(folder)) == shown
    assert all(after[name] == before[name] for name in before.keys() & after.keys() - {"run.json"})


@pytest.mark.slow
def test_the_analysis_of_now_has_a_last_look_before_the_samples_go(results: Path) -> None:
    folder = only(results)
    assert store.load(folder).analysis_version < findings.ANALYSIS_VERSION
    now = stored.load(folder)
    retention.thin(results, 30, LATER)
    kept = store.load(folder)
    assert (kept.cases, kept.findings, kept.verdict) == (now.cases, now.findings, now.verdict)
    assert report.to_json(kept) == report.to_json(now)
    mark = store.thinned(folder)
    assert mark is not None and mark.analysis_version == findings.ANALYSIS_VERSION
    assert set(mark.removed) == set(RAW) and len(mark.removed["samples.parquet"]["sha256"]) == 64


def test_a_later_analysis_leaves_a_thinned_run_as_it_was_computed(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retention.thin(results, 30, LATER)
    folder = only(results)
    kept = store.load(folder)
    monkeypatch.setattr(findings, "ANALYSIS_VERSION", findings.ANALYSIS_VERSION + 1)
    assert stored.load(folder) == kept


def test_medians_and_tails_per_process_are_those_of_the_samples(results: Path) -> None:
    folder = only(results)
    samples = store.frames(folder).samples
    assert not len(store.frames(folder).medians)
    retention.thin(results, 30, LATER)
    frames = store.frames(folder)
    keys = ["case_id", "block", "replicate", "attempt"]
    timed = samples[samples.phase == "timed"].astype({"latency_ns": float})
    expected = timed.groupby(keys).latency_ns
    found = frames.medians.set_index(keys).sort_index()
    assert (found.median_ns == expected.median()).all() and (found.inferences == expected.size()).all()
    assert (found.p99_ns == expected.quantile(0.99)).all() and len(found) == len(frames.processes)
    assert not len(frames.samples) and list(frames.samples.columns) == list(samples.columns) and len(frames.state)


@pytest.mark.slow
def test_what_needs_samples_says_that_they_were_thinned(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    retention.thin(results, 30, LATER)
    folder = str(only(results))
    for words in (
        ["plot", folder, "--kind", "distribution"],
        ["compare", folder, folder],
        ["archive", folder, "--out", str(results / "a.zip")],
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 1 and "its raw samples were thinned on" in done.output, (words, done.output)
    for words in (["show", folder], ["show", folder, "--json"], ["show", "--results", str(results), "--where", "true"]):
        assert CliRunner().invoke(app, words).exit_code == 0
    assert "raw samples were thinned" not in CliRunner().invoke(app, ["show", folder]).output


def test_young_and_future_runs_keep_their_samples_without_a_word(results: Path) -> None:
    created = datetime.fromisoformat(store.load(only(results)).created)
    for now in (created + timedelta(days=29), created - timedelta(days=400)):
        assert retention.thin(results, 30, now) == retention.Thinned()
    assert len(retention.thin(results, 30, created + timedelta(days=31), dry_run=True).runs) == 1


def test_a_dry_run_tells_and_touches_nothing(results: Path) -> None:
    before, told = files_of(only(results)), list[Path]()
    done = retention.thin(results, 30, LATER, dry_run=True, tell=told.append)
    assert done.freed_bytes == sum(len(before[name]) for name in RAW) and told == [only(results)]
    assert files_of(only(results)) == before


@pytest.mark.parametrize("days", [0, 0.5, -1, float("nan")])
def test_less_than_a_day_is_a_slip_of_the_finger(results: Path, days: float) -> None:
    with pytest.raises(UsageError, match="kept for a day at least"):
        retention.thin(results, days, LATER)


def test_examples_are_never_touched(tmp_path: Path) -> None:
    assert retention.thin(content.ROOT / "results" / "examples", 30, LATER) == retention.Thinned()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "local").symlink_to(EXAMPLE.parent)
    assert retention.thin(tmp_path / "results", 30, LATER) == retention.Thinned()


def test_a_run_at_which_another_is_at_work_is_kept_and_the_others_go_on(results: Path) -> None:
    folder = only(results)
    other = results / "other" / folder.name
    shutil.copytree(folder, other)
    with store.held(folder):
        done = retention.thin(results, 30, LATER)
    assert done.runs == (other,) and "another harness is at work on this run" in done.kept[folder]
    assert (folder / "samples.parquet").exists()


def test_a_run_that_is_not_done_is_kept(results: Path) -> None:
    store.save(only(results), replace(store.load(only(results)), status="interrupted"))
    done = retention.thin(results, 30, LATER)
    assert not done.runs and "is interrupted" in done.kept[only(results)]


def damaged_journal(folder: Path) -> None:
    file = folder / RAW[0]
    file.write_bytes(file.read_bytes()[:-3000])


def damaged_samples(folder: Path) -> None:
    file = folder / RAW[1]
    file.write_bytes(file.read_bytes()[:1000])


def damaged_record(folder: Path) -> None:
    (folder / "run.json").write_text("{}")


def linked_journal(folder: Path) -> None:
    (folder / RAW[0]).rename(folder.parent / "elsewhere.jsonl")
    (folder / RAW[0]).symlink_to(folder.parent / "elsewhere.jsonl")


@pytest.mark.parametrize("damage", [damaged_journal, damaged_samples, damaged_record])
def test_a_run_with_a_damaged_part_keeps_what_is_left_of_it(results: Path, damage: Callable[[Path], None]) -> None:
    folder = only(results)
    damage(folder)
    before = files_of(folder)
    done = retention.thin(results, 30, LATER)
    assert not done.runs and folder in done.kept and files_of(folder) == before


def test_what_a_link_points_at_is_not_removed(results: Path) -> None:
    linked_journal(only(results))
    retention.thin(results, 30, LATER)
    assert (only(results).parent / "elsewhere.jsonl").stat().st_size > 1_000_000


def test_thinning_again_does_nothing_and_a_mark_of_a_newer_program_is_refused(results: Path) -> None:
    retention.thin(results, 30, LATER)
    after = files_of(only(results))
    assert retention.thin(results, 30, LATER) == retention.Thinned() and files_of(only(results)) == after
    mark = only(results) / "thinned.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "schema": 2}))
    with pytest.raises(StoreError, match="reads up to 1"):
        store.thinned(only(results))
    mark.write_text("[]")
    with pytest.raises(StoreError, match="damaged"):
        store.thinned(only(results))


def test_where_nothing_can_be_written_the_run_stays_as_it_was(results: Path) -> None:
    before = files_of(only(results))

    def on_a_full_disk() -> bool:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        done = retention.thin(results, 30, LATER)
        return not done.runs and "cannot be written" in "".join(done.kept.values())

    assert in_a_child(on_a_full_disk) == 0
    assert files_of(only(results)) == before


def in_a_child(act: Callable[[], bool]) -> int:
    """Do it in a process of its own: 0 where it says so, minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if act() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.slow
def test_whenever_it_is_killed_a_run_has_all_its_samples_or_says_that_it_was_thinned(
    results: Path, tmp_path: Path
) -> None:
    whole = files_of(only(results))
    shown = report.to_json(stored.load(only(results)))
    marked, moment = False, 0
    while True:
        place = tmp_path / f"killed-{moment}"
        shutil.copytree(results, place)
        code = in_a_child(lambda place=place, moment=moment: killed_at(place, moment))
        folder = only(place)
        left = {name: data for name, data in files_of(folder).items() if ".tmp-" not in name}
        if store.thinned(folder) is None:
            assert not marked and {name: left.get(name) for name in RAW} == {name: whole[name] for name in RAW}
        marked = store.thinned(folder) is not None
        assert report.to_json(stored.load(folder)) == shown
        retention.thin(place, 30, LATER)
        assert not store.raw(folder) and len(store.frames(folder).medians) and not list(folder.glob(".tmp-*"))
        shutil.rmtree(place)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        moment += 1
    assert marked and moment >= 8  # a few moments at least at which something was written, renamed or removed


def killed_at(results: Path, moment: int) -> bool:
    """Thin, but be killed right before the n-th time that anything of the run is written, renamed or removed."""
    left = moment

    def hook(event: str, words: tuple[object, ...]) -> None:
        nonlocal left
        writes = event in ("os.rename", "os.remove", "os.truncate") or (
            event == "open" and isinstance(words[2], int) and words[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if writes and str(results) in str(words[0]):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(hook)
    return bool(retention.thin(results, 30, LATER).runs)


@pytest.mark.parametrize(
    "began, is_doubted",
    [
        ("2026-11-21T02:00:00+00:00", False),
        ("2026-11-19T20:00:00+00:00", False),  # set back by hours: ages are told well enough
        ("2026-12-20T02:00:00+00:00", False),  # a month without nights
        ("2036-11-21T02:00:00+00:00", True),
        ("1970-01-01T00:00:10+00:00", True),
    ],
)
def test_where_a_clock_seems_to_have_been_set_between_two_nights_nothing_is_given_up(
    began: str, is_doubted: bool
) -> None:
    before = made_nights.night(number=4, began="2026-11-20T02:00:00+00:00")
    older = made_nights.night(number=3, began="2026-11-19T02:00:00+00:00")
    tonight = made_nights.night(number=5, began=began)
    now = datetime.fromisoformat(began) + timedelta(hours=6)
    said = retention.doubt((older, before, tonight), tonight, 7, now)
    assert bool(said) is is_doubted and ("a clock may be wrong" in said) is is_doubted
    assert not retention.doubt((tonight,), tonight, 7, now)


@pytest.mark.parametrize(
    "lasted, is_doubted", [(timedelta(hours=9), False), (timedelta(days=3650), True), (timedelta(days=-3), True)]
)
def test_where_a_clock_was_set_in_mid_night_nothing_is_given_up(lasted: timedelta, is_doubted: bool) -> None:
    tonight = made_nights.night(number=1)
    said = retention.doubt((tonight,), tonight, 30, datetime.fromisoformat(tonight.began) + lasted)
    assert ("a clock may be wrong" in said) is is_doubted

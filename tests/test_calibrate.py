"""What a device can resolve: judged as a run judges, stored whole, quoted with its age."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from command import Cli

from harness import calibrate, calibration, jobs, store, wire
from harness.calibration import Calibration, Measured, Rate
from harness.errors import StoreError
from harness.records import Plan, Run

EMPTY = wire.FileRef("0" * 64, 0)


def job(labels: list[str]) -> wire.Job:
    cases = tuple(
        wire.JobCase(f"{n:016x}", label, EMPTY, EMPTY, 1e-4, "fp32", 1, 1, replicates=3 if n == 0 else 1)
        for n, label in enumerate(labels)
    )
    pairs = tuple((case.case_id, cases[0].case_id) for case in cases[1:])
    return wire.Job("run", "job", "empty", 0, cases, pairs, calibrate.protocol())


def measured(labels: list[str], slower: dict[str, float], seed: int = 0, noise: float = 0.003) -> Measured:
    """A job of ten blocks in which each network takes 100 us, and some are slower by a fraction."""
    rng, asked, events = np.random.default_rng(seed), job(labels), []
    events.append(wire.StartEvent(1, 0, 0, "start", "run", "job", "agent", 1, False, {}, {"1": 100}))
    for block in range(1, 11):
        for case in asked.cases:
            for replicate in range(case.replicates):
                level = 1e5 * (1 + slower.get(case.label, 0.0)) * math.exp(rng.normal(0, noise))
                latency = tuple(round(level) for _ in range(5))
                place = {"case_id": case.case_id, "block": block, "replicate": replicate, "attempt": 1}
                head = {"v": 1, "seq": len(events), "t_ns": len(events), "kind": "process", "wall_ns": 9}
                rest = {"import_ns": 1, "load_ns": 1, "contended": False, "steady": True, "artifact_error": 0.0}
                spins = {"spin_before_ns": 100, "spin_after_ns": 102, "effective": {}, "warmup_ns": ()}
                times = {"start_ns": (1, 2, 3, 4, 5), "latency_ns": latency}
                events.append(wire.ProcessEvent(**head, **place, **rest, **spins, **times))
    facts = {"clock_resolution_ns": 1, "cpu": "a CPU", "kernel": "6.1"}
    reply = wire.Reply("run", "job", "blocks", 10, len(events), {}, {}, {}, facts, {"empty": "1"})
    return Measured(asked, tuple(events), reply)


def evaluate(*jobs: Measured) -> Calibration:
    return calibration.evaluate("board", "id", "2026-11-21T00:00:00+00:00", jobs)


LABELS = ["reference", "same-1", "same-2", "plus-2", "plus-5", "plus-5-2", "plus-10"]
TRUE = {"plus-2": 0.02, "plus-5": 0.05, "plus-5-2": 0.05, "plus-10": 0.10}


def test_equal_networks_are_called_equal_and_slower_ones_slower() -> None:
    found = evaluate(*(measured(LABELS, TRUE, seed) for seed in range(4)))
    assert (found.false.hits, found.false.tries) == (0, 8)
    assert [(effect.added, effect.found.hits, effect.found.tries) for effect in found.effects] == [
        (0.02, 4, 4),
        (0.05, 8, 8),
        (0.10, 4, 4),
    ]
    assert [effect.measured for effect in found.effects] == pytest.approx([0.02, 0.05, 0.10], abs=0.005)
    assert found.resolution == found.effects[0].measured


def test_a_network_of_equal_work_that_is_called_slower_is_a_false_verdict() -> None:
    found = evaluate(measured(LABELS, {**TRUE, "same-2": 0.04}))
    assert (found.false.hits, found.false.tries) == (1, 2)
    assert found.false.low > 0.01 and found.false.high < 0.99


def test_a_slower_network_that_is_called_faster_is_wrong_and_not_found() -> None:
    (effect,) = evaluate(measured(["reference", "same-1", "plus-5"], {"plus-5": -0.05})).effects
    assert (effect.found.hits, effect.wrong) == (0, 1)


def test_where_noise_hides_every_slow_down_there_is_no_resolution_and_the_quote_says_so() -> None:
    found = evaluate(*(measured(LABELS, TRUE, seed, noise=0.3) for seed in range(3)))
    assert found.resolution is None
    assert "the largest slow-down tried, 13 %, not found" in calibration.quote(found, 7200.0)
    assert found.process_sd == pytest.approx(0.3, rel=0.3)


def test_an_effect_counts_as_resolved_only_if_all_larger_ones_are() -> None:
    found = evaluate(*(measured(LABELS, {**TRUE, "plus-10": 0.0}, seed) for seed in range(3)))
    assert found.resolution is None


def test_the_sd_between_jobs_is_that_of_their_levels_and_unknown_below_three() -> None:
    def level(shift: float, seed: int) -> Measured:
        return measured(LABELS, dict.fromkeys(LABELS, shift), seed)

    assert evaluate(level(0.0, 0), level(0.1, 1)).between_jobs_sd is None
    spread = evaluate(level(0.0, 0), level(0.1, 1), level(0.2, 2)).between_jobs_sd
    assert spread == pytest.approx(np.std(np.log([1.0, 1.1, 1.2]), ddof=1), rel=0.1)


@pytest.mark.parametrize(
    ("hits", "tries", "low", "high"), [(0, 20, 0.0, 0.1684), (3, 10, 0.0667, 0.6525), (5, 5, 0.4782, 1.0)]
)
def test_a_rates_interval_is_clopper_and_pearsons(hits: int, tries: int, low: float, high: float) -> None:
    rate = Rate.of(hits, tries)
    assert (rate.low, rate.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_a_quote_tells_age_rate_and_resolution() -> None:
    said = calibration.quote(evaluate(*(measured(LABELS, TRUE, seed) for seed in range(2))), 3 * 3600.0)
    assert said.startswith(
        "calibrated 3 hours ago on empty: 0 of 4 A/A comparisons wrong (at most 60 % if independent); slow-downs from 2"
    )


def test_a_calibration_speaks_for_its_device_as_it_was() -> None:
    found = evaluate(measured(LABELS, TRUE))
    assert calibration.unlike(found, {"cpu": "a CPU"}, {"empty": "1"}, 3600.0) == []
    assert calibration.unlike(found, {"cpu": "another"}, {"empty": "2"}, 31 * 86_400.0) == [
        "cpu was a CPU, is another",
        "empty was 1, is 2",
        "it is older than 30 days",
    ]


def test_what_changed_on_a_device_that_was_just_asked_is_said_with_the_quote(tmp_path: Path) -> None:
    store.save_calibration(
        tmp_path / "board", replace(evaluate(measured(LABELS, TRUE)), created=f"{datetime.now(UTC)}")
    )
    facts = {"empty": {"facts": {"kernel": "6.2"}, "versions": {"empty": "1"}}}
    assert "OUTDATED" not in store.quote_calibration(tmp_path, "board")
    assert store.quote_calibration(tmp_path, "board", facts).endswith("; OUTDATED: kernel was 6.1, is 6.2")
    assert "OUTDATED" not in store.quote_calibration(tmp_path, "board", {"another": facts["empty"]})


PLAN = Plan("board", (), ("empty",), ("fp32",), 1, 1, {}, 5.0, 0)


def test_a_run_that_is_tuned_or_of_another_regime_or_runtime_is_not_what_was_calibrated() -> None:
    found = evaluate(measured(LABELS, TRUE))
    assert calibration.unlike_plan(found, PLAN) == []
    other = replace(PLAN, tune=("governor",), regime="sustained", runtimes=("onnxruntime",))
    assert calibration.unlike_plan(found, other) == [
        "tune was nothing, is governor",
        "regime was burst, is sustained",
        "runtime was empty, is onnxruntime",
    ]
    assert calibration.unlike_plan(replace(found, tune=("governor",)), replace(PLAN, tune=("governor",))) == []


def test_a_run_says_in_what_the_device_was_otherwise_when_it_was_calibrated(tmp_path: Path) -> None:
    now = f"{datetime.now(UTC).isoformat(timespec='seconds')}"
    whole = measured(LABELS, TRUE)
    store.save_calibration(tmp_path / "board", replace(evaluate(whole), created=now))
    kept = store.calibration_of(tmp_path, PLAN)
    assert kept is not None and kept["quote"].startswith("calibrated a moment before this run on empty")
    run = Run(1, "r", "s", "board", False, "measuring", now, (), PLAN, {}, calibration=kept)
    changed = replace(whole.reply, facts={**whole.reply.facts, "kernel": "6.2"}, versions={"empty": "2"})
    assert store.compared_calibration(run, {"empty": whole.reply}) == {**kept, "unlike": []}
    compared = store.compared_calibration(run, {"empty": changed}) or {}
    assert compared["unlike"] == ["kernel was 6.1, is 6.2", "empty was 1, is 2"]
    assert store.compared_calibration(replace(run, calibration=None), {"empty": changed}) is None


def failing(whole: Measured, label: str) -> Measured:
    """The job, but that one of its networks was given up at its end."""
    (case,) = (case.case_id for case in whole.job.cases if case.label == label)
    gone = wire.FailedEvent(1, 999, 999, "failed", case, 10, 0, 2, "crash", "killed", True)
    return replace(whole, journal=(*whole.journal, gone))


def test_a_network_that_failed_is_judged_by_nothing_it_did_before() -> None:
    found = evaluate(failing(failing(measured(LABELS, TRUE), "same-2"), "plus-10"))
    assert found.false.tries == 1
    assert [effect.added for effect in found.effects] == [0.02, 0.05]


def test_a_job_whose_reference_failed_says_nothing() -> None:
    whole, lost = measured(LABELS, TRUE), failing(measured(LABELS, TRUE, 1), "reference")
    assert (evaluate(whole, lost).jobs, evaluate(whole, lost).false.tries) == (1, 2)
    with pytest.raises(ValueError, match="whose reference was measured"):
        evaluate(lost)


def test_the_time_between_two_agents_of_one_job_costs_no_budget() -> None:
    first = measured(LABELS, TRUE).journal
    pause = replace(first[0], t_ns=10**15) if isinstance(first[0], wire.StartEvent) else first[0]
    again = [replace(event, t_ns=10**15 + event.t_ns) for event in first[1:]]
    assert jobs.length_s(first) == pytest.approx((len(first) - 1) / 1e9)
    assert jobs.length_s([*first, pause, *again]) == pytest.approx(2 * (len(first) - 1) / 1e9)
    assert jobs.length_s([*again, *first]) == pytest.approx(2 * (len(first) - 1) / 1e9, rel=0.01)  # a reboot


def test_a_device_that_has_to_cool_in_a_run_cools_in_its_calibration() -> None:
    assert (calibrate.protocol().cooldown_s, calibrate.protocol(90.0).cooldown_s) == (0.0, 90.0)


def test_a_stored_calibration_comes_back_as_it_went(tmp_path: Path) -> None:
    found = evaluate(measured(LABELS, TRUE))
    store.save_calibration(tmp_path / "board", found)
    assert store.load_calibration(tmp_path, "board") == replace(found, protocol={**found.protocol, "looks": [10]})
    assert store.load_calibration(tmp_path, "another") is None
    assert "harness calibrate --device another" in store.quote_calibration(tmp_path, "another")


def test_a_damaged_calibration_and_one_of_a_newer_program_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "board" / "calibration.json"
    store.save_calibration(tmp_path / "board", evaluate(measured(LABELS, TRUE)))
    tree = json.loads(file.read_text())
    file.write_text(json.dumps({**tree, "schema": 99}))
    with pytest.raises(StoreError, match="schema 99, this program reads up to 1"):
        store.load_calibration(tmp_path, "board")
    for text in ("{", json.dumps({**tree, "jobs": "many"}), json.dumps([])):
        file.write_text(text)
        with pytest.raises(StoreError, match="damaged"):
            store.load_calibration(tmp_path, "board")


def test_a_damaged_calibration_keeps_nobody_from_measuring(tmp_path: Path) -> None:
    store.write(tmp_path / "board" / "calibration.json", b"{")
    said = store.quote_calibration(tmp_path, "board")
    assert said.startswith("unreadable: ") and said.endswith("Remove it, and calibrate again.")
    assert store.calibration_of(tmp_path, PLAN) == {"quote": said, "unlike": []}


def test_the_calibrations_look_has_the_error_of_one_of_a_runs_looks() -> None:
    usual, own = wire.Protocol(), calibrate.protocol()
    assert own.looks == (calibration.BLOCKS,) and calibration.BLOCKS in usual.looks
    assert own.alpha / len(own.looks) == pytest.approx(usual.alpha / len(usual.looks))
    same = {"timed_s", "warmup_window_s", "spin_tolerance", "attempts"}
    assert {key: asdict(own)[key] for key in same} == {key: asdict(usual)[key] for key in same}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--device", "lcal"), 2, 'no device "lcal"; did you mean "local"?'),
        (("--device", "local", "--runtime", "onnx"), 2, 'no runtime on device "local" "onnx"'),
        (("--device", "local", "--budget", "0"), 2, "--budget 0: must be from 1 to 604800"),
        (("--device", "local", "--tune", "gvernor"), 2, 'no setting "gvernor"; did you mean "governor"'),
        (("--device", "local", "--resume", "2026", "--budget", "600"), 2, "--budget cannot be said beside --resume"),
        (("--device", "local", "--resume", "2026"), 1, '0 calibrations of local begin with "2026"'),
    ],
)
def test_wrong_words_are_told(words: tuple[str, ...], code: int, message: str, cli: Cli) -> None:
    done = cli("calibrate", *words)
    assert (done.code, message in done.err) == (code, True), done.err


BEGUN = """
import sys
from pathlib import Path
from harness import calibrate, inventory

device = inventory.device("local", Path("inventory.yaml"))
tell = lambda progress: print(progress.text, file=sys.stderr, flush=True)
calibrate.start(Path("results"), device, "empty", 1.0, None, tell, equals=2)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_calibration_that_was_killed_goes_on_and_measures_no_job_twice(cli: Cli) -> None:
    """Asked for as little as there is, of two equal networks a job instead of ten; killed in the second job, resumed."""
    with cli.spawn(sys.executable, "-c", BEGUN) as begun:
        assert begun.stderr is not None
        for line in begun.stderr:
            if "job 2" in line:
                begun.kill()
        begun.wait()
    (folder,) = (cli.folder / "results" / "local" / "calibrations").iterdir()
    first = (folder / "000" / "jobs" / "empty" / "events.jsonl").read_bytes()
    assert not (cli.folder / "results" / "local" / "calibration.json").exists()
    done = cli("calibrate", "--device", "local", "--resume", folder.name, "--json", patience_s=600)
    assert done.code == 0, done.err
    assert done.json["jobs"] == calibrate.LEAST_JOBS
    assert done.json["false"]["tries"] == calibrate.LEAST_JOBS * 2
    assert (folder / "000" / "jobs" / "empty" / "events.jsonl").read_bytes() == first
    checked = cli("check", "--device", "local", "--json")
    assert checked.json["calibration"].startswith("calibrated ")

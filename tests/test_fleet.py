"""Several devices at once: workdirs of this machine stand for boards, with real agents and the runtime that does nothing."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import Cli
from test_faults import PATIENCE_S, require_each_once

from harness import child, fleet, interrupt, plan, store
from harness.child import OnProgress, Progress
from harness.cli import job as cli_job
from harness.errors import HarnessError

WORDS = ("--model", "tiny", "--method", "order", "--runtime", "empty")
ORDER = ("run", *WORDS, "--device")


@pytest.fixture
def boards(cli: Cli) -> Cli:
    """Two devices that work and one whose workdir cannot be."""
    write_inventory(cli)
    return cli


def write_inventory(cli: Cli) -> None:
    places = {"one": cli.folder / "one", "two": cli.folder / "two", "bad": Path("/proc/nothing")}
    lines = [f"  {name}: {{profile: host, workdir: {place}}}\n" for name, place in places.items()]
    (cli.folder / "inventory.yaml").write_text("devices:\n" + "".join(lines))


def records(cli: Cli) -> dict[str, dict[str, Any]]:
    """The records of all runs, by device."""
    return {folder.parent.name: json.loads((folder / "run.json").read_text()) for folder in cli.runs}


def span_ns(folder: Path) -> tuple[int, int]:
    """When the first and the last event of a run happened; devices that are one machine have one clock."""
    times = [event.t_ns for event in store.events(folder, "empty")]
    return times[0], times[-1]


@pytest.mark.slow
def test_two_devices_at_once_share_session_and_ladders_and_neither_waits_for_the_other_s_measuring(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cli = Cli(tmp_path, tmp_path_factory.mktemp("own-cache"))
    write_inventory(cli)
    done = cli(*ORDER, "two,one", "--budget", "8", "--no-controls", "--json")
    assert done.code == 0, done.err
    assert [shown["device"] for shown in done.json] == ["two", "one"], "not in the order of the words"
    first, second = records(cli).values()
    assert first["session"] == second["session"] and first["run"] != second["run"]
    assert [entry["variant"] for entry in first["entries"]] == [entry["variant"] for entry in second["entries"]]
    assert sorted(run["ladders"][0]["cached"] for run in (first, second)) == [False, True]
    spans = [span_ns(folder) for folder in cli.runs]
    assert max(begin for begin, _ in spans) < min(end for _, end in spans)

    lines = done.err.splitlines()
    assert all(any(f" {name}: empty: " in line for line in lines) for name in ("one", "two"))
    assert any(": waiting: ladder and artifacts of " in line for line in lines)
    built = max(n for n, line in enumerate(lines) if ": empty fp32 " in line)
    assert built < min(n for n, line in enumerate(lines) if ": empty: " in line), "measured while it prepares"


@pytest.mark.parametrize(
    "message, said",
    [
        ("nobody answers there", "e: nobody answers there"),
        ("device e2 is busy", "e: device e2 is busy"),
        ("device e is busy", "device e is busy"),
        ("device e: no room", "device e: no room"),
    ],
)
def test_a_complaint_names_its_device_once_however_short_the_name(
    message: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cli_job._complain_of("e", HarnessError(message))
    assert capsys.readouterr().err == f"error: {said}\n"


@pytest.mark.slow
def test_a_device_that_fails_is_complained_about_and_the_others_complete(boards: Cli) -> None:
    done = boards(*ORDER, "bad,one", "--budget", "3", "--json")
    assert done.code == 1
    assert "error: device bad: /proc/nothing" in done.err
    assert [(shown["device"], shown["status"]) for shown in done.json] == [("one", "done")]
    assert list(records(boards)) == ["one"]


@pytest.mark.slow
def test_ctrl_c_stops_every_agent_marks_every_run_and_each_can_be_resumed_to_its_end(boards: Cli) -> None:
    process = boards.start(*ORDER, "one,two", "--budget", "12")
    until(lambda: len(boards.runs) == 2 and all(measured(folder) for folder in boards.runs))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    for folder in boards.runs:
        assert f"harness run --resume {folder.name}" in err
        assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    kept = [store.journal_bytes(folder, "empty") for folder in boards.runs]
    time.sleep(2.0)
    journals = sorted(boards.folder.glob("*/jobs/*/events.jsonl"))
    sizes = [file.stat().st_size for file in journals]
    time.sleep(1.5)
    assert [file.stat().st_size for file in journals] == sizes, "an agent goes on after Ctrl-C"
    for folder, lines in zip(boards.runs, kept, strict=True):
        done = boards("run", "--resume", folder.name, "--json", "--wait")
        assert done.code == 0, done.err
        assert store.journal_bytes(folder, "empty").startswith(lines)
        require_each_once(folder)


@pytest.mark.slow
@pytest.mark.parametrize("send", [os.kill, os.killpg])  # to the command alone; to its children too, as a terminal does
def test_ctrl_c_while_one_prepares_and_the_other_waits_ends_both_and_the_child(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, send: Callable[[int, int], None]
) -> None:
    cli = Cli(tmp_path, tmp_path_factory.mktemp("own-cache"))
    write_inventory(cli)
    process = cli.start(*ORDER, "one,two", "--budget", "3")
    until(lambda: len(cli.runs) == 2)
    time.sleep(1.0)
    send(process.pid, signal.SIGINT)
    began = time.monotonic()
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert time.monotonic() - began < 10 and err.count("--resume") == 2
    assert [run["status"] for run in records(cli).values()] == ["interrupted", "interrupted"]
    with pytest.raises(ProcessLookupError):  # it led a group of its own: nobody of it is left
        os.killpg(process.pid, 0)


@pytest.mark.slow
def test_a_slow_device_does_not_hold_up_a_fast_one(
    boards: Cli, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    words = plan.Words("one,two", model="tiny", method="order", runtime="empty")
    budgets = {"one": 40.0, "two": 3.0}
    planned = [
        (device, replace(each, budget_s=budgets[device.name]))
        for device, each in plan.make(words, boards.folder / "inventory.yaml")
    ]
    ended: dict[str, float] = {}
    complaints: list[tuple[str, HarnessError]] = []

    def noting(name: str) -> OnProgress:
        return lambda progress: ended.setdefault(name, time.monotonic()) if progress.text == "done" else None  # type: ignore[func-returns-value]

    outcomes = fleet.run_each(
        planned,
        results=boards.folder / "results",
        command=(),
        tell={name: noting(name) for name in budgets},
        complain=lambda name, error: complaints.append((name, error)),
    )
    assert not complaints and [outcome.device for outcome in outcomes] == ["one", "two"]
    assert all(outcome.folder for outcome in outcomes)
    assert ended["two"] < ended["one"]


@pytest.mark.slow
def test_a_wrong_word_that_only_the_network_can_judge_is_told_once_and_leaves_nothing(boards: Cli) -> None:
    done = boards(*ORDER, "one,two", "--order", "layer9", "--no-controls")
    assert done.code == 2
    assert done.err.count("layer9") == 1, done.err
    assert not boards.runs


def test_waiting_and_taking_exclude_each_other_and_both_may_stand_beside_resume(cli: Cli) -> None:
    both = cli("run", "--device", "local", "--wait", "--steal")
    assert both.code == 2 and "--wait cannot be said beside --steal" in both.err
    for flag in ("--wait", "--steal"):
        assert "no run" in cli("run", "--resume", "x", flag).err


# --- interruptions -------------------------------------------------------------------------------------------------


@pytest.fixture
def quiet() -> Iterator[None]:
    """An interruption that is forgotten afterwards."""
    yield
    interrupt.clear()


def test_every_thread_that_waits_hears_of_an_interruption_once_and_then_waits_in_peace(quiet: None) -> None:
    ready = threading.Barrier(4)

    def work() -> float:
        ready.wait(timeout=30)
        with pytest.raises(KeyboardInterrupt):
            interrupt.pause(60)
        began = time.monotonic()
        interrupt.pause(0.05)  # putting things in order
        return time.monotonic() - began

    with ThreadPoolExecutor(3) as pool:
        threads = [pool.submit(work) for _ in range(3)]
        ready.wait(timeout=30)
        assert not interrupt.interrupted()
        interrupt.interrupt()
        assert all(thread.result(timeout=30) >= 0.05 for thread in threads)
    assert interrupt.interrupted()
    interrupt.clear()
    interrupt.pause(0)
    assert not interrupt.interrupted()


def test_what_is_registered_is_ended_once_also_when_it_comes_too_late_and_not_when_it_has_left(quiet: None) -> None:
    ended: list[str] = []
    with interrupt.ended_by(lambda: ended.append("left")):
        pass
    with interrupt.ended_by(lambda: ended.append("there")):
        interrupt.interrupt()
    with interrupt.ended_by(lambda: ended.append("late")):
        pass
    assert ended == ["there", "late"]


def test_an_interruption_ends_the_children_that_threads_wait_for_and_none_is_started_after_it(
    quiet: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sleeper.py").write_text(
        "import time\nfrom harness import child\nfrom harness.child import Progress\n"
        "def handle(request, tell):\n    tell(Progress('there'))\n    time.sleep(60)\n"
        "if __name__ == '__main__':\n    child.serve(handle)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    both, began = threading.Barrier(3), time.monotonic()

    def there(progress: Progress) -> None:
        both.wait(timeout=30)

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(child.call, "sleeper", None, there) for _ in range(2)]
        both.wait(timeout=30)
        interrupt.interrupt()
        assert all(isinstance(call.exception(timeout=30), KeyboardInterrupt) for call in calls)
    assert time.monotonic() - began < 30
    with pytest.raises(KeyboardInterrupt):
        child.call("sleeper", None, there)


def until(condition: Any) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)


def measured(folder: Path) -> bool:
    """Whether the run's copy of the journal holds a few processes."""
    return store.journal_bytes(folder, "empty").count(b"process") > 5

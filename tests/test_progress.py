"""What people see while they wait: plain lines where nobody looks, bars on a terminal, each device by its name."""

from __future__ import annotations

import os
import re
import threading

import pytest

from harness.child import Progress
from harness.progress import narrate, narrate_each


def test_lines_of_several_devices_begin_with_their_names_and_one_alone_has_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with narrate_each(["pi4", "pi5"]) as tell:
        tell["pi4"](Progress("empty: block 1", 2, 8))
        tell["pi5"](Progress("run x"))
    with narrate() as alone:
        alone(Progress("run y"))
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"^ *[\d.]+ s  ", "", line) for line in lines] == [
        "pi4: empty: block 1 [2/8]",
        "pi5: run x",
        "run y",
    ]


def test_a_stage_is_told_of_once_in_a_while_on_each_device_whatever_the_others_say(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with narrate_each(["pi4", "pi5"]) as tell:
        for block in range(20):
            tell["pi4"](Progress(f"empty: block {block}"))
            tell["pi5"](Progress(f"torch: block {block}"))
        tell["pi4"](Progress("done"))
    assert [line.split()[2] for line in capsys.readouterr().err.splitlines()] == ["pi4:", "pi5:", "pi4:"]


def test_lines_told_by_many_threads_at_once_stay_whole(capfd: pytest.CaptureFixture[str]) -> None:
    names = [f"device-{n}" for n in range(20)]
    with narrate_each(names) as tell:

        def talk(name: str) -> None:
            for n in range(20):
                tell[name](Progress(f"stage {n}"))

        threads = [threading.Thread(target=talk, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 400
    assert all(re.fullmatch(r" *\d+\.\d s  device-\d+: stage \d+", line) for line in lines)


def test_a_terminal_shows_a_bar_for_every_device_in_one_display(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(theirs, "w") as screen:
        monkeypatch.setattr("sys.stderr", screen)
        with narrate_each(["pi4", "pi5"]) as tell:
            tell["pi4"](Progress("run x"))
            for block in range(100):
                tell["pi5"](Progress(f"empty: block {block}", block, 100))
        monkeypatch.undo()
        shown = os.read(ours, 2**16).decode()
    os.close(ours)
    assert "pi4: run x" in shown and "pi5: empty: block 99" in shown
    assert shown.count("empty: block") <= 3, "it is drawn more than once a second"

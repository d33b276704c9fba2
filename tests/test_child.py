from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from harness import child
from harness.child import Progress
from harness.errors import HarnessError, TrainError

CHILD = """
import os, signal, sys, time
from harness import child
from harness.child import Progress
from harness.errors import TrainError

def handle(request, on_progress):
    on_progress(Progress("half", 1, 2))
    print("a library talks on standard output")
    if request == "error": raise TrainError("the loss is not finite", "Lower the rate.")
    if request == "die": os.kill(os.getpid(), signal.SIGKILL)
    if request == "bug": raise KeyError("x")
    if request == "wait": time.sleep(60)
    return {"got": request}

if __name__ == "__main__":
    child.serve(handle)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "some_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "some_child"


def test_a_request_gets_its_result_and_progress_on_the_way(module: str) -> None:
    seen: list[Progress] = []
    assert child.call(module, [1, 2], seen.append) == {"got": [1, 2]}
    assert seen == [Progress("half", 1, 2)]


def test_an_error_of_ours_arrives_as_what_it_was(module: str) -> None:
    with pytest.raises(TrainError, match="the loss is not finite") as caught:
        child.call(module, "error", lambda progress: None)
    assert caught.value.hint == "Lower the rate."


@pytest.mark.parametrize(
    ("request_", "message"), [("die", "signal 9: most likely out of memory"), ("bug", "exit code 70")]
)
def test_a_child_that_dies_without_a_word_is_said_to_have(module: str, request_: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        child.call(module, request_, lambda progress: None)


def test_a_child_that_cannot_even_start_is_an_error_with_its_exit_code() -> None:
    with pytest.raises(HarnessError, match="no_such_module ended without a result"):
        child.call("no_such_module", {}, lambda progress: None)
    assert "no_such_module" not in sys.modules


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's kernel does it")
def test_a_child_dies_with_its_parent_however_that_ends(module: str) -> None:
    code = (
        f"from harness import child; child.call({module!r}, 'wait', lambda progress: print(progress.text, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == "half\n"
        (mine,) = psutil.Process(parent.pid).children()
        os.kill(parent.pid, signal.SIGKILL)
    mine.wait(timeout=10)


def test_leaving_a_group_by_an_interruption_ends_the_children_of_all_its_threads_at_once(module: str) -> None:
    both = threading.Barrier(3)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), ThreadPoolExecutor() as pool, child.Group() as group:
        calls = [pool.submit(group.call, module, "wait", lambda progress: both.wait()) for _ in range(2)]
        both.wait(timeout=30)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 30
    assert all(isinstance(call.exception(), KeyboardInterrupt) for call in calls)
    with pytest.raises(KeyboardInterrupt):  # and none is started afterwards
        group.call(module, "wait", lambda progress: None)

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness import child
from harness.child import Progress
from harness.errors import HarnessError, TrainError

CHILD = """
import os, signal, sys
from harness import child
from harness.child import Progress
from harness.errors import TrainError

def handle(request, on_progress):
    on_progress(Progress("half", 1, 2))
    print("a library talks on standard output")
    if request == "error": raise TrainError("the loss is not finite", "Lower the rate.")
    if request == "die": os.kill(os.getpid(), signal.SIGKILL)
    if request == "bug": raise KeyError("x")
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

"""A task's examples lie in the cache as NumPy files: made once, the same each time, found again without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness import child, content
from harness.compress import client, examples, keys
from harness.records import Examples


def make() -> Examples:
    return client.examples("tiny", None, lambda progress: None)


@pytest.mark.slow
def test_examples_are_the_task_s_own_and_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make()
    data = content.load("task", "tiny").load()
    assert np.array_equal(np.load(made.calibration.path), data.train.images[:64].numpy())
    assert np.array_equal(np.load(made.exam.inputs), data.test.images.numpy())
    assert np.array_equal(np.load(made.exam.labels), data.test.labels.numpy())
    monkeypatch.setattr(child, "call", None)
    assert make() == made


def test_examples_are_told_apart_by_what_they_hold_not_by_where_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keys.examples("tiny", None)
    found = []
    for place in ("a", "b"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
        examples.make("tiny", None, key)
        found.append(examples.read(key))
    first, second = found
    assert first is not None and second is not None
    assert first.calibration.path != second.calibration.path
    assert (first.calibration.sha256, first.exam.sha256) == (second.calibration.sha256, second.exam.sha256)
    assert key != keys.examples("digits", None)


def test_a_truncated_file_of_examples_is_made_again() -> None:
    key = keys.examples("tiny", None)
    examples.make("tiny", None, key)
    first = examples.read(key)
    assert first is not None
    Path(first.exam.inputs).write_bytes(b"")
    assert examples.read(key) is None
    examples.make("tiny", None, key)
    assert examples.read(key) == first

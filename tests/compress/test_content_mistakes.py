"""A mistake in a user's model, task or method is told with its place, before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness import cache, content
from harness.compress import client, models
from harness.errors import ContentError
from harness.records import LadderRequest

HEAD = """
import torch
from torch import nn

TASK = "tiny"


class Network(nn.Sequential):
    def forward(self, x):
        return self[0](x.flatten(1))


def build(weights=None, classes=10, shape=(3, 16, 16)):
    network = Network(nn.Linear(768, classes))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("models/tasks", "methods"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    return network.no_such", r"mine\.py:15: AttributeError: .*no_such"),
        (
            "    return Network(nn.Linear(768, classes + 1))",
            r"mine\.py: build\(\) must give .*\(4, 10\).*not \(4, 11\)",
        ),
        ("    return Network(nn.Linear(7, classes))", r"mine\.py:10: RuntimeError: mat1 and mat2"),
        ("    return nn.LSTM(16, 10)", r"mine\.py: "),
        ("    return 'network'", r"mine\.py: build\(\) must be a torch\.nn\.Module, not str"),
        ("    raise SystemExit(3)", r"mine\.py:15: SystemExit: 3"),
    ],
)
def test_a_model_that_fails_or_is_no_classifier_of_its_task_is_named_with_the_place(
    own: Path, body: str, said: str
) -> None:
    (own / "models" / "mine.py").write_text(HEAD + body + "\n")
    with pytest.raises(ContentError, match=said):
        models.build("mine", content.load("task", "tiny"), seed=0)


def test_a_control_is_checked_as_the_model_is(own: Path) -> None:
    controls = "    return network\n\n\ndef controls(classes, shape):\n    return {'wide': build(None, 2 * classes)}\n"
    (own / "models" / "mine.py").write_text(HEAD + controls)
    with pytest.raises(ContentError, match=r'control "wide" must give .*not \(4, 20\)'):
        models.controls("mine", content.load("task", "tiny"), seed=0)


def test_the_check_leaves_network_and_random_numbers_as_they_are() -> None:
    task = content.load("task", "tiny")
    torch.manual_seed(3)
    plain = content.load("model", "tiny").build(None, task.CLASSES, task.SHAPE)
    checked = models.build("tiny", task, seed=3)
    assert checked.training
    after = torch.rand(1)
    assert all(
        torch.equal(*pair) for pair in zip(plain.state_dict().values(), checked.state_dict().values(), strict=True)
    )
    torch.manual_seed(3)
    content.load("model", "tiny").build(None, task.CLASSES, task.SHAPE)
    assert torch.equal(after, torch.rand(1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("models/tasks/mine.py", "CLASSES, SHAPE = 10, (3, 16, 16)\n\n", r"tasks/mine\.py: a task must define load"),
        (
            "models/tasks/mine.py",
            "CLASSES, SHAPE = 10, (3, 16, 16)\n\ndef load(data_dir):\n    return open('/no/such/file')\n",
            r"tasks/mine\.py:4: FileNotFoundError",
        ),
    ],
)
def test_a_tasks_mistake_ends_the_climb_before_anything_is_made(own: Path, file: str, text: str, said: str) -> None:
    (own / file).write_text(text)
    with pytest.raises(ContentError, match=said):
        client.climb(LadderRequest("easier", "tiny", "mine", threads=1), lambda progress: None)
    assert not cache.entries()


@pytest.mark.slow
def test_a_methods_mistake_is_told_with_its_place(own: Path) -> None:
    (own / "methods" / "mine.py").write_text(
        "from dataclasses import dataclass\n\nTRAINS = False\n\n@dataclass(frozen=True)\nclass Recipe:\n    pass\n\n"
        "def choose(state, recipe):\n    return state.network.no_such\n"
    )
    with pytest.raises(ContentError, match=r"methods/mine\.py:10: AttributeError"):
        client.climb(LadderRequest("mine", "tiny", "tiny", threads=1), lambda progress: None)

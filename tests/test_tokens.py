"""A model that reads tokens goes the whole way: trained, folded, built, fed the same integers on the device, timed."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Cli

MODEL = '''
"""A perceptron over the embeddings of a sentence."""

import torch
from torch import nn

TASK = "sums"
VOCABULARY = 50


class Reader(nn.Module):
    def __init__(self, classes, shape):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, 8)
        self.up, self.act, self.down = nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)
        self.head = nn.Linear(8 * shape[0], classes)

    def forward(self, tokens):
        return self.head(torch.flatten(self.down(self.act(self.up(self.words(tokens)))), 1))


def build(weights=None, classes=2, shape=(6,)):
    return Reader(classes, shape)
'''

TASK = '''
"""Is the first token one of the lower half?"""

from collections import namedtuple

import torch

CLASSES = 2
SHAPE = (6,)
VOCABULARY = 50
Split = namedtuple("Split", "images labels")
Data = namedtuple("Data", "train validation test")


def load(data_dir=None):
    tokens = torch.randint(50, (300, 6), generator=torch.Generator().manual_seed(0))
    labels = (tokens[:, 0] < 25).long()
    return Data(*(Split(tokens[a:b], labels[a:b]) for a, b in ((0, 200), (200, 250), (250, 300))))
'''


@pytest.mark.slow
def test_a_reader_is_trained_folded_and_measured(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "own/models/tasks").mkdir(parents=True)
    (tmp_path / "own/models/reader.py").write_text(MODEL)
    (tmp_path / "own/models/tasks/sums.py").write_text(TASK)
    words = ("--device", "local", "--model", "reader", "--method", "easier", "--runtime", "onnxruntime")
    done = cli("--content", str(tmp_path / "own"), "run", *words, "--budget", "8", "--json")
    assert done.code == 0, done.err
    cases = done.json["cases"]
    assert [(case["rung"], case["depth"]) for case in cases] == [(0, 3), (1, 2)]
    for case in cases:
        assert case["status"] == "ok", case
        assert case["artifact_error"] <= 1e-4
        assert 0 <= case["accuracy"] <= 1

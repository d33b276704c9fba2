"""Sentences of two classes as 128 of RoBERTa's tokens each, from files of yours: train.npz, validation.npz, test.npz.

harness run --model roberta --task bytepairs --data DIR      (the default task of roberta; what the files hold: _sentences.py)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.tasks._sentences import Data, sentences
else:
    from _sentences import Data, sentences

CLASSES = 2
SHAPE = (128,)
DATA = "your own: train.npz, validation.npz, test.npz with arrays of tokens and labels"
VOCABULARY = 50265


def load(data_dir: str | None = None) -> Data:
    """Return the task from the files in `data_dir`. Raises DataError where one is missing or holds something else."""
    return sentences(data_dir, SHAPE, CLASSES, VOCABULARY)


def check(data_dir: str | None = None) -> None:
    """Raises DataError as `load` does: reading these files takes no time."""
    load(data_dir)

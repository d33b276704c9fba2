"""Shared by the tasks of sentences: tokens and labels from the files of a folder, checked.

    DIR/train.npz  DIR/validation.npz  DIR/test.npz      each with arrays `tokens` (N, T) and `labels` (N,), integers

Sentences come already cut into tokens and brought to one length T, by whatever tokeniser belongs to the model. There is no
mask: all T tokens are read, those that fill up a short sentence too.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from models.tasks._files import DataError
else:
    from _files import DataError

PARTS = ("train", "validation", "test")
ARRAYS = ("tokens", "labels")
HINT = "Write them with numpy.savez(FILE, tokens=..., labels=...); docs/tasks.md says what they hold."


class Split(NamedTuple):
    """A part of a task: `images`, a network's inputs, here int64 tokens of shape (N, T); `labels` int64 of shape (N,)."""

    images: Tensor
    labels: Tensor


class Data(NamedTuple):
    """A task's parts: `train` to fit, `validation` (held out) for methods to choose by, `test` for accuracy alone."""

    train: Split
    validation: Split
    test: Split
    classes: int
    shape: tuple[int]


def sentences(data_dir: str | None, shape: tuple[int], classes: int, vocabulary: int) -> Data:
    """Return the three parts in the files of `data_dir`. Raises DataError, naming the file and what it must hold."""
    if data_dir is None:
        raise DataError(f"these sentences are files of yours: --data DIR, with {', '.join(_files())} in it", HINT)
    files = [Path(data_dir) / name for name in _files()]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise DataError(f"{data_dir}: no {', '.join(missing)}; the task reads {', '.join(_files())}", HINT)
    train, validation, test = (_split(file, shape[0], classes, vocabulary) for file in files)
    return Data(train, validation, test, classes, shape)


def _files() -> tuple[str, ...]:
    return tuple(f"{part}.npz" for part in PARTS)


def _split(file: Path, length: int, classes: int, vocabulary: int) -> Split:
    tokens, labels = _arrays(file)
    if not len(labels) or tokens.shape != (len(labels), length):
        raise DataError(
            f"{file}: tokens must have the shape (sentences, {length}) and labels (sentences,), "
            f"they have {tokens.shape} and {labels.shape}",
            HINT,
        )
    _require_below(vocabulary, tokens, f"{file}: tokens")
    _require_below(classes, labels, f"{file}: labels")
    return Split(torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(labels.astype(np.int64)))


def _arrays(file: Path) -> list[Any]:
    """The file's two arrays of integers. Nothing in it is unpickled."""
    try:
        stored = np.load(file, allow_pickle=False)
        arrays = [stored[name] for name in ARRAYS]
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: no NumPy archive (.npz) with arrays {' and '.join(ARRAYS)}: {error}", HINT) from None
    for name, array in zip(ARRAYS, arrays, strict=True):
        if array.dtype.kind not in "iu":
            raise DataError(f"{file}: {name} must be integers, they are {array.dtype}", HINT)
    return arrays


def _require_below(bound: int, array: Any, what: str) -> None:
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= bound:
        raise DataError(f"{what} must be from 0 to {bound - 1}, they are from {low} to {high}", HINT)

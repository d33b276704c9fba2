"""Shared by the tasks made of handwritten digits: scikit-learn's 1,797 images, resized, normalised, split by class."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Split(NamedTuple):
    """A part of a task: `images` float32 of shape (N, C, H, W), `labels` int64 of shape (N,)."""

    images: Tensor
    labels: Tensor


class Data(NamedTuple):
    """A task's parts: `train` to fit, `validation` (held out) for methods to choose by, `test` for accuracy alone."""

    train: Split
    validation: Split
    test: Split
    classes: int
    shape: tuple[int, int, int]


def handwritten(parts: tuple[int, int, int], shape: tuple[int, int, int], seed: int = 0) -> Data:
    """Return `parts` (train, validation, test) of the digits, each with the classes in equal proportion.

    Images are resized bilinearly to `shape` (channels equal) and normalised by mean and deviation of the training part.
    """
    from sklearn.datasets import load_digits  # takes a second to import: only who needs the images waits for it

    digits = load_digits()
    labels = torch.from_numpy(digits.target).long()
    small = torch.from_numpy(digits.images).float()[:, None]
    images = functional.interpolate(small, size=shape[1:], mode="bilinear", align_corners=False)
    indices = _stratified(labels, parts, seed)
    images = (images - images[indices[0]].mean()) / images[indices[0]].std()
    images = images.expand(-1, shape[0], -1, -1).contiguous()
    train, validation, test = (Split(images[part], labels[part]) for part in indices)
    return Data(train, validation, test, len(digits.target_names), shape)


def _stratified(labels: Tensor, parts: tuple[int, int, int], seed: int) -> list[Tensor]:
    """Indices of disjoint parts of the given sizes, each with the classes in the proportion they have as a whole."""
    from sklearn.model_selection import train_test_split

    rest = torch.arange(len(labels)).numpy()
    chosen = []
    for size in parts:
        if size < len(rest):
            part, rest = train_test_split(rest, train_size=size, random_state=seed, stratify=labels[rest])
        else:
            part = rest
        chosen.append(torch.from_numpy(part))
    return chosen

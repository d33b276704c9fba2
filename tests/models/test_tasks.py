"""Tasks hold real images, split by class, the same ones every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harness import content

SIZES = {"digits": (1257, 270, 270), "tiny": (120, 40, 40)}


@pytest.mark.parametrize("name", SIZES)
def test_a_task_has_parts_of_the_stated_sizes_types_and_shape(name: str) -> None:
    task = content.load("task", name)
    data = task.load(None)
    parts = (data.train, data.validation, data.test)
    assert tuple(len(part.images) for part in parts) == SIZES[name]
    assert (data.classes, data.shape) == (task.CLASSES, task.SHAPE)
    for part in parts:
        assert part.images.shape[1:] == task.SHAPE
        assert (part.images.dtype, part.labels.dtype) == (torch.float32, torch.int64)
        assert len(part.images) == len(part.labels)


@pytest.mark.parametrize("name", SIZES)
def test_every_part_holds_the_classes_in_their_proportion(name: str) -> None:
    data = content.load("task", name).load(None)
    for part in (data.train, data.validation, data.test):
        counts = torch.bincount(part.labels, minlength=data.classes)
        assert counts.max() - counts.min() <= 0.1 * len(part.labels) / data.classes + 1


def test_no_image_stands_in_two_parts() -> None:
    data = content.load("task", "tiny").load(None)
    images = torch.cat([part.images for part in (data.train, data.validation, data.test)])
    assert len(torch.unique(images.flatten(1), dim=0)) == 200


def test_a_task_loads_the_same_every_time() -> None:
    task = content.load("task", "tiny")
    first, second = task.load(None), task.load(None)
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(first, part).images, getattr(second, part).images)
        assert torch.equal(getattr(first, part).labels, getattr(second, part).labels)


def test_images_are_normalised_by_the_training_part_and_have_equal_channels() -> None:
    images = content.load("task", "digits").load(None).train.images
    assert images.mean().abs() < 1e-5
    assert (images.std() - 1).abs() < 1e-3
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])


SENTENCES = np.zeros((3, 128), np.int32), np.array([0, 1, 0])


def write(folder: Path, tokens: object = SENTENCES[0], labels: object = SENTENCES[1], **more: object) -> Path:
    for part in ("train", "validation", "test"):
        np.savez(folder / f"{part}.npz", tokens=tokens, labels=labels, **more)
    return folder


def test_sentences_come_from_files_as_int64_whatever_integers_they_hold(tmp_path: Path) -> None:
    data = content.load("task", "wordpieces").load(str(write(tmp_path, tokens=np.full((3, 128), 30521, np.uint16))))
    assert (data.classes, data.shape) == (2, (128,))
    assert data.test.images.dtype == data.test.labels.dtype == torch.int64
    assert data.validation.images.unique().tolist() == [30521]
    assert data.train.labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tokens": SENTENCES[0][:, :64]}, r"tokens must have the shape \(sentences, 128\).*\(3, 64\)"),
        ({"labels": SENTENCES[1][:2]}, r"labels \(sentences,\), they have \(3, 128\) and \(2,\)"),
        ({"tokens": SENTENCES[0] + 0.5}, "tokens must be integers, they are float64"),
        ({"tokens": SENTENCES[0] + 30522}, "tokens must be from 0 to 30521, they are from 30522 to 30522"),
        ({"tokens": SENTENCES[0] - 1}, "tokens must be from 0 to 30521, they are from -1 to -1"),
        ({"labels": SENTENCES[1] + 1}, "labels must be from 0 to 1, they are from 1 to 2"),
        ({"tokens": np.array([{}])}, "no NumPy archive"),
    ],
)
def test_wrong_sentences_are_told_with_file_and_rule(wrong: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"train\.npz: .*{message}"):
        content.load("task", "wordpieces").load(str(write(tmp_path, **wrong)))


def test_sentences_without_files_say_which_are_needed(tmp_path: Path) -> None:
    load = content.load("task", "bytepairs").load
    with pytest.raises(ValueError, match=r"--data DIR, with train\.npz, validation\.npz, test\.npz"):
        load(None)
    (write(tmp_path) / "validation.npz").unlink()
    with pytest.raises(ValueError, match=r"no validation\.npz; the task reads"):
        load(str(tmp_path))
    (tmp_path / "validation.npz").write_text("tokens")
    with pytest.raises(ValueError, match=r"validation\.npz: no NumPy archive \(\.npz\) with arrays tokens and labels"):
        load(str(tmp_path))

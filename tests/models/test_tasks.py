"""Tasks hold real images, split by class, the same ones every time."""

from __future__ import annotations

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

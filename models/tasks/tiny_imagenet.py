"""Tiny-ImageNet: 110,000 photographs of 200 kinds, 3x64x64; 90,000 train, 10,000 validation, 10,000 test.

harness run --model resnet18 --task tiny-imagenet --data DIR

In DIR: tiny-imagenet-200.zip (MD5 90528d7ca1a48142e341f4ef8d21d0de), or what is in it. Its own `val` folder is the test part
(the `test` folder has no labels); the validation part is a tenth of each class of the training images, the same for every
seed. Training images are mirrored, nothing else, as in the papers. The first load decodes all images: minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.tasks import _images as images
    from models.tasks._files import DataError, Files, Source, find, lines
else:
    import _images as images
    from _files import DataError, Files, Source, find, lines

CLASSES = 200
SHAPE = (3, 64, 64)
DATA = "http://cs231n.stanford.edu/tiny-imagenet-200.zip (248 MB)"
SOURCE = Source(
    "Tiny-ImageNet",
    ("http://cs231n.stanford.edu/tiny-imagenet-200.zip",),
    {"wnids.txt": "tiny-imagenet-200.zip"},
    {"tiny-imagenet-200.zip": "90528d7ca1a48142e341f4ef8d21d0de"},
)
LABELS = "val/val_annotations.txt"


def load(data_dir: str | None = None) -> images.Data:
    """Return the task from the files in `data_dir`. Raises DataError where one is missing or damaged."""
    return images.load(find(SOURCE, data_dir), _listed, images.Frame(64, SHAPE), CLASSES)


def check(data_dir: str | None = None) -> None:
    """Look whether the files are there. Raises DataError as `load` does, without decoding an image."""
    images.check(find(SOURCE, data_dir), _listed, images.Frame(64, SHAPE), CLASSES)


def _listed(files: Files) -> images.Listing:
    """All labelled images; classes are numbered by their names in order, as everybody's loaders do."""
    numbers = {name: number for number, name in enumerate(sorted(lines(files, "wnids.txt")))}
    found = images.Listing()
    for name, label in numbers.items():
        for line in lines(files, f"train/{name}/{name}_boxes.txt"):  # an image each, and where in it the thing is
            found.add(f"train/{name}/images/{line.split()[0]}", label, 0)
    found.parts = images.hold_out(found.labels).astype(int).tolist()
    for line in lines(files, LABELS):
        image, name = line.split()[:2]
        if name not in numbers:
            said = f"{LABELS} has the class {name}, which is not in wnids.txt"
            raise DataError(f"{files.place}: {said}", files.again)
        found.add(f"val/images/{image}", numbers[name], 2)
    return found

"""Any folder of images, one folder per class, as 3x224x224: the classes are counted in it.

harness run --model resnet18 --task folder --data DIR

    DIR/train/CLASS/*.jpg  DIR/validation/CLASS/..  DIR/test/CLASS/..     `val` is `validation`; png, bmp, webp .. too
    DIR/CLASS/*.jpg                                                      or all in one

Parts that are not there are drawn from each class of what is, the same for every seed: without `test` the folder of
validation is the test part, as everybody does with ImageNet; without either, a fifth is. Without a validation part a tenth of
the training images is. Classes are numbered by name. Training images are mirrored. The first load decodes all images.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from models.tasks import _images as images
    from models.tasks._files import DataError, Files, Folder
else:
    import _images as images
    from _files import DataError, Files, Folder

CLASSES = None  # see `classes`
SHAPE = (3, 224, 224)
DATA = "your own: a folder of images per class"
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff", ".gif")
PARTS = {"train": 0, "validation": 1, "val": 1, "test": 2}
HINT = "Give a folder of images: --data DIR, with DIR/train/CLASS/*.jpg, or DIR/CLASS/*.jpg."
TESTED = 0.2  # of all images, where no part is named


def classes(data_dir: str | None) -> int:
    """Return how many classes there are. Raises DataError: fewer than two."""
    return len(_names(_files(data_dir)))


def load(data_dir: str | None = None) -> images.Data:
    """Return the task from the files in `data_dir`. Raises DataError where there are none, or they are damaged."""
    files = _files(data_dir)
    return images.load(files, _listed, images.Frame(256, SHAPE), len(_names(files)))


def check(data_dir: str | None = None) -> None:
    """Look whether there are images of two classes. Raises DataError as `load` does, without decoding one."""
    files = _files(data_dir)
    images.check(files, _listed, images.Frame(256, SHAPE), len(_names(files)))


def _files(data_dir: str | None) -> Folder:
    if data_dir is None:
        raise DataError("the images are a folder of yours: --data DIR", HINT)
    return Folder(Path(data_dir), "")


def _found(files: Files) -> Iterator[tuple[str, str, str]]:
    """Part ("" where there are none), class and name of each image."""
    paths = [PurePosixPath(name) for name in files.names() if name.lower().endswith(ENDINGS)]
    divided = any(path.parts[0] == "train" for path in paths)
    for path in paths:
        if any(word.startswith((".", "__MACOSX")) for word in path.parts):
            continue  # what file managers leave behind
        if divided and len(path.parts) > 2 and path.parts[0] in PARTS:
            yield path.parts[0], path.parts[1], str(path)
        elif not divided and len(path.parts) > 1:
            yield "", path.parts[0], str(path)


def _names(files: Files) -> list[str]:
    """The names of the classes, in order. Raises DataError: fewer than two."""
    names = sorted({name for _, name, _ in _found(files)})
    if len(names) < 2:
        what = f"images of one class, {names[0]}: there is nothing to learn" if names else "no images in folders"
        raise DataError(f"{files.place}: {what}", HINT)
    return names


def _listed(files: Files) -> images.Listing:
    """All images, with the parts that are missing drawn from those that are there."""
    numbers = {name: number for number, name in enumerate(_names(files))}
    found = images.Listing()
    for part, label, name in _found(files):
        found.add(name, numbers[label], PARTS.get(part, 0))
    labels, parts = np.array(found.labels), np.array(found.parts)
    if 2 not in parts:
        parts[parts == 1] = 2
    for number, share in ((2, TESTED), (1, images.SHARE)):
        if number not in parts:
            parts[np.flatnonzero(parts == 0)[images.hold_out(labels[parts == 0], share)]] = number
    found.parts = parts.tolist()
    return found

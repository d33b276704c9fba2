"""FGVC-Aircraft: 10,000 photographs of 100 variants of aeroplanes, as 3x224x224; 3,334 train, 3,333 validation, 3,333 test.

harness run --model resnet18 --task aircraft --data DIR

In DIR: fgvc-aircraft-2013b.tar.gz (MD5 d4acdd33327262359767eeaa97a4f732), or what is in it. Parts and classes are those of
its makers (data/images_variant_train.txt, ..val.txt, ..test.txt). The line with the photographer's name at the bottom of a
photograph stays where the middle cut leaves it, as in the papers. Training images are mirrored. The first load takes minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.tasks import _images as images
    from models.tasks._files import DataError, Files, Source, find, lines
else:
    import _images as images
    from _files import DataError, Files, Source, find, lines

CLASSES = 100
SHAPE = (3, 224, 224)
DATA = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz (2.8 GB)"
SOURCE = Source(
    "FGVC-Aircraft",
    ("https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",),
    {"data/variants.txt": "fgvc-aircraft-2013b.tar.gz"},
    {"fgvc-aircraft-2013b.tar.gz": "d4acdd33327262359767eeaa97a4f732"},
    "FGVCAircraft",
)


def load(data_dir: str | None = None) -> images.Data:
    """Return the task from the files in `data_dir`. Raises DataError where one is missing or damaged."""
    return images.load(find(SOURCE, data_dir), _listed, images.Frame(256, SHAPE), CLASSES)


def check(data_dir: str | None = None) -> None:
    """Look whether the files are there. Raises DataError as `load` does, without decoding an image."""
    images.check(find(SOURCE, data_dir), _listed, images.Frame(256, SHAPE), CLASSES)


def _listed(files: Files) -> images.Listing:
    """The images as the lists have them; a variant's number is its line in variants.txt."""
    numbers = {name: number for number, name in enumerate(lines(files, "data/variants.txt"))}
    found = images.Listing()
    for part, name in enumerate(("train", "val", "test")):
        listed = f"data/images_variant_{name}.txt"
        for line in lines(files, listed):
            image, _, variant = line.partition(" ")
            if variant not in numbers:
                said = f'{listed} has the variant "{variant}", which is not in variants.txt'
                raise DataError(f"{files.place}: {said}", files.again)
            found.add(f"data/images/{image}.jpg", numbers[variant], part)
    return found

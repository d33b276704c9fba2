"""Describable Textures (DTD): 5,640 photographs of 47 textures, as 3x224x224; 1,880 train, validation and test each.

harness run --model resnet18 --task dtd --data DIR

In DIR: dtd-r1.0.1.tar.gz (MD5 fff73e5086ae6bdbea199a49dfb8a4c1), or what is in it. The parts are the first of the ten
divisions of its makers (labels/train1.txt, val1.txt, test1.txt). Training images are mirrored. The first load decodes all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.tasks import _images as images
    from models.tasks._files import Files, Source, find, lines
else:
    import _images as images
    from _files import Files, Source, find, lines

CLASSES = 47
SHAPE = (3, 224, 224)
DATA = "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz (625 MB)"
SOURCE = Source(
    "DTD",
    ("https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",),
    {"labels/train1.txt": "dtd-r1.0.1.tar.gz"},
    {"dtd-r1.0.1.tar.gz": "fff73e5086ae6bdbea199a49dfb8a4c1"},
    "DTD",
)


def load(data_dir: str | None = None) -> images.Data:
    """Return the task from the files in `data_dir`. Raises DataError where one is missing or damaged."""
    return images.load(find(SOURCE, data_dir), _listed, images.Frame(256, SHAPE), CLASSES)


def check(data_dir: str | None = None) -> None:
    """Look whether the files are there. Raises DataError as `load` does, without decoding an image."""
    images.check(find(SOURCE, data_dir), _listed, images.Frame(256, SHAPE), CLASSES)


def _listed(files: Files) -> images.Listing:
    """The images as the lists have them; a texture's number is its place in the order of their names."""
    parts = [lines(files, f"labels/{name}1.txt") for name in ("train", "val", "test")]
    names = sorted({line.split("/")[0] for part in parts for line in part})
    found = images.Listing()
    for part, listed in enumerate(parts):
        for line in listed:
            found.add(f"images/{line}", names.index(line.split("/")[0]), part)
    return found

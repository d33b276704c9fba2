"""Oxford Flowers-102: 8,189 photographs of 102 kinds of flowers, as 3x224x224; 1,020 train, 1,020 validation, 6,149 test.

harness run --model resnet18 --task flowers102 --data DIR

In DIR: 102flowers.tgz (or the folder jpg in it), imagelabels.mat and setid.mat; all are known by their MD5. The three parts are
those of its makers (trnid, valid, tstid). Training images are mirrored. The first load decodes all images: minutes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.tasks import _images as images
    from models.tasks._files import Archive, DataError, Files, Folder, Listed, Source, find, require_md5
else:
    import _images as images
    from _files import Archive, DataError, Files, Folder, Listed, Source, find, require_md5

CLASSES = 102
SHAPE = (3, 224, 224)
HOME = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102"
DATA = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/: 102flowers.tgz (345 MB), imagelabels.mat, setid.mat"
SOURCE = Source(
    "Flowers-102",
    tuple(f"{HOME}/{name}" for name in ("102flowers.tgz", "imagelabels.mat", "setid.mat")),
    {"imagelabels.mat": ""},
    {
        "102flowers.tgz": "52808999861908f626f3c1f4e79d11fa",
        "imagelabels.mat": "e0620be6f572b9609742df49c70aed4d",
        "setid.mat": "a5357ecc9cb78c4bef273ce3793fc85c",
    },
    "Flowers102",
)
TABLES = {"imagelabels.mat": ("labels",), "setid.mat": ("trnid", "valid", "tstid")}


def load(data_dir: str | None = None) -> images.Data:
    """Return the task from the files in `data_dir`. Raises DataError where one is missing or damaged."""
    return images.load(_files(data_dir), _listed, images.Frame(256, SHAPE), CLASSES)


def check(data_dir: str | None = None) -> None:
    """Look whether the files are there. Raises DataError as `load` does, without decoding an image."""
    images.check(_files(data_dir), _listed, images.Frame(256, SHAPE), CLASSES)


def _files(data_dir: str | None) -> _Flowers:
    return _Flowers(Path(find(SOURCE, data_dir).place))


class _Flowers(Folder):
    """The tables of a folder, with the images of a folder or an archive beside them."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "imagelabels.mat", SOURCE.again(root, unpacked=True))
        archive = root / "102flowers.tgz"
        packed = not (root / "jpg").is_dir() and archive.is_file()
        self.images: Files | None = Archive(archive, SOURCE, "jpg/image_00001.jpg") if packed else None

    def names(self) -> list[str]:
        """Return the names of the images, and those of the tables if they lie in the same folder."""
        return list(self.images.names()) if self.images else super().names()

    def read(self, name: str) -> bytes:
        """Return what a file holds. Raises DataError."""
        if self.images and name not in TABLES:
            return self.images.read(name)
        return super().read(name)

    def require(self, listed: Listed) -> None:
        """Check the tables, and the archive of the images or that each lies there. Raises DataError."""
        if self.images:
            listed(self)
            self.images.require(listed)
        else:
            super().require(listed)


def _listed(files: Files) -> images.Listing:
    """The images in the order of their numbers, from 1."""
    (labels,), parts = (_table(files, name) for name in TABLES)
    part_of = {int(number): part for part, numbers in enumerate(parts) for number in numbers}
    if set(part_of) - set(range(1, len(labels) + 1)):
        raise DataError(f"{files.place}: setid.mat names images that imagelabels.mat has no label of", files.again)
    found = images.Listing()
    for number, part in sorted(part_of.items()):
        found.add(f"jpg/image_{number:05d}.jpg", int(labels[number - 1]) - 1, part)
    return found


def _table(files: Files, name: str) -> list[Any]:
    """The arrays of one of MATLAB's files."""
    from scipy.io import loadmat

    file = Path(files.place) / name
    if not file.is_file():
        raise DataError(f"{files.place}: {name} is missing", SOURCE.hint)
    require_md5(file, SOURCE)
    try:
        table = loadmat(str(file))
        return [table[key].ravel() for key in TABLES[name]]
    except (ValueError, KeyError, TypeError, OSError) as error:
        said = f"{name} holds no {', '.join(TABLES[name])}: {error}"
        raise DataError(f"{files.place}: {said}", files.again) from None

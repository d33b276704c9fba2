"""CIFAR-10: 60,000 photographs of ten kinds of things, 3x32x32; 45,000 train, 5,000 validation, 10,000 test.

harness run --model resnet18 --task cifar10 --data DIR

In DIR: cifar-10-binary.tar.gz (MD5 c32a1d4ab5d03f1284b67883e8d87530) or its files data_batch_1.bin .. test_batch.bin; or the
version for Python, cifar-10-python.tar.gz, which is what torchvision downloads. Files of the latter are pickles: they are
read by a reader that makes nothing but dicts, lists, numbers and bytes. The validation part is a tenth of each class of
the training images, the same for every seed. Training images are mirrored and shifted by up to 4 pixels, as in the papers.
"""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from models.tasks._files import DataError, Files, Source, find
    from models.tasks._images import Array, Data, data, flipped_and_shifted, hold_out
else:
    from _files import DataError, Files, Source, find
    from _images import Array, Data, data, flipped_and_shifted, hold_out

CLASSES = 10
SHAPE = (3, 32, 32)
DATA = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz (162 MB)"
BINARY, PICKLED = "data_batch_1.bin", "data_batch_1"
SOURCE = Source(
    "CIFAR-10",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    {BINARY: "cifar-10-binary.tar.gz", PICKLED: "cifar-10-python.tar.gz"},
    {
        "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    },
    "CIFAR10",
)
PIXELS = 3 * 32 * 32
FILES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")


def load(data_dir: str | None = None) -> Data:
    """Return the task from the files in `data_dir`. Raises DataError where one is missing or damaged."""
    files = find(SOURCE, data_dir)
    batches = _batches(files)
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    trained = len(labels) - len(batches[-1][1])
    parts = np.full(len(labels), 2)
    parts[:trained] = hold_out(labels[:trained])
    rows = np.arange(len(labels))
    return data(pixels.reshape(-1, *SHAPE), rows, labels, parts, CLASSES, flipped_and_shifted, files)


def check(data_dir: str | None = None) -> None:
    """Look whether the files are there and whole. Raises DataError as `load` does; an archive is known by its MD5."""

    def read(files: Files) -> tuple[str, ...]:
        _batches(files)  # a quarter of a second for all of them
        return ()

    find(SOURCE, data_dir).require(read)


def _batches(files: Files) -> list[tuple[Array, Array]]:
    """Pixels and labels of each file. Raises DataError."""
    ending, read = (".bin", _binary) if files.marker == BINARY else ("", _pickled)
    return [read(files, name + ending) for name in FILES]


def _binary(files: Files, name: str) -> tuple[Array, Array]:
    """Pixels (N, 3072) and labels (N,): a byte of label, then red, green and blue, row by row."""
    content = np.frombuffer(files.read(name), np.uint8)
    if not len(content) or len(content) % (1 + PIXELS):
        said = f"{name} has {len(content)} bytes, no multiple of {1 + PIXELS}: it is cut off"
        raise DataError(f"{files.place}: {said}", files.again)
    images = content.reshape(-1, 1 + PIXELS)
    return images[:, 1:], images[:, 0]


# --- the version for Python ------------------------------------------------------------------------------------------


def _pickled(files: Files, name: str) -> tuple[Array, Array]:
    """Pixels (N, 3072) and labels (N,) in one of its files."""
    try:
        batch = _Reader(io.BytesIO(files.read(name)), encoding="bytes").load()
        pixels = np.frombuffer(batch[b"data"].content(), np.uint8).reshape(-1, PIXELS)
        labels = np.array(batch[b"labels"], np.uint8)
    except DataError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        said = f"{name} is no file of CIFAR-10: {type(error).__name__}: {error}"
        raise DataError(f"{files.place}: {said}", files.again) from None
    if pixels.shape != (len(labels), PIXELS):
        raise DataError(f"{files.place}: {name} has {len(pixels)} images and {len(labels)} labels", files.again)
    return pixels, labels


class _Bytes:
    """Stands for an array in a pickle, so that none of NumPy's own code runs on what came from the network."""

    def __init__(self, *said: Any) -> None:
        self.state: Any = said

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def content(self) -> bytes:
        """Return the array's bytes. Raises ValueError unless they are numbers of one byte, row by row."""
        _, _, kind, by_columns, content = self.state
        if kind.name not in (b"u1", "u1") or by_columns or not isinstance(content, bytes):
            raise ValueError("the images must be numbers of one byte, row by row")
        return content


class _Kind(_Bytes):
    """Stands for an array's type."""

    def __init__(self, *said: Any) -> None:
        self.name = said[0]


class _Reader(pickle.Unpickler):
    """Reads pickles that hold arrays, dicts, lists, numbers and bytes; anything else in them is refused by name."""

    _MADE: ClassVar = {"_reconstruct": _Bytes, "ndarray": _Bytes, "dtype": _Kind}
    _HOMES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a part of an array. Raises ValueError for anything else."""
        if module not in self._HOMES or name not in self._MADE:
            raise ValueError(f"it asks for {module}.{name}, which no file of CIFAR-10 does")
        return self._MADE[name]

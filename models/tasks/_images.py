"""Shared by the tasks of image files: listed, decoded once into the cache, normalised and augmented batch by batch.

    $XDG_CACHE_HOME/edge-harness/dataset/<key>/    images.npy (N, 3, H, W) uint8 as read, rows.npy (image i lies in which
                                                   row), labels.npy, parts.npy (0 train, 1 validation, 2 test)

An image's shorter side is brought to `side` pixels (bilinear, antialiased), the middle is cut out: torchvision's
Resize and CenterCrop. Mean and deviation are ImageNet's, as in the papers. The validation part is never augmented; released
code of EASIER, LaCoOT and TLC augments it, and so chooses by noisier figures.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from models.tasks._files import DataError, Files, require_names
else:
    from _files import DataError, Files, require_names

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels, from 0 to 1
SHARE = 0.1  # of the training part that is held out for validation where nobody published which
PARTS = ("train", "validation", "test")
FOREVER_SAME = 0  # the seed of what is held out: a run's own seed must not move images between parts
TOGETHER = 64  # images decoded at a time

Change = Callable[[Tensor, torch.Generator], Tensor]
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Split:
    """A part of a task: `labels` int64 of shape (N,), its inputs by `batch`; `rows` say where they lie in `pixels`."""

    pixels: Array
    rows: Array
    labels: Tensor
    change: Change | None = None

    def batch(self, indices: Tensor, draw: torch.Generator | None = None) -> Tensor:
        """Return these images as float32 (N, 3, H, W), normalised; augmented by `draw` in the part that is trained on."""
        x = torch.from_numpy(np.ascontiguousarray(self.pixels[self.rows[indices.numpy()]]))
        if draw is not None and self.change is not None:
            x = self.change(x, draw)
        return (x.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)


class Data(NamedTuple):
    """A task's parts: `train` to fit, `validation` (held out) for methods to choose by, `test` for accuracy alone."""

    train: Split
    validation: Split
    test: Split
    classes: int
    shape: tuple[int, int, int]


@dataclass
class Listing:
    """The images of a data set in the order of its makers: their files, classes from 0, and parts (0, 1, 2)."""

    names: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)

    def add(self, name: str, label: int, part: int) -> None:
        """List one image more."""
        self.names.append(name)
        self.labels.append(label)
        self.parts.append(part)


class Frame(NamedTuple):
    """How images are brought to one size: the shorter side to `side` pixels, then the middle of `shape`."""

    side: int
    shape: tuple[int, int, int]


def data(
    pixels: Array, rows: Array, labels: Array, parts: Array, classes: int, change: Change | None, files: Files
) -> Data:
    """Return the three parts of these images. Raises DataError: a part without images, labels out of range, one class."""
    if not len(labels) or labels.min() < 0 or labels.max() >= classes:
        said = f"labels must be from 0 to {classes - 1}, they are {_range(labels)}"
        raise DataError(f"{files.place}: {said}", files.again)
    for number, part in enumerate(PARTS):
        if not (parts == number).any():
            raise DataError(f"{files.place}: there are no images in the {part} part", files.again)
    if len(np.unique(labels[parts == 0])) < 2:
        raise DataError(f"{files.place}: all training images are of one class: there is nothing to learn", files.again)

    def split(number: int, change: Change | None = None) -> Split:
        chosen = parts == number
        return Split(pixels, rows[chosen], torch.from_numpy(labels[chosen].astype(np.int64)), change)

    channels, height, width = pixels.shape[1:]
    return Data(split(0, change), split(1), split(2), classes, (channels, height, width))


def hold_out(labels: Sequence[int] | Array, share: float = SHARE) -> Array:
    """Return which images of a training part are for validation: a share of each class, drawn once and for all."""
    labels = np.asarray(labels)
    draw = np.random.default_rng(FOREVER_SAME)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        own = draw.permutation(np.flatnonzero(labels == label))
        chosen[own[: max(round(share * len(own)), int(len(own) > 1))]] = True
    return chosen


def flipped(x: Tensor, draw: torch.Generator) -> Tensor:
    """Mirror each image (N, C, H, W) with probability one half."""
    chosen = torch.rand(len(x), generator=draw) < 0.5
    return torch.where(chosen.view(-1, 1, 1, 1), x.flip(3), x)


def shifted(x: Tensor, draw: torch.Generator, padding: int = 4) -> Tensor:
    """Cut each image (N, C, H, W) at a random place out of itself with `padding` black pixels around."""
    count, _, height, width = x.shape
    wide = functional.pad(x, (padding,) * 4)
    top, left = torch.randint(2 * padding + 1, (2, count, 1), generator=draw)
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    images = torch.arange(count).view(-1, 1, 1)
    return wide[images, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def flipped_and_shifted(x: Tensor, draw: torch.Generator) -> Tensor:
    """Mirror and shift: what all the papers do with CIFAR-10's training images."""
    return shifted(flipped(x, draw), draw)


def load(
    files: Files, listed: Callable[[Files], Listing], frame: Frame, classes: int, change: Change | None = flipped
) -> Data:
    """Return the images that `listed` finds among the files; decoded once, then from the cache. Raises DataError."""
    entry = _entry(files, listed, frame, classes)
    kept = _kept(entry)
    if kept is None:
        _make(entry, files, listed(files), frame)
        kept = _kept(entry)
    if kept is None:
        raise DataError(f"{entry}: the images just decoded are gone", "Give the cache more room: HARNESS_CACHE_GB.")
    return data(*kept, classes, change, files)


def check(files: Files, listed: Callable[[Files], Listing], frame: Frame, classes: int) -> None:
    """Look whether the files that `listed` finds are there, decoding none; nothing where they have been. Raises DataError."""
    if not _entry(files, listed, frame, classes).is_dir():
        files.require(lambda found: listed(found).names)


def decode(content: bytes, what: str, frame: Frame, again: str) -> Array:
    """Return an image as uint8 (3, H, W). Raises DataError, naming it, where it cannot be read to its end."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            read = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        said = str(error) if "BytesIO" not in str(error) else "of no format that is known"
        raise DataError(f"{what}: no image that can be read: {said}", again) from None
    height, width = frame.shape[1:]
    wide, high = (frame.side * side // min(read.size) for side in read.size)
    read = read.resize((wide, high), Image.Resampling.BILINEAR)
    left, top = round((wide - width) / 2), round((high - height) / 2)
    return np.asarray(read.crop((left, top, left + width, top + height))).transpose(2, 0, 1)


def _range(labels: Array) -> str:
    return f"from {labels.min()} to {labels.max()}" if len(labels) else "none"


# --- the cache -----------------------------------------------------------------------------------------------------


def _entry(files: Files, listed: Callable[[Files], Listing], frame: Frame, classes: int) -> Path:
    """Where these images lie in the cache once they are decoded."""
    code = [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in (__file__, listed.__code__.co_filename)]
    said = [code, classes, frame, PIL.__version__, np.__version__, files.identity()]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-harness" / "dataset"
    return home / hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _kept(entry: Path) -> tuple[Array, Array, Array, Array] | None:
    """Images, rows, labels and parts in the cache; None where they are not whole."""
    try:
        os.utime(entry)  # what was used last goes last
        images = np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False)
        rows, labels, parts = (
            np.load(entry / f"{name}.npy", allow_pickle=False) for name in ("rows", "labels", "parts")
        )
    except (OSError, ValueError, EOFError):
        shutil.rmtree(entry, ignore_errors=True)
        return None
    return images, rows, labels, parts


def _make(entry: Path, files: Files, listing: Listing, frame: Frame) -> None:
    """Decode the images into a folder beside the entry, which becomes it when all are there. Raises DataError."""
    order = _reading_order(files, listing.names)
    hint = "Free some space, or set XDG_CACHE_HOME to a roomier folder; run again."
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=entry.parent, ignore_cleanup_errors=True) as folder:
            _write_images(Path(folder) / "images.npy", files, [listing.names[place] for place in order], frame)
            rows = np.empty(len(order), np.int64)
            rows[order] = np.arange(len(order))
            arrays = {"rows": rows, "labels": np.array(listing.labels), "parts": np.array(listing.parts)}
            for name, array in arrays.items():
                np.save(Path(folder) / f"{name}.npy", array, allow_pickle=False)
            _publish(Path(folder), entry)
    except OSError as error:
        raise DataError(f"{entry.parent}: the cache cannot be written: {error.strerror or error}", hint) from None


def _reading_order(files: Files, names: list[str]) -> list[int]:
    """Places of `names` in the order in which they are read fastest. Raises DataError: one is missing."""
    require_names(files, names)
    at = {name: place for place, name in enumerate(files.names())}
    return sorted(range(len(names)), key=lambda place: at[names[place]])


def _write_images(file: Path, files: Files, names: list[str], frame: Frame) -> None:
    # written from front to back, not through a map: a full disk is then an error and not the end of the process
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(names), *frame.shape)}
    with file.open("wb") as stream, ThreadPoolExecutor() as pool:
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, len(names), TOGETHER):  # a few at a time: all of them would fill the memory
            some = names[start : start + TOGETHER]
            read = [files.read(name) for name in some]
            named = [f"{files.place}: {name}" for name in some]
            for image in pool.map(lambda content, what: decode(content, what, frame, files.again), read, named):
                stream.write(image.tobytes())


def _publish(folder: Path, entry: Path) -> None:
    """Give the folder its name once it is on the disk; somebody else's, made meanwhile, is as good."""
    for file in folder.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    if not entry.exists():
        folder.chmod(0o755)
        folder.rename(entry)

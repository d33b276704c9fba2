"""Small data sets in the formats, with the names and in the folders in which the real ones are published."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.compress import models

Files = dict[str, bytes]
NOISE = np.random.default_rng(7)


def photograph(label: int, size: tuple[int, int] = (20, 16), kind: str = "JPEG", mode: str = "RGB") -> bytes:
    """An image with a colour of its class under noise."""
    colour = np.array([label * 37 % 256, label * 91 % 256, 255 - label * 53 % 256])
    pixels = np.clip(colour + NOISE.normal(0, 20, (size[1], size[0], 3)), 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind)
    return out.getvalue()


def cifar_pixels(labels: list[int]) -> np.ndarray[Any, Any]:
    """Pixels (N, 3072): noise, whose first channel tells the class."""
    pixels = NOISE.integers(0, 256, (len(labels), 3, 1024))
    pixels[:, 0] = (pixels[:, 0] + 25 * np.array(labels)[:, None]) // 2
    return pixels.reshape(len(labels), 3072).astype(np.uint8)


def cifar10(each: int = 4) -> Files:
    """The binary version, in its folder, with `each` images per class and file."""
    labels = list(range(10)) * each
    content = {name: cifar_pixels(labels) for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch")}
    return {
        f"cifar-10-batches-bin/{name}.bin": np.column_stack([np.array(labels, np.uint8), pixels]).tobytes()
        for name, pixels in content.items()
    }


def cifar10_python(files: Files) -> Files:
    """The same images in the version for Python, as its Python 2 has written them."""
    made = {}
    for name, content in files.items():
        rows = np.frombuffer(content, np.uint8).reshape(-1, 3073)
        place = name.replace("-bin/", "-py/").removesuffix(".bin")
        made[place] = python_2_pickle(rows[:, 1:].tobytes(), rows[:, 0].tolist())
    return made


def python_2_pickle(pixels: bytes, labels: list[int]) -> bytes:
    """A dict of an array and a list, opcode by opcode (protocol 2), with Python 2's strings of bytes."""

    def word(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text

    count = len(labels).to_bytes(4, "little")
    kind = b"cnumpy\ndtype\n" + word(b"u1") + b"K\x00K\x01\x87R(K\x03" + word(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2
    kind += b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + word(b"b") + b"\x87R"
    state = b"(K\x01J" + count + b"M\x00\x0c\x86" + kind + b"\x89T" + len(pixels).to_bytes(4, "little") + pixels + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + word(b"data") + array + state + word(b"labels") + listed + b"u."


def tiny_imagenet(classes: int = 200) -> Files:
    """Two training images and one of `val` for each class."""
    names, made = [f"n{10000 + number}" for number in range(classes)], {}
    shown = "".join(f"{name}\n" for name in reversed(names))  # the real list is in no order either
    made["wnids.txt"], annotations = shown.encode(), ""
    for label, name in enumerate(names):
        own = [f"{name}_{number}.JPEG" for number in range(2)]
        made[f"train/{name}/{name}_boxes.txt"] = "".join(f"{image}\t0\t0\t62\t62\n" for image in own).encode()
        made |= {f"train/{name}/images/{image}": photograph(label, (64, 64)) for image in own}
        made[f"val/images/val_{label}.JPEG"] = photograph(label, (64, 64), mode="L" if label == 3 else "RGB")
        annotations += f"val_{label}.JPEG\t{name}\t0\t32\t44\t62\n"
    made["val/val_annotations.txt"] = annotations.encode()
    return {f"tiny-imagenet-200/{name}": content for name, content in made.items()}


def flowers102(classes: int = 102) -> Files:
    """One image of each class in each part."""
    from scipy.io import savemat

    labels = np.tile(np.arange(1, classes + 1), 3).astype(np.uint8)
    parts = np.arange(1, 3 * classes + 1).reshape(3, classes)
    tables: dict[str, dict[str, Any]] = {
        "imagelabels.mat": {"labels": labels[None]},
        "setid.mat": {name: part[None] for name, part in zip(("trnid", "valid", "tstid"), parts, strict=True)},
    }
    made = {f"jpg/image_{number:05d}.jpg": photograph(int(label)) for number, label in enumerate(labels, 1)}
    for name, table in tables.items():
        out = io.BytesIO()
        savemat(out, table)
        made[name] = out.getvalue()
    return made


def dtd(classes: int = 47) -> Files:
    """One image of each class in each part."""
    names, made = [f"texture{number:02d}" for number in range(classes)], {}
    for part in ("train", "val", "test"):
        own = [f"{name}/{name}_{part}.jpg" for name in names]
        made[f"labels/{part}1.txt"] = "\n".join(own).encode()
        made |= {f"images/{name}": photograph(label) for label, name in enumerate(own)}
    return {f"dtd/{name}": content for name, content in made.items()}


def aircraft(classes: int = 100) -> Files:
    """One image of each variant in each part; variants have blanks and slashes in their names."""
    names = [f"F/A {number}" for number in range(classes)]
    made = {"data/variants.txt": "\n".join(names).encode()}
    for place, part in enumerate(("train", "val", "test")):
        numbered = [(f"{1000 * place + number:07d}", name) for number, name in enumerate(names)]
        made[f"data/images_variant_{part}.txt"] = "".join(f"{image} {name}\n" for image, name in numbered).encode()
        made |= {f"data/images/{image}.jpg": photograph(label) for label, (image, _) in enumerate(numbered)}
    return {f"fgvc-aircraft-2013b/{name}": content for name, content in made.items()}


def folder(classes: int = 3, each: int = 5, parts: tuple[str, ...] = ("train/", "val/", "test/")) -> Files:
    """A folder per class in each part, with images of several formats."""
    kinds = {0: "JPEG", 1: "PNG", 2: "WEBP"}
    return {
        f"{part}kind {label}/{number}.{kinds[number % 3].lower()}": photograph(label, kind=kinds[number % 3])
        for part in parts
        for label in range(classes)
        for number in range(each)
    }


WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "a", "##ly", ".")


def sst2(each: int = 30) -> Files:
    """GLUE's files of sentences of two classes, with few words that the tokeniser knows."""
    rows = [f"a {('bad', 'good')[number % 2]}ly film {number} . \t{number % 2}" for number in range(2 * each)]
    both = {part: "\n".join(["sentence\tlabel", *rows, ""]).encode() for part in ("train", "dev")}
    test = b"index\tsentence\n0\ta film .\n"
    return {"SST-2/test.tsv": test, **{f"SST-2/{part}.tsv": content for part, content in both.items()}}


def wordpieces() -> Files:
    """A tokeniser's words, as BERT has them."""
    return {"vocab.txt": "".join(f"{word}\n" for word in WORDS).encode()}


def bytepairs() -> Files:
    """A tokeniser's words and pairs, as RoBERTa has them (a blank is written as one letter)."""
    letters = [*map(chr, range(33, 127)), "Ġ"]
    words = ["<s>", "<pad>", "</s>", "<unk>", *letters, "go", "goo", "good", "Ġgood"]
    merges = "#version: 0.2\ng o\ngo o\ngoo d\nĠ good\n"
    numbered = {word: number for number, word in enumerate(words)}
    return {"vocab.json": json.dumps(numbered).encode(), "merges.txt": merges.encode()}


MAKERS: Mapping[str, Callable[[], Files]] = {
    "aircraft": aircraft,
    "cifar10": cifar10,
    "dtd": dtd,
    "flowers102": flowers102,
    "folder": folder,
    "sst2": lambda: sst2() | wordpieces(),
    "sst2-bytepairs": lambda: sst2() | bytepairs(),
    "tiny-imagenet": tiny_imagenet,
}


def write(files: Files, root: Path) -> Path:
    """Write the files below a folder and return it."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def pack(files: Files, archive: Path) -> Path:
    """Write the files as an archive, of the kind that its name says."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return archive
    with tarfile.open(archive, "w:gz") as stream:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            stream.addfile(member, io.BytesIO(content))
    return archive


def known(module: ModuleType, *files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the task know these files by their MD5, as it knows the real ones."""
    for file in files:
        monkeypatch.setitem(module.SOURCE.md5, file.name, hashlib.md5(file.read_bytes()).hexdigest())


def data_of(module: ModuleType, name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """A folder with what the task reads, small; None for a task that reads nothing."""
    if not hasattr(module, "DATA"):
        return None
    if name in MAKERS:
        write(MAKERS[name](), root)
        known(module, *root.glob("*.mat"), monkeypatch=monkeypatch)
        return str(root)
    for seed, part in enumerate(("train", "validation", "test")):
        tokens, labels = models.example(module, seed).numpy(), np.arange(4) % module.CLASSES
        np.savez(root / f"{part}.npz", tokens=tokens, labels=labels)
    return str(root)


def evil_pickle() -> bytes:
    """A pickle that would run a program."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            import os

            return os.system, ("touch /tmp/harness-was-here",)

    return pickle.dumps({b"data": Evil(), b"labels": [0]}, protocol=3)

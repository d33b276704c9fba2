"""Images come out of the files as published, pixel by pixel; whatever is missing or damaged is named, with what to do."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_datasets import (
    MAKERS,
    Files,
    cifar10,
    cifar10_python,
    dtd,
    evil_pickle,
    flowers102,
    folder,
    known,
    pack,
    photograph,
    tiny_imagenet,
    write,
)
from PIL import Image
from with_torchvision import torchvision

from harness import cache, content
from harness.child import Progress
from harness.compress import client, keys, models, state
from harness.compress.climber import Means
from harness.errors import ContentError
from harness.records import LadderRequest

MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
ARCHIVES = {
    "cifar10": "cifar-10-binary.tar.gz",
    "tiny-imagenet": "tiny-imagenet-200.zip",
    "dtd": "dtd-r1.0.1.tar.gz",
    "aircraft": "fgvc-aircraft-2013b.tar.gz",
}


def load(name: str, root: Path | None) -> Any:
    """The task's data, or the error as a user meets it."""
    said = None if root is None else str(root)
    with content.blaming(content.find("task", name)):
        return models.task(name, said).load(said)


def look(name: str, root: Path | None) -> None:
    """What is looked at before anything is made."""
    said = None if root is None else str(root)
    with content.blaming(content.find("task", name)):
        models.task(name, said).check(said)


def refused(name: str, root: Path | None, do: Callable[[str, Path | None], Any] = load) -> str:
    with pytest.raises(ContentError) as caught:
        do(name, root)
    assert caught.value.exit_code == 2 and "\n" not in caught.value.message and caught.value.hint
    return caught.value.message


def pixels(split: Any) -> torch.Tensor:
    """The images of a split as they were read, from 0 to 255."""
    x = state.inputs(split, torch.arange(len(split.labels)))
    return (x * DEVIATION.view(3, 1, 1) + MEAN.view(3, 1, 1)) * 255


def parts_of(data: Any) -> tuple[Any, Any, Any]:
    return data.train, data.validation, data.test


def task(name: str) -> ModuleType:
    return content.load("task", name)


# --- CIFAR-10 --------------------------------------------------------------------------------------------------------


def test_cifar_s_bytes_become_red_green_blue_rows_and_its_test_file_the_test_part(tmp_path: Path) -> None:
    files = cifar10()
    data = load("cifar10", write(files, tmp_path))
    rows = np.frombuffer(files["cifar-10-batches-bin/test_batch.bin"], np.uint8).reshape(-1, 3073)
    assert torch.equal(data.test.labels, torch.from_numpy(rows[:, 0].astype(np.int64)))
    expected = torch.from_numpy(rows[:, 1:].reshape(-1, 3, 32, 32).copy()).float()
    assert torch.allclose(pixels(data.test), expected, atol=1e-3)


def test_cifar_s_validation_part_is_a_tenth_of_each_class_disjoint_and_always_the_same(tmp_path: Path) -> None:
    root = write(cifar10(each=4), tmp_path)
    data, again = load("cifar10", root), load("cifar10", root)
    assert [len(part.labels) for part in parts_of(data)] == [180, 20, 40]
    assert torch.bincount(data.validation.labels).tolist() == [2] * 10
    assert len(torch.unique(torch.cat([pixels(part) for part in parts_of(data)]).flatten(1), dim=0)) == 240
    assert torch.equal(pixels(data.validation), pixels(again.validation))


@pytest.mark.parametrize("kind", ["binary", "python"])
@pytest.mark.parametrize("packed", [False, True], ids=["unpacked", "packed"])
def test_cifar_is_the_same_from_either_version_packed_or_not(
    kind: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = cifar10()
    expected = load("cifar10", write(files, tmp_path / "plain"))
    made = files if kind == "binary" else cifar10_python(files)
    (tmp_path / "own").mkdir()
    if packed:
        archive = pack(made, tmp_path / "own" / f"cifar-10-{kind}.tar.gz")
        known(task("cifar10"), archive, monkeypatch=monkeypatch)
    else:
        write(made, tmp_path / "own")
    data = load("cifar10", tmp_path / "own")
    for one, other in zip(parts_of(data), parts_of(expected), strict=True):
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(pixels(one), pixels(other))


def test_a_pickle_that_asks_for_anything_but_arrays_is_refused_by_name_and_does_nothing(tmp_path: Path) -> None:
    root = write(cifar10_python(cifar10()), tmp_path)
    (root / "cifar-10-batches-py/data_batch_3").write_bytes(evil_pickle())
    assert "data_batch_3 is no file of CIFAR-10: ValueError: it asks for posix.system" in refused("cifar10", root)
    assert not Path("/tmp/harness-was-here").exists()


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("data_batch_4.bin", lambda found: found[:-5], "data_batch_4.bin has 122915 bytes, no multiple of 3073"),
        ("test_batch.bin", lambda found: b"", "test_batch.bin has 0 bytes"),
        ("data_batch_2.bin", None, "data_batch_2.bin is missing"),
        ("data_batch_2.bin", lambda found: b"\x0b" + found[1:], "labels must be from 0 to 9, they are from 0 to 11"),
        ("data_batch_5", lambda found: found[:-500], "data_batch_5 is no file of CIFAR-10"),
        ("data_batch_5", lambda found: b"", "data_batch_5 is no file of CIFAR-10"),
        ("data_batch_5", lambda found: found.replace(b"u1", b"f4"), "must be numbers of one byte"),
        ("data_batch_5", lambda found: found.replace(b"K\x09e", b"e"), "has 40 images and 39 labels"),
    ],
)
def test_a_damaged_file_of_cifar_is_named_with_what_is_wrong(name: str, change: Any, said: str, tmp_path: Path) -> None:
    made = cifar10() if name.endswith(".bin") else cifar10_python(cifar10())
    root = write(made, tmp_path)
    file = next(root.glob(f"*/{name}"))
    if change is None:
        file.unlink()
    else:
        file.write_bytes(change(file.read_bytes()))
    assert said in refused("cifar10", root)


# --- what is trained on ------------------------------------------------------------------------------------------------


def test_training_images_are_mirrored_and_shifted_others_never(tmp_path: Path) -> None:
    data = load("cifar10", write(cifar10(each=12), tmp_path))
    draw = torch.Generator().manual_seed(0)
    for part in (data.validation, data.test):
        some = torch.arange(10)
        assert torch.equal(state.inputs(part, some, draw), state.inputs(part, some))
    some = torch.arange(len(data.train.labels))
    plain = pixels(data.train)
    drawn = (state.inputs(data.train, some, draw) * DEVIATION.view(3, 1, 1) + MEAN.view(3, 1, 1)) * 255
    seen = set()
    for before, after in zip(plain.round(), drawn.round(), strict=True):
        wide = torch.nn.functional.pad(before, (4,) * 4)
        ways = [
            (bool(turned), top, left)
            for turned, image in ((0, wide), (1, wide.flip(2)))
            for top in range(9)
            for left in range(9)
            if torch.equal(image[:, top : top + 32, left : left + 32], after)
        ]
        assert len(ways) == 1, "each is its image, mirrored or not, shifted by up to 4 pixels"
        seen.add(ways[0])
    assert {turned for turned, _, _ in seen} == {True, False}
    assert {top for _, top, _ in seen} == {left for _, _, left in seen} == set(range(9))


def test_what_is_drawn_follows_from_the_generator_alone(tmp_path: Path) -> None:
    data = load("cifar10", write(cifar10(), tmp_path))
    some = torch.tensor([3, 1, 2])
    first, second, other = (state.inputs(data.train, some, torch.Generator().manual_seed(n)) for n in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, other)


@given(st.lists(st.integers(0, 4), max_size=80), st.sampled_from([0.05, 0.1, 0.2, 0.5]))
def test_what_is_held_out_is_the_share_of_each_class_and_never_all_of_one(labels: list[int], share: float) -> None:
    import sys

    sys.path.append(str(content.ROOT / "models" / "tasks"))
    try:
        from _images import hold_out  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(content.ROOT / "models" / "tasks"))
    chosen = hold_out(labels, share)
    for label in set(labels):
        own = [bool(held) for held, each in zip(chosen, labels, strict=True) if each == label]
        assert sum(own) == (max(1, round(share * len(own))) if len(own) > 1 else 0)
        assert not all(own)


# --- image files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(300, 256), (256, 300), (500, 377), (97, 131), (640, 480)])
def test_images_are_brought_to_size_as_torchvision_does(size: tuple[int, int], tmp_path: Path) -> None:
    transforms = torchvision().transforms
    root = write(folder(classes=2, each=1), tmp_path)
    (root / "test/kind 0/0.jpeg").write_bytes(image := photograph(5, size))
    usual = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.PILToTensor()])
    expected = usual(Image.open(io.BytesIO(image)))
    assert torch.equal(pixels(load("folder", root).test)[0].round().byte(), expected)


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_gives_what_its_files_give_and_nothing_is_unpacked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers: dict[str, Files] = {"tiny-imagenet": tiny_imagenet(200), "dtd": dtd(5)}
    files = makers.get(name) or MAKERS[name]()
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    packed.mkdir()
    backwards = dict(reversed(list(files.items())))  # whatever order the archive has, the images have the lists'
    archive = pack(backwards, packed / ARCHIVES[name])
    known(task(name), archive, monkeypatch=monkeypatch)
    for one, other in zip(parts_of(load(name, write(files, plain))), parts_of(load(name, packed)), strict=True):
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(pixels(one), pixels(other))
    assert [file.name for file in packed.rglob("*")] == [archive.name]


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_is_not_the_published_one_is_refused_by_its_md5(name: str, tmp_path: Path) -> None:
    archive = pack({"a": b"b"}, tmp_path / ARCHIVES[name])
    url, wanted = task(name).SOURCE.urls[0], task(name).SOURCE.md5[archive.name]
    for do in (load, look):
        with pytest.raises(ContentError) as caught:
            do(name, tmp_path)
        assert caught.value.message.startswith(f"{archive}: its MD5 is ")
        assert caught.value.message.endswith(f", it must be {wanted}")
        assert caught.value.message.count(str(tmp_path)) == 1, "the path is told once"
        assert f"Get it again, in {tmp_path}: curl -LO {url}" in caught.value.hint


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_ends_too_soon_is_named_even_if_its_md5_were_right(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack({"data/big": np.random.default_rng(0).bytes(50000)}, tmp_path / ARCHIVES[name])
    archive.write_bytes(archive.read_bytes()[:20000])
    known(task(name), archive, monkeypatch=monkeypatch)
    assert f"{archive}: no archive that can be read" in refused(name, tmp_path)


def test_paths_that_lead_out_of_an_archive_and_links_lead_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    archive = pack({"../../escaped.txt": b"out", **cifar10()}, root / "cifar-10-binary.tar.gz")
    with tarfile.open(root / "links.tar.gz", "w:gz") as stream, tarfile.open(archive) as made:
        for member in made:
            if member.name.endswith("data_batch_2.bin"):
                member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0
            stream.addfile(member, made.extractfile(member) if member.isreg() else None)
    (root / "links.tar.gz").replace(archive)
    known(task("cifar10"), archive, monkeypatch=monkeypatch)
    assert "data_batch_2.bin is missing in it" in refused("cifar10", root)
    assert not list(tmp_path.rglob("escaped.txt"))


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("tiny-imagenet", "val/images/val_9.JPEG"),
        ("dtd", "dtd/images/texture03/texture03_val.jpg"),
        ("folder", "train/kind 1/1.png"),
    ],
)
@pytest.mark.parametrize("damage", ["cut off", "not an image"])
def test_an_image_that_cannot_be_read_is_named_and_nothing_is_kept(
    name: str, image: str, damage: str, tmp_path: Path
) -> None:
    root = write(MAKERS[name](), tmp_path)
    file = next(root.rglob(Path(image).name)) if name != "folder" else root / image
    file.write_bytes(file.read_bytes()[:-200] if damage == "cut off" else b"<html>404</html>")
    said = refused(name, root)
    assert file.name in said and "no image that can be read" in said and "BytesIO" not in said
    assert not cache.entries() and not list((cache.root() / "dataset").iterdir())
    file.write_bytes(photograph(0, (64, 64)))
    load(name, root)


@pytest.mark.parametrize(
    ("name", "file", "text", "said"),
    [
        ("tiny-imagenet", "val_annotations.txt", "val_0.JPEG\tn99999\t0\t0\t1\t1\n", "class n99999, which is not in"),
        ("tiny-imagenet", "val_annotations.txt", "val_777.JPEG\tn10000\t0\t0\t1\t1\n", "val_777.JPEG is missing"),
        ("tiny-imagenet", "wnids.txt", "n10000\n", "has the class n10001, which is not in"),
        ("tiny-imagenet", "n10003_boxes.txt", "n10003_9.JPEG\t0\t0\t1\t1\n", "n10003_9.JPEG is missing"),
        ("aircraft", "images_variant_val.txt", "1000000 Concorde\n", 'the variant "Concorde", which is not in'),
        ("aircraft", "images_variant_val.txt", "", "no images in the validation part"),
        ("dtd", "train1.txt", "texture00/nowhere.jpg\n", "texture00/nowhere.jpg is missing"),
        ("dtd", "train1.txt", "texture00/texture00_train.jpg\n", "of one class"),
    ],
)
def test_a_list_that_does_not_fit_the_images_is_refused(
    name: str, file: str, text: str, said: str, tmp_path: Path
) -> None:
    root = write(MAKERS[name](), tmp_path)
    next(root.rglob(file)).write_text(text)
    assert said in refused(name, root)


def test_tiny_imagenet_s_classes_are_numbered_by_name_and_val_is_the_test_part(tmp_path: Path) -> None:
    files = tiny_imagenet()  # its list of names is in another order
    data = load("tiny-imagenet", write(files, tmp_path))
    assert [len(part.labels) for part in parts_of(data)] == [200, 200, 200]
    assert data.test.labels.tolist() == list(range(200))
    image = Image.open(io.BytesIO(files["tiny-imagenet-200/val/images/val_7.JPEG"]))
    expected = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
    assert torch.equal(pixels(data.test)[7].round().byte(), expected), "64x64 pixels stay as they are"


def test_flowers_come_from_the_archive_too_and_have_the_labels_of_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = flowers102()
    tables = {name: content for name, content in files.items() if name.endswith(".mat")}
    images = {name: content for name, content in files.items() if name not in tables}
    plain, packed = write(files, tmp_path / "plain"), write(tables, tmp_path / "packed" / "flowers-102")
    archive = pack(images, packed / "102flowers.tgz")
    known(task("flowers102"), archive, *packed.glob("*.mat"), monkeypatch=monkeypatch)
    one, other = load("flowers102", plain), load("flowers102", tmp_path / "packed")
    assert [len(part.labels) for part in parts_of(one)] == [102, 102, 102]
    assert one.test.labels.tolist() == list(range(102))
    assert torch.equal(pixels(one.test), pixels(other.test))
    monkeypatch.undo()
    assert "imagelabels.mat: its MD5 is" in refused("flowers102", tmp_path / "packed")
    (packed / "setid.mat").unlink()
    known(task("flowers102"), packed / "imagelabels.mat", monkeypatch=monkeypatch)
    assert "setid.mat is missing" in refused("flowers102", tmp_path / "packed")


# --- a look before anything is made -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file", "said"),
    [
        ("cifar10", "data_batch_4.bin", "data_batch_4.bin is missing"),
        ("tiny-imagenet", "n10003_1.JPEG", "images/n10003_1.JPEG is missing"),
        ("tiny-imagenet", "n10007_boxes.txt", "n10007_boxes.txt is missing"),
        ("dtd", "texture02_val.jpg", "texture02_val.jpg is missing"),
        ("aircraft", "variants.txt", "no FGVC-Aircraft here"),
    ],
)
def test_a_look_finds_what_is_missing_as_loading_does_and_decodes_nothing(
    name: str, file: str, said: str, tmp_path: Path
) -> None:
    root = write(MAKERS[name](), tmp_path)
    look(name, root)
    next(root.rglob(file)).unlink()
    assert said in refused(name, root, look)
    assert not cache.entries()
    assert refused(name, root, look) == refused(name, root)


def test_a_look_finds_a_file_of_cifar_that_is_cut_off(tmp_path: Path) -> None:
    root = write(cifar10(), tmp_path)
    file = next(root.rglob("data_batch_5.bin"))
    file.write_bytes(file.read_bytes()[:-1])
    assert "data_batch_5.bin has 122919 bytes" in refused("cifar10", root, look)


def test_a_look_at_flowers_reads_tables_and_archive_by_their_md5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = flowers102()
    tables = {name: content for name, content in files.items() if name.endswith(".mat")}
    root = write(tables, tmp_path)
    archive = pack({"jpg/image_00001.jpg": b"one"}, root / "102flowers.tgz")
    known(task("flowers102"), *root.glob("*.mat"), monkeypatch=monkeypatch)
    assert f"{archive}: its MD5 is" in refused("flowers102", root, look)
    known(task("flowers102"), archive, monkeypatch=monkeypatch)
    look("flowers102", root)
    (root / "setid.mat").unlink()
    assert "setid.mat is missing" in refused("flowers102", root, look)


def test_a_ladder_looks_at_its_data_before_it_is_made_unless_its_method_reads_none(tmp_path: Path) -> None:
    trained = LadderRequest("easier", "tiny", "cifar10", threads=1, data=str(tmp_path))
    with pytest.raises(ContentError, match="no CIFAR-10 here") as caught:
        Means(trained, lambda progress: None).check()
    assert "curl -LO" in caught.value.hint
    Means(replace(trained, method="order"), lambda progress: None).check()


def test_reading_files_is_said_before_it_begins(tmp_path: Path) -> None:
    seen: list[Progress] = []
    request = LadderRequest("easier", "tiny", "cifar10", threads=1, data=str(write(cifar10(), tmp_path)))
    assert len(Means(request, seen.append).data.test.labels) == 40
    assert [progress.text for progress in seen] == ["easier: reading the data of cifar10"]


# --- any folder --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [
        (("train/", "val/", "test/"), [30, 30, 30]),
        (("train/", "validation/", "test/"), [30, 30, 30]),
        (("train/", "val/"), [27, 3, 30]),
        (("train/", "test/"), [27, 3, 30]),
        (("train/",), [21, 3, 6]),
        (("",), [21, 3, 6]),
    ],
    ids=lambda value: "+".join(part.strip("/") or "none" for part in value) if isinstance(value, tuple) else "",
)
def test_a_folder_s_missing_parts_are_drawn_from_each_class(
    parts: tuple[str, ...], sizes: list[int], tmp_path: Path
) -> None:
    root = write(folder(classes=3, each=10, parts=parts), tmp_path)
    (root / ".DS_Store").write_bytes(b"")
    data = load("folder", root)
    assert [len(part.labels) for part in parts_of(data)] == sizes
    assert data.classes == models.task("folder", str(root)).CLASSES == 3
    for part in parts_of(data):
        assert len(set(torch.bincount(part.labels).tolist())) == 1


@pytest.mark.parametrize(("classes", "said"), [(1, "images of one class, kind 0"), (0, "no images in folders")])
def test_a_folder_of_fewer_than_two_classes_is_refused(classes: int, said: str, tmp_path: Path) -> None:
    assert said in refused("folder", write(folder(classes=classes), tmp_path))


def test_a_model_has_as_many_outputs_as_the_folder_has_classes(tmp_path: Path) -> None:
    root = str(write(folder(classes=4), tmp_path))
    network = models.build("tiny", models.task("folder", root), seed=0)
    assert network.eval()(torch.zeros(1, 3, 224, 224)).shape == (1, 4)
    assert keys.controls("tiny", "folder", 0, root) != keys.controls("tiny", "folder", 0, str(tmp_path / "train"))


@pytest.mark.slow
def test_controls_have_as_many_outputs_as_the_folder_has_classes(tmp_path: Path) -> None:
    root = str(write(folder(classes=4), tmp_path))
    ladder = client.controls("tiny", "folder", 0, lambda progress: None, root)
    assert {rung.variant.classes for rung in ladder.rungs} == {4}


# --- the cache ---------------------------------------------------------------------------------------------------------


def test_images_are_decoded_once_and_again_when_the_files_change_or_the_cache_is_damaged(tmp_path: Path) -> None:
    root = write(folder(), tmp_path)
    first = pixels(load("folder", root).test)
    (entry,) = cache.entries()
    assert entry.kind == "dataset"
    stamp = (entry.path / "images.npy").stat().st_mtime_ns
    assert torch.equal(pixels(load("folder", root).test), first)
    assert (entry.path / "images.npy").stat().st_mtime_ns == stamp
    images = (entry.path / "images.npy").read_bytes()
    (entry.path / "images.npy").write_bytes(images[:-1000])
    assert torch.equal(pixels(load("folder", root).test), first)
    time.sleep(0.01)
    (root / "test/kind 0/0.jpeg").write_bytes(photograph(9))
    assert not torch.equal(pixels(load("folder", root).test), first)
    assert len(cache.entries()) == 2


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "the cache cannot be written: Not a directory" in refused("folder", write(folder(), tmp_path / "images"))


# --- the whole way -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_network_learns_from_cifar_s_files_and_its_ladder_says_on_how_many_it_was_tested(tmp_path: Path) -> None:
    root = write(cifar10(each=8), tmp_path)
    request = LadderRequest("easier", "tiny", "cifar10", threads=1, data=str(root), rungs=1, schedule="quick")
    ladder = client.climb(request, lambda progress: None)
    assert ladder.test_examples == 80
    assert [rung.removed for rung in ladder.rungs] == [0, 1]
    assert ladder.rungs[0].accuracy > 0.15  # of ten classes; the first channel tells which


@pytest.mark.slow
def test_data_that_are_not_there_end_the_command_with_one_line_and_the_next_move(
    tmp_path: Path,
) -> None:
    request = LadderRequest("easier", "tiny", "cifar10", threads=1, data=str(tmp_path))
    with pytest.raises(ContentError, match=r"no CIFAR-10 here: looked for data_batch_1\.bin or data_batch_1") as caught:
        client.climb(request, lambda progress: None)
    assert "curl -LO https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz" in caught.value.hint
    assert "torchvision.datasets.CIFAR10('DIR', download=True)" in caught.value.hint
    assert not cache.entries()

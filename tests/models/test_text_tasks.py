"""SST-2's sentences become the tokens that transformers' own tokenisers make of them; damage is named with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from made_datasets import bytepairs, known, pack, sst2, wordpieces, write
from with_torchvision import torchvision

from harness import content
from harness.compress import models
from harness.errors import ContentError

TOKENISERS = {"sst2": wordpieces, "sst2-bytepairs": bytepairs}


def load(name: str, root: Path) -> Any:
    with content.blaming(content.find("task", name)):
        return content.load("task", name).load(str(root))


def refused(name: str, root: Path) -> ContentError:
    with pytest.raises(ContentError) as caught:
        load(name, root)
    assert "\n" not in caught.value.message and caught.value.hint
    return caught.value


@pytest.mark.parametrize("name", TOKENISERS)
def test_sentences_have_64_tokens_and_dev_is_the_test_part(name: str, tmp_path: Path) -> None:
    data = load(name, write(sst2(each=30) | TOKENISERS[name](), tmp_path))
    assert [tuple(part.images.shape) for part in (data.train, data.validation, data.test)] == [
        (56, 64),
        (4, 64),
        (60, 64),
    ]
    assert data.test.labels.tolist() == [0, 1] * 30
    assert torch.bincount(data.validation.labels).tolist() == [2, 2]
    held = torch.cat([data.train.images, data.validation.images]).tolist()
    assert sorted(held) == sorted(data.test.images.tolist()), "train.tsv and dev.tsv hold the same here"


def test_wordpieces_are_cut_as_worked_by_hand(tmp_path: Path) -> None:
    rows = b"sentence\tlabel\nA  GOODLY film, .\t1\nbad\t0\n"
    data = load("sst2", write({**sst2(), **wordpieces(), "SST-2/dev.tsv": rows}, tmp_path))
    begin, a, good, ly, film, unknown, stop, end, bad = 2, 8, 5, 9, 7, 1, 10, 3, 6
    assert data.test.images[0].tolist() == [begin, a, good, ly, film, unknown, stop, end] + [0] * 56
    assert data.test.images[1].tolist() == [begin, bad, end] + [0] * 61


def test_bytepairs_are_joined_as_worked_by_hand(tmp_path: Path) -> None:
    rows = b"sentence\tlabel\ngood good\t1\ngo\t0\n"
    words = {**bytepairs(), "SST-2/dev.tsv": rows}
    data = load("sst2-bytepairs", write({**sst2(), **words}, tmp_path))
    joined, go, blank_good = 4 + 95 + 2, 4 + 95, 4 + 95 + 3
    assert data.test.images[0].tolist() == [0, joined, blank_good, 2] + [1] * 60
    assert data.test.images[1].tolist() == [0, go, 2] + [1] * 61


def test_tokens_are_those_of_transformers_own_tokenisers(tmp_path: Path) -> None:
    torchvision()  # else the library finds one whose operators do not load
    from transformers import BertTokenizer

    root = write(sst2() | wordpieces(), tmp_path)
    theirs = BertTokenizer(str(root / "vocab.txt"))
    said = [line.rpartition("\t")[0].strip() for line in (root / "SST-2/dev.tsv").read_text().splitlines()[1:]]
    expected = theirs(said, padding="max_length", max_length=64, truncation=True)["input_ids"]
    assert load("sst2", root).test.images.tolist() == expected


def test_a_long_sentence_is_cut_off_and_still_ends(tmp_path: Path) -> None:
    rows = b"sentence\tlabel\n" + b"film " * 200 + b"\t1\nbad\t0\n"
    data = load("sst2", write({**sst2(), **wordpieces(), "SST-2/dev.tsv": rows}, tmp_path))
    assert data.test.images[0].tolist() == [2] + [7] * 62 + [3]


def test_the_archive_gives_what_its_files_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, packed = write(sst2() | wordpieces(), tmp_path / "plain"), write(wordpieces(), tmp_path / "packed")
    archive = pack(sst2(), packed / "SST-2.zip")
    assert "its MD5 is" in refused("sst2", packed).message
    known(content.load("task", "sst2").sst2, archive, monkeypatch=monkeypatch)
    assert torch.equal(load("sst2", packed).test.images, load("sst2", plain).test.images)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("SST-2/dev.tsv", "sentence\tlabel\na film\t1\nbad\t2\n", r"dev\.tsv, line 3: no sentence, tab and 0 or 1"),
        ("SST-2/dev.tsv", "sentence\tlabel\na film\t1\nbad\t1\n", r"dev\.tsv has sentences of fewer than two classes"),
        ("SST-2/dev.tsv", "<html>404</html>", r"dev\.tsv must begin with the line sentence, tab, label"),
        ("SST-2/train.tsv", "", r"train\.tsv must begin with"),
        ("vocab.txt", "good\nbad\n", r"make none: vocab\.txt lacks \[PAD\], \[UNK\], \[CLS\], \[SEP\]"),
        ("vocab.json", "[", r"make none: "),
        ("vocab.json", '{"<s>": 0}', r"make none: vocab\.json lacks <pad>, </s>, <unk>"),
        ("merges.txt", "#version: 0.2\nq z q\n", r"make none: "),
        ("merges.txt", "#version: 0.2\nq zz\n", r"make none: "),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(file: str, text: str, said: str, tmp_path: Path) -> None:
    import re

    root = write(sst2() | wordpieces() | bytepairs(), tmp_path)
    (root / file).write_text(text)
    name = "sst2-bytepairs" if file in bytepairs() else "sst2"
    assert re.search(said, refused(name, root).message)
    with pytest.raises(ContentError, match=said), content.blaming(content.find("task", name)):
        content.load("task", name).check(str(root))


@pytest.mark.parametrize(("name", "file"), [("sst2", "vocab.txt"), ("sst2-bytepairs", "merges.txt")])
def test_words_that_are_missing_are_named_with_where_to_get_them(name: str, file: str, tmp_path: Path) -> None:
    root = write(sst2() | wordpieces() | bytepairs(), tmp_path)
    (root / file).unlink()
    error = refused(name, root)
    assert f"{file} is missing" in error.message and "curl -LO https://huggingface.co/" in error.hint


@pytest.mark.parametrize(("model", "task"), [("bert", "sst2"), ("roberta", "sst2-bytepairs")])
def test_a_reader_fits_its_task_and_gives_an_answer_for_each_sentence(model: str, task: str, tmp_path: Path) -> None:
    module = content.load("task", task)
    models.require_fit(model, module)
    data = load(task, write(sst2() | TOKENISERS[task](), tmp_path))
    reader = content.load("model", model)
    network = reader.build(None, module.CLASSES, module.SHAPE, size=reader.TINY).eval()
    assert network(data.test.images[:3]).shape == (3, 2)

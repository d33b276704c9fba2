"""Shared by the tasks of SST-2: GLUE's files of sentences, cut into tokens by the tokeniser whose files lie beside them.

dev.tsv (872 sentences with labels; those of test.tsv are not published) is the test part. The validation part is a twentieth
of each class of train.tsv, the same for every seed. train.tsv holds phrases out of its sentences too, so what is held out is
easier than what is tested on. There is no mask: sentences are cut off or filled up to T tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from models.tasks._files import DataError, Files, Source, find, lines
    from models.tasks._images import hold_out
    from models.tasks._sentences import Data, Split
else:
    from _files import DataError, Files, Source, find, lines
    from _images import hold_out
    from _sentences import Data, Split

CLASSES = 2
SHAPE = (64,)  # the longest sentence has 66 tokens in BERT's words, nearly all have half of that
SHARE = 0.05
PARTS = ("train.tsv", "dev.tsv")
URL = "https://dl.fbaipublicfiles.com/glue/data/SST-2.zip"
SOURCE = Source("SST-2", (URL,), {"train.tsv": "SST-2.zip"}, {"SST-2.zip": "9f81648d4199384278b86e315dac217c"})
HEADING = "sentence\tlabel"
Cut = Callable[[list[str]], torch.Tensor]

INSTALL = "pip install 'edge-harness[nlp]'"


def load(data_dir: str | None, tokeniser: Callable[[Path], Any], pad: str, vocabulary: int) -> Data:
    """Return the task; `tokeniser` makes one of Hugging Face's of files in a folder, `pad` fills up. Raises DataError."""
    files = find(SOURCE, data_dir)
    assert data_dir is not None  # else it is not found
    cut = _to_length(_made(tokeniser, Path(data_dir)), pad)
    sentences, labels = _read(files, PARTS[0])
    train, tested = _split(cut, sentences, labels, vocabulary), _split(cut, *_read(files, PARTS[1]), vocabulary)
    held_out = torch.from_numpy(hold_out(labels, SHARE))
    fitted, validation = (Split(train.images[chosen], train.labels[chosen]) for chosen in (~held_out, held_out))
    return Data(fitted, validation, tested, CLASSES, SHAPE)


def check(data_dir: str | None, tokeniser: Callable[[Path], Any]) -> None:
    """Look whether files, package and tokeniser are there and whole. Raises DataError as `load` does, cutting nothing."""
    files = find(SOURCE, data_dir)
    assert data_dir is not None  # else it is not found
    _made(tokeniser, Path(data_dir))
    for name in PARTS:
        _read(files, name)


def text(folder: Path, name: str, hint: str) -> str:
    """Return what one of the tokeniser's files holds. Raises DataError: it is not there, or no text."""
    try:
        return (folder / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{folder}: {name} is missing, of the tokeniser that cuts sentences into words", hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{folder}: {name} cannot be read: {error}", hint) from None


def _made(tokeniser: Callable[[Path], Any], folder: Path) -> Any:
    """Make the tokeniser. Raises DataError: its package is not installed, or its files do not make one."""
    try:
        return tokeniser(folder)
    except DataError:
        raise
    except ImportError as error:
        raise DataError(f"sentences are cut into tokens by the package tokenizers: {error}", INSTALL) from None
    except Exception as error:  # the library raises bare Exception
        raise DataError(f"{folder}: the files of the tokeniser make none: {error}") from None


def _to_length(cutter: Any, pad: str) -> Cut:
    """Return a function from sentences to tokens (N, T), cut off or filled up."""
    cutter.enable_truncation(SHAPE[0])
    cutter.enable_padding(length=SHAPE[0], pad_token=pad, pad_id=cutter.token_to_id(pad))
    return lambda sentences: torch.tensor([each.ids for each in cutter.encode_batch(sentences)], dtype=torch.int64)


def _read(files: Files, name: str) -> tuple[list[str], list[int]]:
    """Sentences and labels of a file. Raises DataError, with the line: it is no sentence, tab, 0 or 1; or one class."""
    heading, *rest = lines(files, name) or [""]
    if heading != HEADING:
        raise DataError(f"{files.place}: {name} must begin with the line sentence, tab, label", files.again)
    sentences, labels = [], []
    for number, line in enumerate(rest, 2):
        sentence, _, label = line.rpartition("\t")
        if label not in ("0", "1"):
            raise DataError(f"{files.place}: {name}, line {number}: no sentence, tab and 0 or 1", files.again)
        sentences.append(sentence.strip())
        labels.append(int(label))
    if len(set(labels)) < 2:
        raise DataError(f"{files.place}: {name} has sentences of fewer than two classes", files.again)
    return sentences, labels


def _split(cut: Cut, sentences: list[str], labels: list[int], vocabulary: int) -> Split:
    tokens = cut(sentences)
    if int(tokens.max()) >= vocabulary:
        raise DataError(f"the tokeniser knows word {int(tokens.max())}, the task has {vocabulary} words, from 0")
    return Split(tokens, torch.tensor(labels, dtype=torch.int64))

"""SST-2, is a sentence of a film review positive? As 64 of RoBERTa's tokens; 63,982 train, 3,367 validation, 872 test.

harness run --model roberta --task sst2-bytepairs --data DIR        (with `pip install 'edge-harness[nlp]'`)

In DIR: SST-2.zip of GLUE (MD5 9f81648d4199384278b86e315dac217c) or its files train.tsv and dev.tsv, and vocab.json and
merges.txt of roberta-base (https://huggingface.co/FacebookAI/roberta-base). Cut by Hugging Face's tokenizers: bytes, joined
pair by pair, <s> before, </s> behind, <pad> to fill up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.tasks import _sst2 as sst2
    from models.tasks._sentences import Data
else:
    import _sst2 as sst2
    from _sentences import Data

CLASSES = 2
SHAPE = (64,)
VOCABULARY = 50265
DATA = "https://dl.fbaipublicfiles.com/glue/data/SST-2.zip (7 MB), and vocab.json and merges.txt of roberta-base"
HOME = "https://huggingface.co/FacebookAI/roberta-base/resolve/main"
HINT = f"curl -LO {HOME}/vocab.json; curl -LO {HOME}/merges.txt, in that folder."


def load(data_dir: str | None = None) -> Data:
    """Return the task from the files in `data_dir`. Raises DataError where one is missing or damaged."""
    return sst2.load(data_dir, _bytepairs, "<pad>", VOCABULARY)


def check(data_dir: str | None = None) -> None:
    """Look whether the files are there and whole. Raises DataError as `load` does, cutting no sentence."""
    sst2.check(data_dir, _bytepairs)


def _bytepairs(folder: Path) -> Any:
    from tokenizers.implementations.byte_level_bpe import ByteLevelBPETokenizer
    from tokenizers.processors import RobertaProcessing

    words = json.loads(sst2.text(folder, "vocab.json", HINT))
    rows = sst2.text(folder, "merges.txt", HINT).split("\n")
    merges = [line.split(" ") for line in rows if line and not line.startswith("#version:")]
    missing = [word for word in ("<s>", "<pad>", "</s>", "<unk>") if word not in words]
    if missing:
        raise ValueError(f"vocab.json lacks {', '.join(missing)}")
    cutter = ByteLevelBPETokenizer(words, [(first, second) for first, second in merges])
    end, begin = ((word, words[word]) for word in ("</s>", "<s>"))
    cutter._tokenizer.post_processor = RobertaProcessing(end, begin)
    return cutter

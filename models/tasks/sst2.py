"""SST-2, is a sentence of a film review positive? As 64 of BERT's tokens; 63,982 train, 3,367 validation, 872 test.

harness run --model bert --task sst2 --data DIR        (with `pip install 'edge-harness[nlp]'`)

In DIR: SST-2.zip of GLUE (MD5 9f81648d4199384278b86e315dac217c) or its files train.tsv and dev.tsv, and vocab.txt, the words of
bert-base-uncased (https://huggingface.co/google-bert/bert-base-uncased). Cut by Hugging Face's tokenizers: lower case, words
into the longest pieces that are known, [CLS] before, [SEP] behind, [PAD] to fill up.
"""

from __future__ import annotations

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
VOCABULARY = 30522
DATA = "https://dl.fbaipublicfiles.com/glue/data/SST-2.zip (7 MB), and vocab.txt of bert-base-uncased"
HINT = "curl -LO https://huggingface.co/google-bert/bert-base-uncased/resolve/main/vocab.txt, in that folder."


def load(data_dir: str | None = None) -> Data:
    """Return the task from the files in `data_dir`. Raises DataError where one is missing or damaged."""
    return sst2.load(data_dir, _wordpieces, "[PAD]", VOCABULARY)


def check(data_dir: str | None = None) -> None:
    """Look whether the files are there and whole. Raises DataError as `load` does, cutting no sentence."""
    sst2.check(data_dir, _wordpieces)


def _wordpieces(folder: Path) -> Any:
    from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

    words = sst2.text(folder, "vocab.txt", HINT).removesuffix("\n").split("\n")
    missing = [word for word in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if word not in words]
    if missing:
        raise ValueError(f"vocab.txt lacks {', '.join(missing)}")
    return BertWordPieceTokenizer({word: number for number, word in enumerate(words)}, lowercase=True)

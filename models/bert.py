"""BERT-base, a classifier of sentences: `harness run --model bert` (with `pip install 'edge-harness[nlp]'`).

Devlin et al. (NAACL 2019), built by Hugging Face's transformers from its configuration: nothing is downloaded. Names of
parameters are the library's, so that the state_dict of its BertForSequenceClassification loads. A mask is not an input: all
T tokens of a sentence are real, and one that fills it up is read like any other.

Activations: a GELU in each of the twelve layers, and the pooler's tanh between two linear layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from models._transformers import BASE, TINY, Reader, Size, create, length_of, load
else:
    from _transformers import BASE, TINY, Reader, Size, create, length_of, load

TASK = "wordpieces"
VOCABULARY = 30522
PACKAGES = ("transformers",)

__all__ = ["BASE", "PACKAGES", "TASK", "TINY", "VOCABULARY", "Bert", "build", "controls"]


class Bert(Reader):
    """Embeddings, layers, a pooled first token, classifier: [N, T] int64 tokens to logits [N, classes]."""

    def __init__(self, size: Size, classes: int, length: int) -> None:
        super().__init__(length, first_position=0)
        theirs = create("Bert", size, classes, vocab_size=VOCABULARY)
        self.bert, self.dropout, self.classifier = theirs.bert, theirs.dropout, theirs.classifier

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [N, T], of the length it was built for, to logits [N, classes]."""
        pooled = self.bert.pooler(self.encode(self.bert, tokens))
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits


def build(weights: str | None = None, classes: int = 2, shape: Sequence[int] = (128,), size: Size = BASE) -> nn.Module:
    """Return the network for sentences of shape (T,), with the weights of a state_dict file or freshly drawn ones.

    `size=TINY` is for tests. Raises ImportError without transformers, ValueError for a shape of more than 512 tokens.
    """
    network = Bert(size, classes, length_of(shape))
    load(network, weights)
    return network


def controls(classes: int, shape: Sequence[int]) -> dict[str, nn.Module]:
    """Return untrained networks that are shallower or narrower from the start: what folding has to beat in latency."""
    return {
        "bert-6": build(None, classes, shape, Size(6, 768, 12)),
        "bert-w0.5": build(None, classes, shape, Size(12, 384, 6)),
    }

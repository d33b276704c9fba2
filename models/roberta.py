"""RoBERTa-base, a classifier of sentences: `harness run --model roberta` (with `pip install 'edge-harness[nlp]'`).

Liu et al. (2019), built by Hugging Face's transformers from the configuration of its `roberta-base`: nothing is downloaded.
Names of parameters are the library's, so that the state_dict of its RobertaForSequenceClassification loads. A mask is not an
input: all T tokens of a sentence are real; one that fills it up is read like any other, and has a position.

Activations: a GELU in each of the twelve layers. The tanh of the classifier is a function, not a module, and stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from models._transformers import BASE, LONGEST, TINY, Reader, Size, create, length_of, load
else:
    from _transformers import BASE, LONGEST, TINY, Reader, Size, create, length_of, load

TASK = "bytepairs"
VOCABULARY = 50265
PACKAGES = ("transformers",)
PAD = 1  # positions are counted from the one after the pad's

__all__ = ["BASE", "PACKAGES", "TASK", "TINY", "VOCABULARY", "Roberta", "build", "controls"]


class Roberta(Reader):
    """Embeddings, layers, a classifier of two layers over the first token: [N, T] int64 tokens to logits [N, classes]."""

    def __init__(self, size: Size, classes: int, length: int) -> None:
        super().__init__(length, first_position=PAD + 1)
        theirs = create(
            "Roberta",
            size,
            classes,
            vocab_size=VOCABULARY,
            max_position_embeddings=LONGEST + PAD + 1,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            pad_token_id=PAD,
        )
        self.roberta, self.classifier = theirs.roberta, theirs.classifier

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [N, T], of the length it was built for, to logits [N, classes]."""
        logits: Tensor = self.classifier(self.encode(self.roberta, tokens))
        return logits


def build(weights: str | None = None, classes: int = 2, shape: Sequence[int] = (128,), size: Size = BASE) -> nn.Module:
    """Return the network for sentences of shape (T,), with the weights of a state_dict file or freshly drawn ones.

    `size=TINY` is for tests. Raises ImportError without transformers, ValueError for a shape of more than 512 tokens.
    """
    network = Roberta(size, classes, length_of(shape))
    load(network, weights)
    return network


def controls(classes: int, shape: Sequence[int]) -> dict[str, nn.Module]:
    """Return untrained networks that are shallower or narrower from the start: what folding has to beat in latency."""
    return {
        "roberta-6": build(None, classes, shape, Size(6, 768, 12)),
        "roberta-w0.5": build(None, classes, shape, Size(12, 384, 6)),
    }

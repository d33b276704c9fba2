"""Shared by models of Hugging Face's transformers that read tokens: the library itself, sizes, GELUs, weights.

The encoder's parts are called one by one, not through the library's own forward: there, while it is exported, a mask is made
that masks nothing, and would be measured with the network.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

LONGEST = 512  # tokens; the published networks know no further positions


class Size(NamedTuple):
    """How large an encoder is: its layers, the numbers per token, the heads that share them."""

    layers: int
    width: int
    heads: int


BASE = Size(layers=12, width=768, heads=12)
TINY = Size(layers=2, width=32, heads=2)  # everything the base size has, in milliseconds: `build(size=TINY)`, for tests


class Reader(nn.Module):
    """What reads sentences of `length` tokens [N, length]: the base of our models.

    `positions` and `kinds` (which of two sentences a token belongs to: always the first) are the same for every input.
    """

    positions: Tensor
    kinds: Tensor

    def __init__(self, length: int, first_position: int) -> None:
        super().__init__()
        positions = torch.arange(first_position, first_position + length)[None]
        self.register_buffer("positions", positions, persistent=False)
        self.register_buffer("kinds", torch.zeros_like(positions), persistent=False)

    def encode(self, network: Any, tokens: Tensor) -> Tensor:
        """Run embeddings and layers of one of the library's networks: [N, T] to [N, T, width]. All T tokens are real."""
        hidden: Tensor = network.embeddings(tokens, token_type_ids=self.kinds, position_ids=self.positions)
        for layer in network.encoder.layer:
            hidden = layer(hidden)
        return hidden


def create(kind: str, size: Size, classes: int, **settings: Any) -> Any:
    """Return the library's classifier of this kind ("Bert") with random weights, each GELU a module of its own.

    Raises ImportError when the library is not installed.
    """
    configure, make = classes_of(kind.lower(), f"{kind}Config", f"{kind}ForSequenceClassification")
    config = configure(
        num_hidden_layers=size.layers,
        hidden_size=size.width,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.width,
        num_labels=classes,
        attn_implementation="sdpa",
        **settings,
    )
    network = make(config)
    for layer in getattr(network, kind.lower()).encoder.layer:
        layer.intermediate.intermediate_act_fn = nn.GELU()  # the library's own is none that `remove` knows
    return network


def classes_of(module: str, *names: str) -> list[Any]:
    """Import classes of one of the library's models. Raises ImportError, naming our extra, when it is not installed."""
    if importlib.util.find_spec("transformers") is None:
        raise ImportError("the package transformers builds this model: pip install 'edge-harness[nlp]'")
    with _without_torchvision():
        home = importlib.import_module(f"transformers.models.{module}")
        return [getattr(home, name) for name in names]


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Let the library find no torchvision, unless it is loaded: one that was built for another torch cannot be imported.

    Networks that read tokens need nothing of it.
    """
    if "torchvision" in sys.modules:
        yield
        return
    sys.modules["torchvision"] = cast(Any, None)
    try:
        yield
    finally:
        del sys.modules["torchvision"]


def load(network: nn.Module, weights: str | None) -> None:
    """Load a state_dict file with the library's names into the network, in place, if one is named."""
    if weights is None:
        return
    state = torch.load(weights, map_location="cpu", weights_only=True)
    # older versions stored the positions, which are no weights
    network.load_state_dict({name: value for name, value in state.items() if not name.endswith(".position_ids")})


def length_of(shape: Sequence[int]) -> int:
    """Return how many tokens an input of this shape has. Raises ValueError unless that is what it says."""
    if len(shape) != 1 or not 1 <= shape[0] <= LONGEST:
        raise ValueError(
            f"this model reads sentences of 1 to {LONGEST} tokens, not inputs of {'x'.join(map(str, shape))}"
        )
    return shape[0]

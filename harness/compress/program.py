"""From a network to what is deployed: folded, counted, and written as torch.export's program with a free batch size."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from harness import flops
from harness.compress import asked_for, fold
from harness.errors import FoldError
from harness.records import Cost, Group, Layer, Variant

OPSET = 18
EXAMPLES = 4  # in the batch that networks are traced, compared and exported with


@dataclass(frozen=True)
class Deployed:
    """A network as deployed, and what folding did; the fields are those of Rung."""

    variant: Variant
    cost: Cost
    groups: tuple[Group, ...]
    fold_error: float
    fold_error_f64: float
    layers: tuple[Layer, ...]


def make_example(shape: Sequence[int], seed: int, vocabulary: int | None = None, batch: int = EXAMPLES) -> Tensor:
    """Return a batch of what networks of input `shape` are traced, compared, exported and fed with.

    Normal noise in float32, or int64 tokens below `vocabulary`, each as likely as any other.
    """
    generator = torch.Generator().manual_seed(seed)
    if vocabulary is not None:
        return torch.randint(vocabulary, (batch, *shape), generator=generator)
    return torch.randn(batch, *shape, generator=generator)


def deploy(
    network: nn.Module,
    example: Tensor,
    classes: int,
    forms: Sequence[str],
    file: Path,
    vocabulary: int | None = None,
    choose: Callable[[Group], bool] = asked_for,
) -> Deployed:
    """Fold `network` and write it to `file` (`.pt2`). `example` has shape (N, ...), N >= 2. Raises FoldError.

    `choose` says which groups are merged. The variant's program is the bare file name, its `vocabulary` that of the tokens
    it reads, if it does; the caller's network is not changed.
    """
    folded = fold(network.eval(), example, forms=tuple(forms) or None, choose=choose)
    _compact(folded.network)
    name = save(folded.network, example, file)
    cost, layers = flops.measure(folded.network, example[:1])
    return Deployed(
        variant=Variant(name, file.name, tuple(example.shape[1:]), classes, vocabulary),
        cost=cost,
        groups=folded.groups,
        fold_error=folded.max_error_f32,
        fold_error_f64=folded.max_error,
        layers=layers,
    )


def save(network: nn.Module, example: Tensor, file: Path) -> str:
    """Export `network` to `file` (`.pt2`) and return the name of what it computes. Raises FoldError.

    `example` has shape (N, ...), N >= 2; the program takes every N. The name is the SHA-256 of graph, constants and
    weights: equal networks have equal names, whatever the file's bytes, which differ from one writing to the next.
    """
    try:
        program = torch.export.export(network.eval(), (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    except Exception as error:  # torch.export has no common base for what it raises
        raise FoldError(f"the folded network cannot be exported: {error}") from error
    torch.export.save(program, file)
    return _name(program, example)


def save_onnx(program: Path, out: Path) -> None:
    """Write a program that `save` has written as ONNX, for every batch size. Raises FoldError."""
    try:
        with quiet_exporter():
            exported = torch.onnx.export(
                torch.export.load(program),
                (),
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                optimize=True,
                verbose=False,
            )
    except Exception as error:  # torch.onnx has no common base for what it raises
        raise FoldError(f"the folded network cannot be written as ONNX: {error}") from error
    assert exported is not None
    exported.save(out)


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """The exporter's remarks on packages that nobody asked for (torchvision) say nothing about this network."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _compact(network: nn.Module) -> None:
    """Give every weight memory of its own in C order: views into larger or permuted ones would be written whole."""
    for weight in (*network.parameters(), *network.buffers()):
        weight.data = weight.data.clone(memory_format=torch.contiguous_format)


def _name(program: torch.export.ExportedProgram, example: Tensor) -> str:
    total = hashlib.sha256(f"{tuple(example.shape[1:])} {example.dtype}".encode())
    place: dict[fx.Node, str] = {}
    for node in program.graph.nodes:
        arguments = fx.map_arg((node.args, node.kwargs), place.__getitem__)
        total.update(f"{node.op} {node.target} {arguments}\n".encode())
        place[node] = f"%{len(place)}"
    for name, value in sorted([*program.state_dict.items(), *program.constants.items()]):
        total.update(f"{name} {_describe(value)}\n".encode())
    return total.hexdigest()


def _describe(value: Any) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    raw = value.detach().contiguous().numpy().tobytes()
    return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(raw).hexdigest()}"

"""Fold one network by itself (`harness fold`), in the child: weights or random ones in, a report and files out.

model file + weights -> remove activations -> (move padding) -> fold, proved -> <out>.pt2 and <out>.onnx
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import nn

from harness import content, flops
from harness.child import OnProgress, Progress
from harness.compress import activations, asked_for, fold, mergeable, models, pad_first, program, remove
from harness.errors import StoreError, UsageError
from harness.records import FoldReport, FoldRequest

PROGRAM, ONNX = ".pt2", ".onnx"


def make(request: FoldRequest, on_progress: OnProgress) -> FoldReport:
    """Fold the network, write it if asked to, and say what it came to.

    Raises UsageError (activations, weights that are not this model's), ContentError, FoldError, StoreError.
    """
    on_progress(Progress(f"building {request.model}"))
    network = _network(request)
    reads = models.vocabulary(content.load("model", request.model))
    example = program.make_example(request.input_shape, request.seed, reads)
    names = _names(network, example, request.remove)
    shallower = remove(network, names)
    if request.padding == "moved":
        shallower = pad_first(shallower, example)
    on_progress(Progress(f"folding {request.model}"))
    began = time.monotonic()
    folded = fold(shallower, example, request.policy, request.forms, choose=asked_for)
    seconds = time.monotonic() - began
    on_progress(Progress("writing") if request.out else Progress("counting"))
    return FoldReport(
        model=request.model,
        input_shape=request.input_shape,
        activations=len(activations(network)),
        removed_names=names,
        padding=request.padding,
        policy=request.policy,
        before=flops.count(network, example[:1]),
        after=flops.count(folded.network, example[:1]),
        groups=folded.groups,
        fold_error=folded.max_error_f32,
        fold_error_f64=folded.max_error,
        fixed_size=folded.fixed_size,
        seconds=round(seconds, 3),
        flips=folded.flips,
        examples=len(example),
        files=_write(folded.network, example, Path(request.out)) if request.out else (),
    )


def _network(request: FoldRequest) -> nn.Module:
    """The model in eval mode, with the weights of the file or with random ones."""
    module, file = content.load("model", request.model), content.find("model", request.model)
    torch.manual_seed(request.seed)
    if request.weights is None:
        with content.blaming(file):
            network: nn.Module = module.build(None, classes=request.classes, shape=request.input_shape)
        return network.eval()
    try:
        network = module.build(request.weights, classes=request.classes, shape=request.input_shape)
    except ImportError as error:  # of a package that the model needs: no fault of the weights
        raise UsageError(f"model {request.model}: {error}") from None
    except Exception as error:  # whatever torch says of a file that is no state_dict, or another network's
        said = str(error).strip().splitlines()
        raise UsageError(
            f"{request.weights}: no weights of model {request.model} for {request.classes} classes: {' '.join(said[:2])}",
            "Save them with torch.save(network.state_dict(), FILE); say the classes with --classes or --task.",
        ) from None
    return network.eval()


def _names(network: nn.Module, example: torch.Tensor, words: tuple[str, ...]) -> tuple[str, ...]:
    if words == ("all",):
        return activations(network)
    if words == ("none",):
        return ()
    if words == ("mergeable",):
        return mergeable(network, example)
    known = activations(network)
    for word in words:
        content.require_known(
            "activation",
            word,
            known,
            "`--remove all` and `--remove mergeable` name many at once, `--remove none` none.",
        )
    return tuple(name for name in known if name in words)


def _write(network: nn.Module, example: torch.Tensor, out: Path) -> tuple[str, ...]:
    """Write torch's program and ONNX, both for any batch, and whole or not at all. Raises StoreError."""
    files = tuple(out.with_name(out.name + suffix) for suffix in (PROGRAM, ONNX))
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=out.parent, prefix=".harness-fold-")))
            made = [folder / file.name for file in files]
            program.save(network, example, made[0])
            program.save_onnx(made[0], made[1])
            for file, place in zip(made, files, strict=True):
                file.replace(place)
    except OSError as error:
        raise StoreError(f"{out}: cannot be written: {error.strerror}", "Name another --out.") from None
    return tuple(map(str, files))

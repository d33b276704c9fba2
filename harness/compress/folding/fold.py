"""Fold a network: merge every stretch without a non-linearity into one layer, and prove that nothing changed."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from harness.compress.folding import blends, parts, trace
from harness.compress.folding.forms import ACROSS, Form
from harness.compress.folding.layers import require_finite
from harness.compress.folding.proof import difference, flipped, rounding
from harness.compress.folding.rewrite import everything, merge
from harness.compress.folding.trace import Example
from harness.content import require_known
from harness.errors import FoldError
from harness.records import FOLD_ERROR_F32, FOLD_ERROR_F64, Flip, Group

ROUNDINGS = 10  # times what the network given is off in float32 by itself, where that is more
_NO_LIMIT = sys.float_info.max  # but the outputs must be finite


@dataclass(frozen=True)
class Folded:
    """A folded network and the proof that it is equal to the one given.

    Errors are relative max-abs differences of outputs, in float64 and float32. With `fixed_size` the network takes
    inputs of the example's size alone (the batch stays free) and raises FoldError on another. `flips` are the example's
    entries whose prediction, the largest of [N, classes], differs in float32: two outputs closer than twice the error.
    """

    network: nn.Module
    groups: tuple[Group, ...]
    max_error: float
    max_error_f32: float
    fixed_size: bool
    flips: tuple[Flip, ...]


def fold(
    network: nn.Module,
    example: Example,
    policy: str = "exact",
    forms: Sequence[str] | None = None,
    choose: Callable[[Group], bool] | None = None,
) -> Folded:
    """Return the network with everything merged that is provably equal; the one given stays as it is.

    BatchNorms go into the layer before them; layers with nothing non-linear between them become one, shortcuts
    included; at the example's size, outer kernel taps that only meet padding are cut. `choose` sees each group that
    can be merged and says whether it is.

    Beyond plain layers, matrices stand for linear tails and small images where they take fewer MACs and at most twice the
    weights; `forms=("ring",)` or `("border",)` merges convolutions across the padding between them.

    `policy="approximate"` merges across padding too, which is wrong near the border; with `forms=("crop",)` merged kernels
    are no larger than those of their layers, as LayerFold makes them. Its errors are told, and bound by nothing.

    A network that neither torch.fx nor torch.export can trace is folded part by part, and says so in a group of its own.
    Learned slopes of activations become constants.

    Raises FoldError for a network in training mode, with lazy layers, with weights that are not finite, that does not run
    on `example` (a batch), or, under the policy `exact`, whose folded outputs differ by more than 1e-12 in float64, or in
    float32 by more than 1e-5 and ten times what the network given is off there by itself; UsageError for a policy or form
    that does not exist.
    """
    named, exact = _named(policy, forms), policy == "exact"
    _require_ready(network, example)
    original = copy.deepcopy(network).double()
    wide = _as(torch.float64, example)
    trace.run(original, wide)
    merged = parts.merge(original, wide, partial(merge, choose=choose or everything, named=named, exact=exact))
    blends.fix(merged.network)
    error = difference(original, merged.network, wide)
    _require(error, FOLD_ERROR_F64 if exact else _NO_LIMIT, "float64")
    del original
    error_f32, flips = _compared_in_float32(network, merged.network, _as(torch.float32, example), exact)
    folded = merged.network.to(_dtype(network))
    _restore(folded, network)
    return Folded(folded, merged.groups, error, error_f32, merged.fixed_size, flips)


def _compared_in_float32(
    network: nn.Module, folded: nn.Module, example: Example, exact: bool
) -> tuple[float, tuple[Flip, ...]]:
    """How far the folded network (float64) is off in float32, and which predictions differ; a float32 one is not copied."""
    same = _dtype(network) == torch.float32
    given, narrow = (network, folded.float()) if same else (copy.deepcopy(each).float() for each in (network, folded))
    error = difference(given, narrow, example)
    if exact and not error <= FOLD_ERROR_F32:  # it may be the network's own: then both round as much
        _require(error, max(FOLD_ERROR_F32, ROUNDINGS * rounding(given, example)), "float32")
    return error, flipped(given, narrow, example)


def _restore(folded: nn.Module, network: nn.Module) -> None:
    """Give buffers that stayed the type that they had: a network may compute with some of them in another one."""
    types = {name: buffer.dtype for name, buffer in network.named_buffers()}
    for name, buffer in folded.named_buffers():
        if buffer.is_floating_point() and name in types:
            buffer.data = buffer.data.to(types[name])


def _require(error: float, limit: float, dtype: str) -> None:
    if not error <= limit:
        raise FoldError(
            f"the folded network differs from the one given by {error:.2g} (relative, {dtype}); the limit is {limit:.2g}",
            "Please report this network: what is merged should be exact.",
        )


def _named(policy: str, forms: Sequence[str] | None) -> tuple[Form, ...]:
    """The forms asked for beyond the default ones. Raises UsageError for words not known, or not under this policy."""
    known: dict[str, tuple[Form, ...]] = {"exact": tuple(ACROSS), "approximate": ("crop",)}
    require_known("folding policy", policy, known)
    forms = (forms,) if isinstance(forms, str) else forms
    for form in forms or ():
        require_known(f"form under the folding policy {policy}", form, known[policy], "The default forms need no word.")
    return tuple(form for form in known[policy] if form in (forms or ()))


def _require_ready(network: nn.Module, example: Example) -> None:
    if not all(isinstance(tensor, torch.Tensor) and tensor.ndim for tensor in trace.inputs_of(example)):
        raise FoldError("the example must be a tensor with a batch dimension, or a tuple of such")
    if trace.inputs_of(example)[0].shape[0] == 0:
        raise FoldError("the example has no entries: nothing could be proved on it", "Give it at least one.")
    _require_weights(network)
    if any(module.training for module in network.modules()):
        raise FoldError("the network is in training mode", "Call network.eval() first: BatchNorm folds at inference.")
    require_finite(network)


def _require_weights(network: nn.Module) -> None:
    for path, weight in network.named_parameters():
        if weight.device.type != "cpu" or weight.is_complex():
            what = f"{path} is {weight.dtype} on {weight.device}"
            raise FoldError(what, "Fold real weights on the CPU: network.cpu().")
        if is_lazy(weight):
            raise FoldError(f"{path} is lazy: it has no numbers yet", "Run the network once, then fold it.")
    dtypes = {str(weight.dtype) for weight in network.parameters() if weight.is_floating_point()}
    if len(dtypes) > 1:
        raise FoldError(f"weights are of {' and '.join(sorted(dtypes))}", "Fold it in one type, then convert.")


def _dtype(network: nn.Module) -> torch.dtype:
    floating = (parameter.dtype for parameter in network.parameters() if parameter.is_floating_point())
    return next(floating, torch.float32)


def _as(dtype: torch.dtype, example: Example) -> tuple[torch.Tensor, ...]:
    return tuple(x.to(dtype) if x.is_floating_point() else x for x in trace.inputs_of(example))

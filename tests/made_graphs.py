"""Graphs as a device could have told them: ResNet-18's rungs of `example_run`, operators of their layers and some besides."""

from __future__ import annotations

from dataclasses import replace

from harness import wire
from harness.records import Layer, Run, Rung

MACS_PER_S, BYTES_PER_S = 50e9, 10e9  # the ceilings
NS_PER_MAC = 1e9 / (0.8 * MACS_PER_S)  # of kernels on the fast path


def layers(rung: Rung) -> tuple[Layer, ...]:
    """A stem, 16 convolutions of blocks, a classifier; the merged ones are `MERGED` times as large as one of two."""
    merged = {group.path for group in rung.groups}
    found = [Layer("conv1", "convolution", 1_700_000)]
    for block in (f"layer{stage}.{n}" for stage in (1, 2, 3, 4) for n in (0, 1)):
        if block in merged:
            found.append(Layer(f"{block}.conv1", "convolution", 26_000_000))
        else:
            found += [Layer(f"{block}.conv{n}", "convolution", 9_400_000) for n in (1, 2)]
    return (*found, Layer("fc", "linear", 5_120))


def with_layers(run: Run) -> Run:
    """The run, its ladders' rungs with layers, merged groups with the paths that folding gives them."""
    return replace(run, ladders=tuple(replace(each, rungs=tuple(map(_rung, each.rungs))) for each in run.ladders))


def _rung(rung: Rung) -> Rung:
    groups = tuple(
        replace(group, path=f"{group.path}.conv1", layers=(f"{group.path}.conv1", f"{group.path}.conv2"))
        for group in rung.groups
    )
    return replace(rung, groups=groups, layers=layers(rung))


def operators(rung: Rung, *, timed: bool = True, slower: float = 1.0, **changes: str) -> tuple[wire.Operator, ...]:
    """What ONNX Runtime could tell of a rung; merged layers run `slower` times as long per MAC, and have `changes`."""
    found, merged = [], {group.path for group in rung.groups}
    for n, layer in enumerate(rung.layers):
        kind, number = ("Conv", n) if layer.kind == "convolution" else ("Gemm", 0)
        name = ("node_conv2d" if kind == "Conv" else "node_linear") + (f"_{number}" if number else "")
        time = round(layer.macs * NS_PER_MAC * (slower if layer.name in merged else 1.0)) + 2000
        made = wire.Operator(name, kind, layer.macs, layer.macs // 100, time if timed else None, "fp32", "NCHWc")
        found.append(replace(made, **changes) if layer.name in merged else made)
    extra = [("ReorderInput", 20_000), ("MaxPool", 30_000), ("Flatten", 2_000)]
    found += [wire.Operator(f"node_{kind}", kind, 0, 4_000, time if timed else None) for kind, time in extra]
    return tuple(found)

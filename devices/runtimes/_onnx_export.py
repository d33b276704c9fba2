"""Shared by runtimes that start from ONNX, on the controller: a variant, or a file that was given, as an ONNX model.

serialised(variant, batch)         its bytes; of a given file whose batch is fixed, the file as it is
model(variant, batch, opset=17)    an onnx.ModelProto to go on from
"""

from pathlib import Path
from typing import Any

OPSET = 18


def serialised(variant: Any, batch: int, opset: int = OPSET) -> bytes:
    """Return the model at a fixed batch. Equal networks give equal bytes, without dates and names of this machine's files.

    A given file keeps its opset, and loses nothing but a free batch. Raises whatever the exporter raises.
    """
    given = variant.form == "onnx"
    if given and _fixed(variant, batch) is None:
        return Path(variant.program).read_bytes()
    return bytes(model(variant, batch, opset).SerializeToString(deterministic=True))


def model(variant: Any, batch: int, opset: int = OPSET) -> Any:
    """Return the model at a fixed batch as an `onnx.ModelProto`; of a given file, in its own opset."""
    if variant.form != "onnx":
        return _exported(variant, batch, opset)
    import onnx

    fixed = _fixed(variant, batch)
    return onnx.load(variant.program) if fixed is None else fixed


def _fixed(variant: Any, batch: int) -> Any:
    import onnx

    from harness.given import inputs

    return inputs.at_batch(onnx.load(variant.program), batch)


def _exported(variant: Any, batch: int, opset: int) -> Any:
    import torch

    from harness.compress.program import quiet_exporter

    with quiet_exporter():
        network = torch.export.load(variant.program).module()
        example = torch.zeros(batch, *variant.input_shape, dtype=getattr(torch, variant.input_dtype))
        program = torch.export.export(network, (example,))
        exported = torch.onnx.export(
            program, (), dynamo=True, opset_version=opset, external_data=False, optimize=True, verbose=False
        )
    assert exported is not None
    written = exported.model_proto
    _anonymise(written)
    return written


def _anonymise(written: Any) -> None:
    """Drop stack traces and names of this machine's files: equal networks give equal bytes."""
    graph = written.graph
    for holder in (written, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        holder.doc_string = ""
        del holder.metadata_props[:]

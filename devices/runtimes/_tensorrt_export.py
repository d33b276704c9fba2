"""Shared by TensorRT and TensorRT-RTX, on the controller: a variant as ONNX in the form that their builders read.

fp32: as exported. fp16: the same where the builder chooses (weakly typed), else weights and operators in float16, inputs and
outputs float32. int8: explicit QDQ pairs, symmetric, signed, no quantised bias, calibrated on the task's inputs.

Opset 17, for TensorRT 8.5, is made of 18 here: torch's exporter knows nothing older, and where its converter cannot take axes of
reductions back into attributes it leaves 18 with a warning.
"""

from typing import TYPE_CHECKING, Any, Dict, Tuple

if TYPE_CHECKING:
    from devices.runtimes import _onnx_export, _onnx_rounding
else:
    import _onnx_export
    import _onnx_rounding

TYPINGS = ("strong", "weak")
_LOWEST = 17
_IR = 8  # of the ONNX releases that had opset 17
# What opset 18 brought to operators that were there: more inputs than so many, which 17 lacks, and attributes, which are dropped
# where they say what 17 does anyway (`_SAME`); parts of a Split without sizes are equal in 17.
_CHANGED: Dict[str, Tuple[int, Tuple[str, ...]]] = {
    "Pad": (3, ()),
    "Split": (2, ("num_outputs",)),
    "Resize": (4, ("antialias", "axes", "keep_aspect_ratio_policy")),
}
_SAME = {"antialias": 0, "axes": None, "keep_aspect_ratio_policy": b"stretch", "noop_with_empty_axes": 0}
_NEW = ("BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "CenterCropPad", "Col2Im", "GroupNormalization", "Mish")


def model(variant: Any, target: Any, precision: str, options: Dict[str, str], typing: str = "strong") -> bytes:
    """Return the model's bytes. Raises ValueError for a target that makes no sense, or an operator that it cannot have."""
    batch = int(options.get("batch", "1"))
    opset = target.get("tensorrt_opset", str(_onnx_export.OPSET))
    if not opset.isdigit() or int(opset) < _LOWEST:
        raise ValueError("tensorrt_opset in the profile's target must be a number from %d, not %r" % (_LOWEST, opset))
    if typing not in TYPINGS:
        raise ValueError("tensorrt_typing in the profile's target must be strong or weak, not %r" % typing)
    written = _written(variant, batch, int(opset), "tensorrt_opset" in target)
    if precision == "int8":
        return _onnx_rounding.symmetric(written, options["calibration"], batch)
    return _onnx_rounding.halved(written) if precision == "fp16" and typing == "strong" else written


def _written(variant: Any, batch: int, opset: int, bound: bool) -> bytes:
    """The model in an opset that the target reads; a given file keeps an older one, and any where no target binds it."""
    if opset > _onnx_export.OPSET:
        return _onnx_export.serialised(variant, batch, opset)
    made = _onnx_export.model(variant, batch)
    has = next((each.version for each in made.opset_import if each.domain in ("", "ai.onnx")), 0)
    if has <= opset or not bound:
        return _onnx_export.serialised(variant, batch)
    if has != _onnx_export.OPSET:
        raise ValueError("the network is in opset %d, the device reads %d: export it in %d" % (has, opset, opset))
    return bytes(lowered(made).SerializeToString(deterministic=True))


def lowered(written: Any) -> Any:
    """Return a model of opset 18 in 17. Raises ValueError for an operator that has no form there."""
    import onnx

    graph = written.graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        _lower(node, constants)
    for entry in written.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = _LOWEST
    written.ir_version = min(written.ir_version, _IR)
    _drop_unused(graph)
    try:
        onnx.checker.check_model(written)
    except onnx.checker.ValidationError as error:
        raise ValueError(
            "this network cannot be written in opset 17: %s" % str(error).strip().splitlines()[0]
        ) from None
    return written


def _lower(node: Any, constants: Dict[str, Any]) -> None:
    import onnx

    said = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    changed = node.op_type == "Resize" or node.op_type.startswith("Reduce")
    if changed and any(said.get(name, same) != same for name, same in _SAME.items()):
        raise ValueError("%s %s says what opset 17 cannot" % (node.op_type, node.name))
    if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum":
        kept = [each for each in node.attribute if each.name != "noop_with_empty_axes"]
        if len(node.input) > 1 and node.input[1]:
            if node.input[1] not in constants:
                raise ValueError("%s %s has computed axes, which opset 17 does not know" % (node.op_type, node.name))
            kept.append(onnx.helper.make_attribute("axes", constants[node.input[1]].tolist()))
        del node.attribute[:], node.input[1:]
        node.attribute.extend(kept)
    most, dropped = _CHANGED.get(node.op_type, (len(node.input), ()))
    if node.op_type in _NEW or len([name for name in node.input if name]) > most:
        raise ValueError("%s %s has no form in opset 17" % (node.op_type, node.name))
    kept = [each for each in node.attribute if each.name not in dropped]
    del node.attribute[:]
    node.attribute.extend(kept)


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)

"""ONNX models of any exporter, made to look as those of our own converter: one graph, opset 18 up.

Each step changes the form of a model, not what it computes; the parity check holds the file against
the one that came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, inliner, numpy_helper, version_converter

from compressor.errors import ModelError
from compressor.exporters.onnx import graphs, integer, older_operators
from compressor.exporters.onnx.convert import OPSET
from compressor.exporters.onnx.merging import check_functions
from compressor.exporters.onnx.quiet import quiet

_IR_VERSION = 8
"""The oldest version of the format with operator set 18."""
_PLAIN: dict[str, Any] = {
    **dict.fromkeys(("value_float", "value_floats"), np.float32),
    **dict.fromkeys(("value_int", "value_ints"), np.int64),
}


def standard_form(content: bytes) -> tuple[Any, tuple[str, ...]]:
    """The onnx.ModelProto of a whole, checked file (`merging.whole_model`), with notes.

    Ensures: its functions are in their places; constants are initializers, and no inputs; the
    operators are of set 18 or newer; outputs have the sizes that follow from the operators, where
    these tell; no comments are left. Raises CheckpointError as
    `check_functions` does, ModelError, with the operator, where there is no conversion to 18.
    """
    model = onnx.ModelProto()
    model.ParseFromString(content)
    check_functions(model)
    if model.functions:
        model = inliner.inline_local_functions(model)
    notes = _fix_defaults(model.graph) if model.ir_version >= 4 else ()
    _forget_constant_inputs(model.graph)
    model.ir_version = max(model.ir_version, _IR_VERSION)
    _declare_outputs(model)
    version = opset_of(model)
    if version < older_operators.ONE_AXIS_SINCE:
        older_operators.flatten_hardmax(model)
    model = _at_least(model, OPSET)
    for graph in graphs.all_graphs(model.graph):
        _lift_constants(graph)
        _forget_comments(graph)
    if version < older_operators.COORDINATES_SINCE:
        older_operators.keep_coordinates(model)
    _fold_float16(model.graph)
    return model, notes


def calibrated(content: bytes, calibration: Sequence[np.ndarray], one_scale: bool) -> bytes:
    """The int8 file of a model in standard form, which is run for that.

    Raises as `integer.quantize_static` does; ONNX has a scale for each output in any case.
    """
    model = integer.quantize_static(onnx.load_model_from_string(content), calibration)
    return bytes(model.SerializeToString(deterministic=True))


def opset_of(model: Any) -> int:
    """The version of the standard operators."""
    versions = [one.version for one in model.opset_import if one.domain in ("", "ai.onnx")]
    return int(versions[0]) if versions else OPSET


def _fix_defaults(graph: Any) -> tuple[str, ...]:
    """Since version 4 of the format an initializer that is an input, too, can be replaced."""
    constants = graphs.constants(graph)
    if not any(entry.name in constants for entry in graph.input):
        return ()
    return ("Inputs that had a default are constants now.",)


def _forget_constant_inputs(graph: Any) -> None:
    constants = graphs.constants(graph)
    graphs.replace_all(graph.input, [one for one in graph.input if one.name not in constants])


def _declare_outputs(model: Any) -> None:
    """What a file says of the sizes of its values may be wrong, and no runtime minds."""
    graph = model.graph
    declared = [onnx.ValueInfoProto.FromString(entry.SerializeToString()) for entry in graph.output]
    for inner in graphs.all_graphs(graph):
        del inner.value_info[:]
    for entry in graph.output:
        entry.type.tensor_type.ClearField("shape")
    inferred = graphs.inferred(model).output
    is_open = any(None in (graphs.sizes_of(entry) or ())[:1] for entry in graph.input)
    for entry, found, said in zip(graph.output, inferred, declared, strict=True):
        sizes = graphs.sizes_of(found)
        entry.CopyFrom(said if sizes is None else found)
        if sizes is None or len(graphs.sizes_of(said) or ()) != len(sizes):
            continue
        axes = (one.type.tensor_type.shape.dim for one in (entry, said))
        for axis, (mine, other) in enumerate(zip(*axes, strict=True)):
            if not mine.WhichOneof("value") and not (axis == 0 and is_open):
                mine.CopyFrom(other)


def _at_least(model: Any, wanted: int) -> Any:
    version = opset_of(model)
    if version >= wanted:
        return model
    try:
        with quiet():
            converted = version_converter.convert_version(model, wanted)
    except Exception as error:  # the converter raises errors of several kinds
        reason = " ".join(str(error).split())[-200:]
        raise ModelError(
            f"ONNX has no conversion from operator set {version} to {wanted} for the model",
            value=reason,
            hint="export it again, with opset 18 or newer",
        ) from error
    # It keeps the standard operators' set alone.
    others = [one for one in model.opset_import if one.domain not in ("", "ai.onnx")]
    kept = {one.domain for one in converted.opset_import}
    converted.opset_import.extend(one for one in others if one.domain not in kept)
    return converted


def _lift_constants(graph: Any) -> None:
    """Constant nodes -> initializers; sparse ones and text stay."""
    kept = []
    for node in graph.node:
        values = _constant(node)
        if values is None:
            kept.append(node)
        else:
            graph.initializer.append(values)
    graphs.replace_all(graph.node, kept)


def _constant(node: Any) -> Any:
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or len(node.attribute) != 1:
        return None
    attribute = node.attribute[0]
    if attribute.name == "value" and attribute.HasField("t"):
        found = onnx.TensorProto()
        found.CopyFrom(attribute.t)
        found.name = node.output[0]
        return found
    if attribute.name not in _PLAIN:
        return None
    values = np.asarray(helper.get_attribute_value(attribute), _PLAIN[attribute.name])
    return numpy_helper.from_array(values, node.output[0])


def _forget_comments(graph: Any) -> None:
    """Exporters leave stack traces in them, which can be more bytes than the weights."""
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("doc_string")
        del part.metadata_props[:]
    del graph.quantization_annotation[:]


def _fold_float16(graph: Any) -> None:
    """A float16 constant that is cast to float32 before it is used -> a float32 one."""
    constants, taken = graphs.constants(graph), graphs.uses(graph)
    kept = []
    for node in graph.node:
        source = constants.get(node.input[0]) if node.op_type == "Cast" else None
        to_float = source is not None and graphs.attribute(node, "to", 0) == onnx.TensorProto.FLOAT
        if (
            source is None
            or not to_float
            or source.data_type != onnx.TensorProto.FLOAT16
            or taken[source.name] != 1
        ):
            kept.append(node)
            continue
        values = graphs.array_of(source).astype(np.float32)
        source.CopyFrom(graphs.tensor(node.output[0], values))
    graphs.replace_all(graph.node, kept)

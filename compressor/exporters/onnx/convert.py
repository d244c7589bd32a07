"""From a Keras model to an ONNX model: traced and frozen as for TFLite, then tf2onnx.

Large variables are inputs of the traced function, and constants without values of the graph that
TensorFlow optimises, which would copy them a dozen times; tf2onnx asks for the values by name.
"""

from __future__ import annotations

import importlib
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx

from compressor.data import listed
from compressor.errors import ModelError
from compressor.exporters.fingerprint import values_of
from compressor.exporters.half_precision import input_type
from compressor.exporters.onnx import apart
from compressor.exporters.onnx.graphs import all_nodes, rename
from compressor.exporters.onnx.light_copies import light_copies
from compressor.exporters.onnx.operators import handlers
from compressor.exporters.onnx.quiet import quiet
from compressor.exporters.tracing import (
    concrete_function,
    large_variables,
    layer_of,
    make_constant,
    output_names,
)
from compressor.foundation import quiet_tensorflow, release_memory
from compressor.models import FLOAT32_BYTES, count_parameters, input_names

OPSET = 18
"""The newest operator set that tf2onnx writes."""
BATCH = "batch"


def convert(model: Any) -> Any:
    """The onnx.ModelProto of a Sequential or Functional model.

    Its inputs are named and ordered as `input_names(model)`, its outputs as `output_names(model)`;
    the first axis of each is the batch, of any size. Every float type becomes float32. Raises
    ModelError, in one line, for what tf2onnx cannot convert, for operators that ONNX does not have,
    for an output that is given twice, and as `concrete_function` does.
    """
    with quiet(), light_copies():
        large = large_variables(model, apart.LARGE)
        graph, inputs, outputs = _frozen(model, large)
        # The function held the weights several times over.
        release_memory(FLOAT32_BYTES * count_parameters(model))
        try:
            converted = _from_frozen(graph, inputs, outputs, large)
        except Exception as error:  # tf2onnx raises whatever an operator makes it raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ModelError(
                "the model cannot be converted to ONNX", value=f"{model.name} ({reason})"
            ) from error
    _check_operators(converted, model)
    _name_boundary(converted, inputs[: len(inputs) - len(large)], outputs, model)
    return converted


def _frozen(model: Any, large: list[Any]) -> tuple[Any, list[str], list[str]]:
    """The GraphDef of the model, and the names of its inputs and outputs.

    Behind its own inputs there is one for each of the variables that are `large`.
    """
    function = concrete_function(model, "onnx", given=large)
    names = [[tensor.name for tensor in part] for part in (function.inputs, function.outputs)]
    return function.graph.as_graph_def(add_shapes=True), names[0], names[1]


def _from_frozen(graph: Any, inputs: list[str], outputs: list[str], large: list[Any]) -> Any:
    """What `tf2onnx.convert.from_graph_def` does, with the values of large variables put in last.

    Here they are what the model has now: the graph has their shapes alone.
    """
    tensorflow, _ = quiet_tensorflow.load()
    loader, tfonnx, tools, optimizer = (
        importlib.import_module(f"tf2onnx.{name}")
        for name in ("tf_loader", "tfonnx", "tf_utils", "optimizer")
    )
    count = len(inputs) - len(large)
    places = [name.partition(":")[0] for name in inputs[count:]]
    contents = {place.encode(): values_of(one) for place, one in zip(places, large, strict=True)}
    read = tools.get_tf_tensor_data

    def values(proto: Any) -> np.ndarray:
        found = contents.get(proto.tensor_content)
        return read(proto) if found is None else found

    with (
        tensorflow.device("/cpu:0"),
        apart.in_numpy_helper(),
        patch.object(tools, "get_tf_tensor_data", values),
    ):
        with tensorflow.Graph().as_default():
            tensorflow.import_graph_def(graph, name="")
            graph = loader.tf_optimize(inputs, outputs, graph)
        for node in graph.node:
            if node.name in places:
                make_constant(node)
        with tensorflow.Graph().as_default() as imported:
            tensorflow.import_graph_def(graph, name="")
            made = tfonnx.process_tf_graph(
                imported,
                continue_on_error=True,
                opset=OPSET,
                custom_op_handlers=handlers(),
                input_names=inputs[:count],
                output_names=outputs,
                const_node_values={place: place.encode() for place in places},
            )
            converted = optimizer.optimize_graph(made).make_model("converted from model")
    apart.keep_only(converted.graph)
    return converted


def _check_operators(model: Any, source: Any) -> None:
    """Raise ModelError for an operator that ONNX does not have: tf2onnx copies those unchanged."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for node in all_nodes(model.graph):
        known = node.domain in ("", "ai.onnx") and onnx.defs.has(
            node.op_type, max_inclusive_version=versions[""]
        )
        if not known:
            raise ModelError(
                "the model needs an operator that ONNX does not have",
                value=f"{node.op_type} ({layer_of(source, node.name) or node.name})",
                hint="replace the layer or its activation",
            )


def _name_boundary(model: Any, given: list[str], gives: list[str], source: Any) -> None:
    """Set names, order and batch axis of inputs and outputs; unused inputs are kept."""
    graph, names, outputs = model.graph, input_names(source), output_names(source)
    found = {one.name: one for one in graph.output}
    if len(outputs) == 1:
        gives = list(found)
    shared = set(outputs) & set(names)
    if shared or len(set(gives)) < len(outputs) or set(gives) != set(found):
        raise ModelError(
            "an output of the model is given twice, or is one of its inputs or named as one",
            value=listed(sorted(shared) or outputs),
            hint="leave it out, or give it through a layer and by a name of its own",
        )
    mapping = dict(zip(given, names, strict=True)) | dict(zip(gives, outputs, strict=True))
    rename(graph, mapping)
    ordered = [found[name] for name in gives]
    # A field's entries are gone once it is cleared.
    copies = [onnx.ValueInfoProto.FromString(one.SerializeToString()) for one in ordered]
    del graph.output[:]
    graph.output.extend(copies)
    del graph.input[:]
    for name, tensor in zip(names, source.inputs, strict=True):
        dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(input_type(tensor)))
        sizes = [
            f"{name}_axis_{axis}" if size is None else size
            for axis, size in enumerate(tensor.shape[1:], 1)
        ]
        graph.input.append(onnx.helper.make_tensor_value_info(name, dtype, [BATCH, *sizes]))
    for one in graph.output:
        one.type.tensor_type.shape.dim[0].dim_param = BATCH

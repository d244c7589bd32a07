"""From a Keras model to an ONNX model, by Keras's own exporter; no file is left behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from compressor.errors import ModelError
from compressor.exporters.half_precision import computing_in_float32, input_type
from compressor.exporters.onnx.graphs import all_graphs, all_nodes, rename
from compressor.exporters.onnx.quiet import quiet
from compressor.foundation import quiet_tensorflow, temporary_folder
from compressor.models import input_names, structure

OPSET = 18
"""The newest operator set that tf2onnx writes."""
OUTPUT = "scores"
BATCH = "batch"


def convert(model: Any) -> Any:
    """The onnx.ModelProto of a Sequential or Functional model with one output.

    Its inputs are named and ordered as `input_names(model)`, its output is `scores`; the first axis
    of each is the batch, of any size. Every float type becomes float32. Raises ModelError, in one
    line, for what Keras's exporter cannot convert; see also `check_operators`.
    """
    tensorflow, keras = quiet_tensorflow.load()
    _check_groups(model)
    names = input_names(model)
    # Functional models need the structure they were built with; the names must be unique.
    tensors = keras.tree.flatten(structure(model))
    specs = [
        tensorflow.TensorSpec((None, *tensor.shape[1:]), input_type(tensor), name=f"input_{number}")
        for number, tensor in enumerate(tensors)
    ]
    signature = [keras.tree.pack_sequence_as(structure(model), specs)]
    scratch = temporary_folder("compressor-onnx-")
    with scratch as folder, computing_in_float32(model), quiet():
        path = folder / "model.onnx"
        try:
            model.export(
                path, format="onnx", opset_version=OPSET, verbose=False, input_signature=signature
            )
        except Exception as error:  # tf2onnx raises whatever an operator makes it raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ModelError(
                "the model cannot be converted to ONNX", value=f"{model.name} ({reason})"
            ) from error
        converted = onnx.load(path)
    _check_values(converted.graph)
    _name_boundary(converted, [spec.name for spec in specs], names, tensors)
    return converted


def check_operators(model: Any) -> None:
    """Raise ModelError for an operator that ONNX does not have: tf2onnx copies those unchanged."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for node in all_nodes(model.graph):
        known = node.domain in ("", "ai.onnx") and onnx.defs.has(
            node.op_type, max_inclusive_version=versions[""]
        )
        if not known:
            raise ModelError(
                "the model needs an operator that ONNX does not have",
                value=f"{node.op_type} ({node.name})",
                hint="replace the layer or its activation",
            )


def _check_groups(model: Any) -> None:
    """Keras compiles grouped convolutions with XLA, which tf2onnx cannot convert."""
    _, keras = quiet_tensorflow.load()
    kinds = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
    for layer in model._flatten_layers():
        if isinstance(layer, kinds) and layer.groups > 1:
            raise ModelError(
                "a grouped convolution cannot be converted to ONNX",
                value=f"{layer.name} ({layer.groups} groups)",
                hint="replace it with one convolution for each group, or export to TFLite",
            )


def _check_values(graph: Any) -> None:
    """Raise ModelError for a value without a source: tf2onnx loses some captured constants."""
    given = {""}
    for inner in all_graphs(graph):
        given |= {entry.name for entry in (*inner.initializer, *inner.input)}
        given.update(name for node in inner.node for name in node.output)
    for node in all_nodes(graph):
        for name in node.input:
            if name not in given:
                raise ModelError(
                    "tf2onnx lost a constant of the model",
                    value=f"{name}, which {node.op_type} takes",
                    hint="make the constant a weight of a layer",
                )


def _name_boundary(model: Any, specs: list[str], names: tuple[str, ...], tensors: Any) -> None:
    """Set names, order and batch axis of inputs and output; unused inputs are kept."""
    graph = model.graph
    given = {entry.name.partition(":")[0]: entry.name for entry in graph.input}
    mapping = {given[spec]: name for spec, name in zip(specs, names, strict=True) if spec in given}
    mapping[graph.output[0].name] = OUTPUT
    rename(graph, mapping)
    del graph.input[:]
    for name, tensor in zip(names, tensors, strict=True):
        dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(input_type(tensor)))
        sizes = [
            f"{name}_axis_{axis}" if size is None else size
            for axis, size in enumerate(tensor.shape[1:], 1)
        ]
        graph.input.append(onnx.helper.make_tensor_value_info(name, dtype, [BATCH, *sizes]))
    shape = graph.output[0].type.tensor_type.shape
    shape.dim[0].dim_param = BATCH

"""From a Keras model to an ONNX model, by Keras's own exporter; no file is left behind."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from compressor import _tensorflow
from compressor.errors import ModelError
from compressor.exporters.onnx.graphs import all_nodes, rename
from compressor.exporters.onnx.quiet import quiet
from compressor.preprocessing import input_names, structure

OPSET = 18
"""The newest operator set that tf2onnx writes."""
OUTPUT = "scores"
BATCH = "batch"


def convert(model: Any) -> Any:
    """The onnx.ModelProto of a Sequential or Functional model with one output.

    Its inputs are named as `input_names(model)` and in that order, its output `scores`; the first
    axis of each is the batch, of any size. Raises ModelError, in one line, for what Keras's
    exporter cannot convert; operators are not checked yet (`check_operators`).
    """
    import onnx

    tensorflow, keras = _tensorflow.load()
    names = input_names(model)
    # Functional models want the structure they were built with; the names must be unique.
    tensors = keras.tree.flatten(structure(model))
    specs = [
        tensorflow.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=f"input_{number}")
        for number, tensor in enumerate(tensors)
    ]
    signature = [keras.tree.pack_sequence_as(structure(model), specs)]
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "model.onnx"
        try:
            model.export(
                path,
                format="onnx",
                opset_version=OPSET,
                verbose=False,
                input_signature=signature,
            )
        except Exception as error:  # tf2onnx raises whatever an operator makes it raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ModelError(
                "the model cannot be converted to ONNX", value=f"{model.name} ({reason})"
            ) from error
        converted = onnx.load(path)
    _name_boundary(converted, [spec.name for spec in specs], names, tensors)
    return converted


def check_operators(model: Any) -> None:
    """Raise ModelError for an operator that the operator sets of `model` do not have.

    tf2onnx copies an operator that it does not know into the graph, and only logs so.
    """
    import onnx

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


def _name_boundary(model: Any, specs: list[str], names: tuple[str, ...], tensors: Any) -> None:
    """Give inputs and output their names, order and batch axis; an unused input is kept."""
    import onnx

    graph = model.graph
    given = {entry.name.partition(":")[0]: entry.name for entry in graph.input}
    mapping = {given[spec]: name for spec, name in zip(specs, names, strict=True) if spec in given}
    mapping[graph.output[0].name] = OUTPUT
    rename(graph, mapping)
    del graph.input[:]
    for name, tensor in zip(names, tensors, strict=True):
        dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(str(tensor.dtype)))
        sizes = [
            f"{name}_axis_{axis}" if size is None else size
            for axis, size in enumerate(tensor.shape[1:], 1)
        ]
        graph.input.append(onnx.helper.make_tensor_value_info(name, dtype, [BATCH, *sizes]))
    shape = graph.output[0].type.tensor_type.shape
    shape.dim[0].dim_param = BATCH

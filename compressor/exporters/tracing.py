"""From a Keras model to one TensorFlow function that a converter can take.

It holds the inference alone: its inputs are the model's, what only trains is gone, and every
variable and captured tensor is a constant. The model is changed while it is traced, and restored
afterwards:

1. Layers of another float type compute in float32; their values are kept.
2. For TFLite recurrent layers become loops over their steps, or are unrolled, as `recurrence` says.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Sequence
from typing import Any, Literal

from compressor.data import listed
from compressor.errors import ModelError
from compressor.exporters import half_precision
from compressor.exporters.half_precision import computing_in_float32, input_type
from compressor.exporters.portable import portable_operators
from compressor.exporters.recurrence import (
    SHORT,
    known_to_onnx,
    looping,
    recurrent_layers,
    unrolled_layers,
)
from compressor.foundation import quiet_tensorflow, release_memory
from compressor.models import FLOAT32_BYTES, count_parameters, refuse_stateful, structure
from compressor.models.outputs import outputs_of

INPUT_PREFIX = "input_"
"""of the names of the function's inputs, which are numbered in the order of model.inputs"""
VARIABLE_PREFIX = "variable_"
"""of the names of those that stand for variables"""
OUTPUT = "scores"
"""the name of the output of a model that has one"""
LARGEST = 2**31
"""Bytes: both TensorFlow's graphs and ONNX's files are protocol buffers."""
_TABLES = ("Hashing", "HashedCrossing", "IntegerLookup", "StringLookup", "TextVectorization")
"""Keras layers of which TensorFlow's operators have no counterpart elsewhere."""


def concrete_function(
    model: Any,
    file_format: Literal["onnx", "tflite"],
    unrolled: int = SHORT,
    given: Sequence[Any] = (),
) -> Any:
    """The inference of `model` as a concrete function without variables.

    It takes model.inputs in their order, with an open batch axis and any float type as float32,
    and returns the outputs in their order, even those of a dictionary. For TFLite recurrent layers
    of at most `unrolled` steps are unrolled. Variables of the model that are `given` are no
    constants but further inputs, behind its own: freezing copies constants up to ten times. What
    tracing took is given back to the system. Raises ModelError for one that is stateful, for a
    model that TensorFlow cannot trace, and for more than `LARGEST` bytes of constants, for TFLite
    with those that are given.
    """
    constants = weights = FLOAT32_BYTES * count_parameters(model)
    if file_format == "onnx":
        constants -= sum(FLOAT32_BYTES * math.prod(one.shape) for one in given)
    if constants > LARGEST:
        raise ModelError(
            "a file holds at most 2 GB of weights while it is made",
            value=f"{constants / 1e9:.2f} GB in float32",
            hint="remove channels first, with prune --granularity channel",
        )
    refuse_stateful(model)
    frozen = _frozen(model, given, flat=file_format == "tflite", unrolled=unrolled)
    release_memory(weights)
    return frozen


def _frozen(model: Any, given: Sequence[Any], *, flat: bool, unrolled: int) -> Any:
    tensorflow, keras = quiet_tensorflow.load()
    constants = importlib.import_module("tensorflow.python.framework.convert_to_constants")
    layout = structure(model)
    specs = [
        tensorflow.TensorSpec(
            (None, *tensor.shape[1:]), input_type(tensor), name=f"{INPUT_PREFIX}{number}"
        )
        for number, tensor in enumerate(model.inputs)
    ]
    count = len(specs)
    specs += [
        tensorflow.TensorSpec(variable.shape, variable.dtype, name=f"{VARIABLE_PREFIX}{number}")
        for number, variable in enumerate(given)
    ]

    def infer(*tensors: Any) -> list[Any]:
        # Without updates of variables, such as the states of random generators.
        values = list(zip(given, tensors[count:], strict=True))
        inputs = keras.tree.pack_sequence_as(layout, list(tensors[:count]))
        with keras.StatelessScope(values):
            outputs = model(inputs, training=False)
        return keras.tree.flatten(outputs)

    # Without AutoGraph: the model runs as it does in Keras, and its source is not read.
    function = tensorflow.function(infer, input_signature=specs, autograph=False)
    recurrence = looping(model, unrolled) if flat else known_to_onnx(model)
    with computing_in_float32(model), recurrence, portable_operators(flat=flat):
        try:
            # Loops stay operators of their own; the converters know them.
            return constants.convert_variables_to_constants_v2(
                function.get_concrete_function(), lower_control_flow=False, aggressive_inlining=True
            )
        except (ValueError, TypeError, NotImplementedError) as error:
            if "Cannot unroll" in str(error):
                raise ModelError(
                    "a recurrent layer that takes an open number of steps cannot be exported",
                    value=", ".join(tensor.name for tensor in model.inputs),
                    hint="give the Input layer a fixed number of steps",
                ) from error
            raise ModelError(
                "the model cannot be traced in float32 with an open batch size", value=cause(error)
            ) from error


def large_variables(model: Any, least: int) -> list[Any]:
    """The variables of the model in float32 that take `least` bytes or more."""
    found = {id(variable): variable for variable in model.variables}.values()
    sizes = {id(one): FLOAT32_BYTES * math.prod(one.shape) for one in found}
    return [one for one in found if one.dtype == "float32" and sizes[id(one)] >= least]


def make_constant(node: Any) -> Any:
    """Make a Placeholder of a GraphDef a Const of its type and shape; its TensorProto is empty."""
    node.op = "Const"
    tensor = node.attr["value"].tensor
    tensor.dtype = node.attr["dtype"].type
    tensor.tensor_shape.CopyFrom(node.attr["shape"].shape)
    del node.attr["shape"]
    return tensor


def output_names(model: Any) -> tuple[str, ...]:
    """How a file names the outputs: one alone `scores`, several as the model does."""
    if len(model.outputs) == 1:
        return (OUTPUT,)
    return tuple(output.name for output in outputs_of(model))


def refuse_tables(model: Any) -> None:
    """Raise ModelError for a layer that works on text or looks values up in a table."""
    _, keras = quiet_tensorflow.load()
    kinds = tuple(getattr(keras.layers, name) for name in _TABLES)
    found = [layer for layer in model._flatten_layers() if isinstance(layer, kinds)]
    if found:
        raise ModelError(
            "a layer that works on text or looks values up in a table cannot be exported",
            value=listed(dict.fromkeys(f"{one.name} ({type(one).__name__})" for one in found)),
            hint="do its work before the model, and give the model numbers",
        )


def layer_of(model: Any, operator: str) -> str:
    """The layer that an operator comes from by its name, such as net/conv/Conv2D, or ''."""
    outer, *scopes = operator.split("/")
    if outer != model.name:  # TensorFlow numbers scopes that are entered again
        scopes = [re.sub(r"_\d+$", "", scope) for scope in scopes]
    names = {layer.name for layer in model._flatten_layers()}
    return next((scope for scope in reversed(scopes) if scope in names), "")


def notes(model: Any, unrolled: int) -> tuple[str, ...]:
    """How `concrete_function` changes the model, for the user, a sentence each."""
    found = list(half_precision.notes(model))
    short = unrolled_layers(model, unrolled)
    if short:
        names = listed([layer.name for layer in short])
        found.append(f"Unrolled, every step with operators of its own: {names}.")
    if loops := [layer.name for layer in recurrent_layers(model) if layer not in short]:
        found.append(f"A loop over the steps: {listed(loops)}.")
    return tuple(found)


def cause(error: Exception) -> str:
    """The line of an error that says why; Keras puts the name of the layer in front."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Exception encountered"):
        lines = lines[1:]
    return re.sub("\x1b\\[[0-9]*m", "", lines[0]) if lines else type(error).__name__

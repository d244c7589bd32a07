"""From a Keras model to one TensorFlow function that the TFLite converter can take.

TFLite's built-in operators compute in float32 and have no lists of tensors, so the model is
traced in a state of its own, and is itself again afterwards:

1. Layers of another float type compute in float32; their values are taken as they are.
2. Recurrent layers are unrolled: one copy of their operators a step, which share the weights.
   A loop would fix the batch size. So the number of steps must be fixed.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator
from typing import Any

from compressor import _tensorflow
from compressor.data.inputs import listed
from compressor.errors import ModelError
from compressor.preprocessing import structure

INPUT_PREFIX = "input_"
"""of the names of the function's inputs, which are numbered in the order of model.inputs"""


def trace(model: Any) -> Any:
    """The inference of `model` as a concrete function without variables.

    It takes the tensors of model.inputs in their order, with an open batch axis, and of float32
    where they are of another float type; it gives the outputs in their order, also where they are
    a dictionary. Raises ModelError for a recurrent layer that keeps its state between batches, or
    takes an open number of steps, and for a model that TensorFlow cannot trace.
    """
    tensorflow, keras = _tensorflow.load()
    constants = importlib.import_module("tensorflow.python.framework.convert_to_constants")
    _check_recurrent(model)
    layout = structure(model)
    specs = [
        tensorflow.TensorSpec(
            (None, *tensor.shape[1:]), input_type(tensor), name=f"{INPUT_PREFIX}{number}"
        )
        for number, tensor in enumerate(model.inputs)
    ]

    def infer(*tensors: Any) -> list[Any]:
        outputs = model(keras.tree.pack_sequence_as(layout, list(tensors)), training=False)
        return keras.tree.flatten(outputs)

    with _convertible(model):
        try:
            # Without AutoGraph: the model runs as it does in Keras, and its source is not read.
            function = tensorflow.function(infer, input_signature=specs, autograph=False)
            return constants.convert_variables_to_constants_v2(function.get_concrete_function())
        except (ValueError, TypeError, NotImplementedError) as error:
            if "Cannot unroll" in str(error):
                raise ModelError(
                    "a recurrent layer that takes an open number of steps cannot be exported",
                    value=", ".join(tensor.name for tensor in model.inputs),
                    hint="give the Input layer a fixed number of steps",
                ) from error
            raise ModelError(
                "the model cannot be traced in float32 with an open batch size",
                value=_cause(error),
            ) from error


def input_type(tensor: Any) -> str:
    """The type in which a file takes an input of the model: float32 for any float type."""
    dtype = str(tensor.dtype)
    return "float32" if "float" in dtype else dtype


def notes(model: Any) -> tuple[str, ...]:
    """What the user should know of how `trace` changes the model, a sentence each."""
    _, keras = _tensorflow.load()
    layers = model._flatten_layers()
    found = []
    others = sorted({str(layer.compute_dtype) for layer in layers if _computes_otherwise(layer)})
    if others:
        found.append(f"The file computes in float32 what the model computes in {listed(others)}.")
    recurrent = [layer.name for layer in layers if isinstance(layer, keras.layers.RNN)]
    if recurrent:
        found.append(f"Unrolled, every step an operator of its own: {listed(recurrent)}.")
    return tuple(found)


def _check_recurrent(model: Any) -> None:
    _, keras = _tensorflow.load()
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            raise ModelError(
                "a recurrent layer that keeps its state between batches cannot be exported",
                value=layer.name,
                hint="build it with stateful=False",
            )


@contextlib.contextmanager
def _convertible(model: Any) -> Iterator[None]:
    _, keras = _tensorflow.load()
    undo: list[tuple[Any, str, Any]] = []

    def change(owner: Any, name: str, value: Any) -> None:
        undo.append((owner, name, getattr(owner, name)))
        object.__setattr__(owner, name, value)

    for layer in model._flatten_layers():
        if _computes_otherwise(layer):
            policy = keras.dtype_policies.DTypePolicy("float32")
            # Keras casts variables where the two types of a policy differ.
            policy._variable_dtype = layer.variable_dtype
            change(layer, "_dtype_policy", policy)
        casting = [layer] if isinstance(layer, keras.layers.InputLayer) else _own_inputs(layer)
        for owner in casting:
            if _is_other_float(owner.dtype):
                change(owner, "_dtype", "float32")
        if isinstance(layer, keras.layers.RNN):
            change(layer, "unroll", True)
            if hasattr(layer, "use_cudnn"):
                change(layer, "use_cudnn", False)
    try:
        yield
    finally:
        for owner, name, value in reversed(undo):
            object.__setattr__(owner, name, value)


def _own_inputs(layer: Any) -> list[Any]:
    """The tensors to whose types a model casts what it is given; a Sequential has them inside."""
    return [
        tensor
        for functional in (layer, getattr(layer, "_functional", None))
        for tensor in getattr(functional, "_inputs", None) or []
    ]


def _computes_otherwise(layer: Any) -> bool:
    return _is_other_float(layer.compute_dtype)


def _is_other_float(dtype: Any) -> bool:
    return "float" in str(dtype) and str(dtype) != "float32"


def _cause(error: Exception) -> str:
    """The line of an error's text that says why; Keras has the name of the layer first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Exception encountered"):
        lines = lines[1:]
    return re.sub("\x1b\\[[0-9]*m", "", lines[0]) if lines else type(error).__name__

"""From a Keras model to one TensorFlow function that the TFLite converter can take.

TFLite's built-in operators compute in float32 and have no lists of tensors, so the model is
changed while it is traced, and restored afterwards:

1. Layers of another float type compute in float32; their values are kept.
2. Recurrent layers become loops over their steps, or are unrolled, as `recurrence` says.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

from compressor.data import listed
from compressor.errors import ModelError
from compressor.exporters import half_precision
from compressor.exporters.half_precision import computing_in_float32, input_type
from compressor.exporters.recurrence import looping, recurrent_layers, unrolled_layers
from compressor.foundation import quiet_tensorflow
from compressor.models import structure

INPUT_PREFIX = "input_"
"""of the names of the function's inputs, which are numbered in the order of model.inputs"""


def concrete_function(model: Any, unrolled: int) -> Any:
    """The inference of `model` as a concrete function without variables.

    It takes model.inputs in their order, with an open batch axis and any float type as float32,
    and returns the outputs in their order, even those of a dictionary. Recurrent layers of at most
    `unrolled` steps are unrolled. Raises ModelError for one that is stateful, and for a model that
    TensorFlow cannot trace.
    """
    tensorflow, keras = quiet_tensorflow.load()
    constants = importlib.import_module("tensorflow.python.framework.convert_to_constants")
    for layer in recurrent_layers(model):
        if layer.stateful:
            raise ModelError(
                "a recurrent layer that keeps its state between batches cannot be exported",
                value=layer.name,
                hint="build it with stateful=False",
            )
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

    with computing_in_float32(model), looping(model, unrolled):
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
                "the model cannot be traced in float32 with an open batch size", value=_cause(error)
            ) from error


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


def _cause(error: Exception) -> str:
    """The line of an error that says why; Keras puts the name of the layer in front."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Exception encountered"):
        lines = lines[1:]
    return re.sub("\x1b\\[[0-9]*m", "", lines[0]) if lines else type(error).__name__

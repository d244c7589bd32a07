"""From a Keras model to a TFLite graph, by TensorFlow's own converter.

The graph has only built-in operators, an open batch axis, the inputs in the order of model.inputs
with the names of the model, and one signature, `serving_default`. Nothing is sparse.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from compressor.data import listed
from compressor.errors import ModelError, UsageError
from compressor.exporters.half_precision import input_type
from compressor.exporters.recurrence import SHORT
from compressor.exporters.tflite import graph as graphs
from compressor.exporters.tracing import (
    INPUT_PREFIX,
    concrete_function,
    large_variables,
    layer_of,
    make_constant,
    output_names,
)
from compressor.foundation import quiet_tensorflow
from compressor.models import input_names

SIGNATURE = "serving_default"
ONE_SCALE = ("tflite-runtime",)
"""Runtimes of which FULLY_CONNECTED wants one scale for all weights: 2.14 is right with a scale
for each row where the weights are dense, and silently wrong where they are sparse."""
_LARGE = 2**16
"""Bytes of a variable that is put in last."""
_INPUT = re.compile(rf"{INPUT_PREFIX}(\d+)(?::\d+)?$")


def convert(model: Any, options: Mapping[str, Any] | None = None, *, unrolled: int = SHORT) -> Any:
    """Convert a built Keras model to a ModelT, in float32 unless `options` say otherwise.

    `options` are attributes of `tf.lite.TFLiteConverter` to set; recurrent layers of at most
    `unrolled` steps are unrolled, longer ones become loops. The inputs have the names of
    `input_names`, the outputs those of `output_names`. Raises
    ModelError for a model that needs operators that TFLite does not have built in, and as
    `tracing.concrete_function` does.
    """
    tensorflow, _ = quiet_tensorflow.load()
    graph_def, inputs, function = _frozen(model, unrolled)
    with warnings.catch_warnings():
        # It asks for the object that owns the variables; there are none any more.
        warnings.simplefilter("ignore")
        converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([function])
        converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS]
        for name, value in (options or {}).items():
            setattr(converter, name, value)
        # It would freeze what is frozen once more, which takes as long as converting does.
        frozen = (graph_def, inputs, function.outputs, function)
        converter._freeze_concrete_function = lambda: frozen
        try:
            content = converter.convert()
        except Exception as error:  # the converter raises what it likes
            raise _refusal(error, function, model) from error
    graph = graphs.read_graph(content)
    for code in graph.operatorCodes:
        if graphs.code_name(code) == "CUSTOM":
            raise _no_operator(graphs.text(code.customCode) or "?")
    _name_signature(graph, input_names(model), output_names(model))
    return graph


def _frozen(model: Any, unrolled: int) -> tuple[Any, list[Any], Any]:
    """The GraphDef of the inference, its inputs, and the function that it is of."""
    tensorflow, _ = quiet_tensorflow.load()
    large = large_variables(model, _LARGE)
    function = concrete_function(model, "tflite", unrolled, large)
    graph = function.graph.as_graph_def()
    if large and _calls_functions(graph):
        # A loop would carry them along, instead of having constants.
        large, function = [], concrete_function(model, "tflite", unrolled)
        graph = function.graph.as_graph_def()
    own = len(function.inputs) - len(large)
    values = {tensor.op.name: one for tensor, one in zip(function.inputs[own:], large, strict=True)}
    for node in graph.node:
        if node.name in values:
            # The bytes of the variable, without a copy as an array.
            value = tensorflow.convert_to_tensor(values[node.name])
            make_constant(node).tensor_content = memoryview(value).tobytes()
    return graph, function.inputs[:own], function


def _calls_functions(graph: Any) -> bool:
    return any(value.HasField("func") for node in graph.node for value in node.attr.values())


def convert_int8(
    model: Any, calibration: Sequence[np.ndarray], runtime: str, *, unrolled: int = SHORT
) -> Any:
    """Convert a Keras model to a ModelT in int8, with float32 inputs and outputs.

    `calibration` has one array (examples, *shape) an input, in the order of model.inputs; running
    the model on it gives the range of every activation. Weights are symmetric (zero point 0), so
    zeros stay exactly zero, with a scale for each output channel, but for fully connected layers
    of the runtimes in `ONE_SCALE`. An operator that has no integer kernel stays float32, between
    DEQUANTIZE and QUANTIZE. Raises UsageError without examples, and as `convert` does.

    Source: the 8-bit quantisation specification of LiteRT.
    """
    tensorflow, _ = quiet_tensorflow.load()
    if not len(calibration) or not len(calibration[0]):
        raise UsageError(
            "int8 needs examples to calibrate with",
            hint="give a data set with --data, or choose --quantize dynamic",
        )
    types = [input_type(tensor) for tensor in model.inputs]

    def examples() -> Iterator[list[np.ndarray]]:
        for row in range(len(calibration[0])):
            yield [
                np.asarray(part[row : row + 1], dtype)
                for part, dtype in zip(calibration, types, strict=True)
            ]

    options = {
        "optimizations": [tensorflow.lite.Optimize.DEFAULT],
        "representative_dataset": examples,
        "_experimental_disable_per_channel_quantization_for_dense_layers": runtime in ONE_SCALE,
    }
    return convert(model, options, unrolled=unrolled)


def _refusal(error: Exception, function: Any, model: Any) -> ModelError:
    text = str(error)
    missing = re.search(
        r"'tf\.(\w+)' op (?:is neither a custom op nor a flex op|requires element_shape)", text
    )
    if missing:
        name = missing.group(1)
        same = [one.name for one in function.graph.get_operations() if one.type == name]
        layers = [layer for layer in dict.fromkeys(layer_of(model, one) for one in same) if layer]
        return _no_operator(f"{name} ({listed(layers)})" if layers else name)
    line = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return ModelError("TensorFlow's converter to TFLite cannot convert the model", value=line[:200])


def _no_operator(name: str) -> ModelError:
    return ModelError(
        "TFLite has no built-in operator for a part of the model",
        value=name,
        hint="replace the layer that needs it",
    )


def _name_signature(graph: Any, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    main = graphs.main(graph)
    numbers = [_number(main.tensors[index].name) for index in main.inputs]
    if sorted(numbers) != list(range(len(inputs))) or len(main.outputs) != len(outputs):
        raise ModelError(
            "TensorFlow's converter gave other inputs or outputs than the model has",
            value=f"inputs {len(main.inputs)} of {len(inputs)}, "
            f"outputs {len(main.outputs)} of {len(outputs)}",
        )
    if set(main.inputs) & set(main.outputs):
        raise ModelError("an output of the model is one of its inputs", value=", ".join(outputs))
    ordered = [int(index) for _, index in sorted(zip(numbers, main.inputs, strict=True))]
    main.inputs = np.asarray(ordered, np.int32)
    schema = graphs.schema()
    maps = []
    for indices, names in ((main.inputs, inputs), (main.outputs, outputs)):
        entries = []
        for index, name in zip(indices, names, strict=True):
            main.tensors[int(index)].name = name
            entries.append(schema.TensorMapT(name=name, tensorIndex=int(index)))
        maps.append(entries)
    graph.signatureDefs = [
        schema.SignatureDefT(inputs=maps[0], outputs=maps[1], signatureKey=SIGNATURE)
    ]


def _number(name: Any) -> int:
    found = _INPUT.search(graphs.text(name))
    return int(found.group(1)) if found else -1

"""From a Keras model to a TFLite graph in float32, by TensorFlow's own converter.

What holds of the graph: it has built-in operators alone, an open batch axis, the inputs in the
order of model.inputs with the names of the model, and one signature, `serving_default`. Nothing
of it is quantised or sparse, unless `options` say so.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from compressor.errors import ModelError
from compressor.exporters.tflite import graph as graphs
from compressor.exporters.tflite.tracing import INPUT_PREFIX, concrete_function
from compressor.foundation import quiet_tensorflow
from compressor.models import input_names, numbered

OUTPUT = "scores"
"""the name of the output of a model that has one"""
SIGNATURE = "serving_default"


def convert(model: Any, options: Mapping[str, Any] | None = None) -> Any:
    """Convert a built Keras model; a ModelT.

    `options` are attributes of `tf.lite.TFLiteConverter` to set. The inputs are called as
    `input_names` says, the output `scores` or, where there are several, as the layers that give
    them. Raises ModelError for a model that needs operators which TFLite does not have built in,
    and as `tracing.concrete_function` does.
    """
    tensorflow, _ = quiet_tensorflow.load()
    function = concrete_function(model)
    with warnings.catch_warnings():
        # It asks for the object that owns the variables; there are none any more.
        warnings.simplefilter("ignore")
        converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([function])
        converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS]
        for name, value in (options or {}).items():
            setattr(converter, name, value)
        try:
            content = converter.convert()
        except Exception as error:  # the converter raises what it likes
            raise _refusal(error) from error
    graph = graphs.read_graph(content)
    _check_builtin(graph)
    _name_signature(graph, input_names(model), _output_names(model))
    return graph


def _output_names(model: Any) -> tuple[str, ...]:
    if len(model.outputs) == 1:
        return (OUTPUT,)
    names: list[str] = []
    for tensor in model.outputs:
        names.append(numbered(tensor._keras_history.operation.name, names))
    return tuple(names)


def _refusal(error: Exception) -> ModelError:
    text = str(error)
    missing = re.search(
        r"'tf\.(\w+)' op (?:is neither a custom op nor a flex op|requires element_shape)", text
    )
    if missing:
        return ModelError(
            "TFLite has no built-in operator for a part of the model",
            value=missing.group(1),
            hint="replace the layer that needs it",
        )
    line = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return ModelError("TensorFlow's converter to TFLite cannot convert the model", value=line[:200])


def _check_builtin(graph: Any) -> None:
    for code in graph.operatorCodes:
        if graphs.code_name(code) == "CUSTOM":
            raise ModelError(
                "TFLite has no built-in operator for a part of the model",
                value=graphs.text(code.customCode) or "?",
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
        for index, name in zip(indices, names, strict=True):
            main.tensors[int(index)].name = name
        maps.append(
            [
                schema.TensorMapT(name=name, tensorIndex=int(index))
                for index, name in zip(indices, names, strict=True)
            ]
        )
    graph.signatureDefs = [
        schema.SignatureDefT(inputs=maps[0], outputs=maps[1], signatureKey=SIGNATURE)
    ]


def _number(name: Any) -> int:
    found = re.search(rf"{INPUT_PREFIX}(\d+)(?::\d+)?$", graphs.text(name))
    return int(found.group(1)) if found else -1

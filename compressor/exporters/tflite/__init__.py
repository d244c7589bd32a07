"""TFLite files from Keras models: small, sparse where it pays, and right in their runtime.

The order of things:

1. `tracing`: the model as a function, in float32, with an open batch axis.
2. `convert`, or `int8.convert_int8`: TensorFlow's converter makes a graph of built-in operators.
3. `passes`: constant reshapes, so that XNNPACK takes the graph; operators that nobody needs go.
4. `names`: which constant is which variable of the model.
5. `weights`: every weight is quantised and stored in the encoding that the runtime runs.
6. `operators`: whether the runtime has every operator in its version.
7. `graph`: the file is written. If one with dense weights is smaller, that one.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from compressor.errors import UsageError
from compressor.exporters.request import EncodedTensor, ExportedFile, Request
from compressor.models import input_names

_DENSE = "dense"


def export(model: Any, request: Request) -> ExportedFile:
    """Export a built Keras model as a TFLite file, in memory; `model` stays as it is.

    The inputs take float32 where the model's are of any float type, and integers as they are;
    the output `scores` is float32 (n, classes). No file is larger than the one of the same
    quantisation with dense weights. Raises UsageError for a quantisation or an encoding that
    TFLite does not have, and ModelError for a model that it, or the runtime, cannot execute.
    """
    from compressor.exporters.tflite import (
        convert,
        graph,
        int8,
        names,
        operators,
        passes,
        tracing,
        weights,
    )

    if request.quantize == "codebook":
        raise UsageError("TFLite has no codebook", hint="choose --quantize int4")
    if request.encoding is not None and request.encoding not in weights.ENCODINGS:
        raise UsageError(
            "TFLite has no such encoding",
            value=request.encoding,
            hint=f"choose one of {', '.join(weights.ENCODINGS)}",
        )
    if request.quantize == "int8":
        plain = int8.convert_int8(model, request.calibration, request.runtime)
    else:
        plain = convert.convert(model)
    passes.fix_reshapes(plain)
    passes.drop_dead_operators(plain)
    found = names.weight_names(plain, model)
    passes.shorten_names(plain, found)

    def write(request: Request) -> ExportedFile:
        encoded = graph.copied(plain)
        tensors, notes = weights.encode_weights(encoded, found, request)
        operators.check_runtime(encoded, request.runtime)
        return ExportedFile(
            content=graph.write_graph(encoded),
            inputs=input_names(model),
            tensors=tuple(sorted(tensors, key=_by_size)),
            needs=operators.needs(encoded),
            notes=(*tracing.notes(model), *notes),
        )

    chosen = write(request)
    if all(tensor.encoding == _DENSE for tensor in chosen.tensors):
        return chosen
    dense = write(dataclasses.replace(request, encoding=_DENSE))
    if len(chosen.content) <= len(dense.content):
        return chosen
    note = "The weights are dense: no sparse encoding makes the file smaller."
    return dataclasses.replace(dense, notes=(*dense.notes, note))


def _by_size(tensor: EncodedTensor) -> tuple[int, str]:
    return -tensor.bytes, tensor.name

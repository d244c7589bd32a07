"""Which layers take a model's inputs as stored, not scaled to 0..1."""

from __future__ import annotations

from typing import Any

import numpy as np

from compressor.foundation import quiet_tensorflow
from compressor.models.layers import keras_kinds

# Layers that take raw values, bytes or not.
_LOOKUPS = {"CategoryEncoding", "Discretization", "HashedCrossing", "Hashing"}
_LOOKUPS |= {"IntegerLookup", "OneHot", "StringLookup", "TextVectorization"}
_SCALERS = {"MelSpectrogram", "Normalization", "STFTSpectrogram"}
# Operations that keep the range of the values, so that the next ones decide.
_PASSING = {"BaseImagePreprocessingLayer", "Concatenate", "Identity", "Masking"}
_PASSING |= {"Cast", "ExpandDims", "GetItem", "Squeeze", "Stack", "Transpose"}
_PASSING |= {"Flatten", "Permute", "RepeatVector", "Reshape"}
_PASSING |= {"Dropout", "GaussianNoise"}
_PASSING |= {
    f"{kind}{rank}D"
    for kind in (
        *("AveragePooling", "Cropping", "GlobalAveragePooling", "GlobalMaxPooling", "MaxPooling"),
        *("SpatialDropout", "UpSampling", "ZeroPadding"),
    )
    for rank in (1, 2, 3)
}


def layers_for_raw_values(model: Any, tensor: Any) -> list[Any]:
    """The layers and operations that an input reaches and that take raw values."""
    reached: list[tuple[Any, Any]] = []
    _follow(model, tensor, reached)
    found = [
        layer
        for operation, node in reached
        for layer in _inside(operation)
        if _takes_raw_values(layer, node)
    ]
    # Of several Embeddings in one layer, the others may be of positions.
    return sorted(found, key=lambda layer: -layer.input_dim if is_embedding(layer) else 0)


def embeddings_in(operation: Any) -> list[Any]:
    """The Embedding that an operation is, or those that a layer of the user's own holds."""
    return [layer for layer in _inside(operation) if is_embedding(layer)]


def is_embedding(layer: Any) -> bool:
    return "Embedding" in keras_kinds(layer)


def looks_up(layer: Any) -> bool:
    """Whether the layer takes values as keys, not as numbers to compute with."""
    return bool(keras_kinds(layer) & _LOOKUPS)


def _follow(model: Any, tensor: Any, reached: list[tuple[Any, Any]]) -> set[int]:
    """Follow an input of a model, and into nested models, to the first operations that may change
    its range; add them, with the nodes of their calls, to `reached`.

    Returns the numbers of the model's outputs that the values reach unchanged.
    """
    # A Sequential model has its graph inside.
    graph = getattr(model, "_functional", None) or model
    nodes = [node for level in graph._nodes_by_depth.values() for node in level]
    outputs = {id(output): number for number, output in enumerate(graph.outputs)}
    unchanged, seen, waiting = set(), set(), [tensor]
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        if id(tensor) in outputs:
            unchanged.add(outputs[id(tensor)])
        for node in nodes:
            places = [place for place, part in enumerate(node.input_tensors) if part is tensor]
            if not places:
                continue
            operation = node.operation
            if "TimeDistributed" in keras_kinds(operation):
                operation = operation.layer
            if hasattr(operation, "_nodes_by_depth") or getattr(operation, "_functional", None):
                for place in places:
                    through = _follow(operation, operation.inputs[place], reached)
                    waiting += [node.outputs[number] for number in sorted(through)]
            elif keras_kinds(operation) & _PASSING:
                waiting += node.outputs
            else:
                reached.append((operation, node))
    return unchanged


def _inside(operation: Any) -> list[Any]:
    """A layer or operation; in place of a layer of the user's own, also all that it holds."""
    is_own = operation is not None and not type(operation).__module__.startswith("keras.")
    if is_own and hasattr(operation, "_flatten_layers"):
        return list(operation._flatten_layers())
    return [operation]


def _takes_raw_values(operation: Any, node: Any) -> bool:
    kinds = keras_kinds(operation)
    if "Rescaling" in kinds:
        # One that does not shrink values takes them in 0..1.
        return _largest(operation.scale) < 1
    if "Pipeline" in kinds:
        return any(_takes_raw_values(layer, node) for layer in operation.layers)
    if kinds & {"Add", "Divide", "Multiply", "Subtract", "TrueDivide"}:
        # As keras.applications' preprocess_input does it: x / 127.5 - 1, or x - mean.
        return any(
            _largest(part) < 1 if "Multiply" in kinds else _largest(part) > 1
            for part in node.arguments.args
            if not any(part is tensor for tensor in node.input_tensors)
            and not isinstance(part, list | tuple)
        )
    return bool(kinds & (_LOOKUPS | _SCALERS | {"Embedding"}))


def _largest(constant: Any) -> float:
    _, keras = quiet_tensorflow.load()
    return float(np.max(np.abs(keras.ops.convert_to_numpy(constant))))

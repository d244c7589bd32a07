"""Names that say where a tensor comes from, and that are the same in every process.

tf2onnx numbers its names by a counter of the process, and weights after TensorFlow's operators.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

from compressor.exporters.onnx.graphs import all_graphs, array_of, consumers, rename, unique
from compressor.models import all_layers


def name_after_layers(graph: Any, model: Any) -> set[str]:
    """Name weights layer/variable, nodes after the layer or operator, values after their nodes.

    Requires: the names of inputs and outputs are final. Ensures: the same model gives the same
    names. Returns the names of the weights that a variable of `model` was found for: one of the
    same values, in whatever order (transposed, or its gates swapped).
    """
    taken = {entry.name for entry in (*graph.input, *graph.output)}
    mapping = {name: name for name in taken}
    weights = list(_weights(model))
    found: set[str] = set()
    used_by = consumers(graph)
    for entry in graph.initializer:
        place = [entry.name, *(node.name for node, _ in used_by.get(entry.name, ()))]
        match = _match(array_of(entry), weights, place)
        if match is not None:
            mapping[entry.name] = unique(weights[match][0], taken)
            found.add(mapping[entry.name])
            del weights[match]
    for inner in all_graphs(graph):
        for node in inner.node:
            layer = next(
                (mapping[n].rpartition("/")[0] for n in node.input if mapping.get(n) in found), ""
            )
            node.name = unique(f"{layer}/{node.op_type}" if layer else node.op_type, taken)
            for position, name in enumerate(node.output):
                if name and name not in mapping:
                    # The node's own name; further outputs of it get a number.
                    mapping[name] = unique(node.name, taken) if position else node.name
        for entry in inner.initializer:
            if entry.name not in mapping:
                mapping[entry.name] = unique(_role(entry.name, used_by), taken)
        for entry in (*inner.input, *inner.output):
            if entry.name not in mapping:
                mapping[entry.name] = unique("value", taken)
    rename(graph, mapping)
    return found


def _role(name: str, used_by: dict[str, list[tuple[Any, int]]]) -> str:
    """What a constant is to the first node that takes it, such as LSTM/W or Reshape/shape."""
    if name not in used_by:
        return "constant"
    node, position = used_by[name][0]
    if not onnx.defs.has(node.op_type):
        return f"{node.name}/constant"
    inputs = onnx.defs.get_schema(node.op_type).inputs
    # The last input of some operators may be there several times.
    return f"{node.name}/{inputs[min(position, len(inputs) - 1)].name}"


def _weights(model: Any) -> Iterator[tuple[str, np.ndarray]]:
    for path, layer in all_layers(model).items():
        for variable in layer.variables:
            # What Keras puts before the layer's name is the names of the models around it.
            _, found, tail = f"/{variable.path}".rpartition(f"/{layer.name}/")
            yield f"{path}/{tail if found else variable.name}", np.asarray(variable)


def _match(
    values: np.ndarray, weights: list[tuple[str, np.ndarray]], place: list[str]
) -> int | None:
    """The position in `weights` of the variable of these values, of its own layer if it can be."""
    if values.dtype != np.float32 or values.ndim == 0:
        return None
    fitting = [
        position
        for position, (_, weight) in enumerate(weights)
        if weight.size == values.size and _same_values(weight, values)
    ]
    for position in fitting:
        layer = weights[position][0].rpartition("/")[0]
        if any(layer in where for where in place):
            return position
    return fitting[0] if fitting else None


def _same_values(one: np.ndarray, other: np.ndarray) -> bool:
    if np.array_equal(one.ravel(), other.ravel()):
        return True
    return np.array_equal(np.sort(one, None), np.sort(other, None))

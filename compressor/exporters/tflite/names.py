"""Which constant of a TFLite graph is which variable of the Keras model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from compressor.exporters.fingerprint import fingerprint
from compressor.exporters.tflite import graph as graphs
from compressor.models import dense_variables, numbered

_PARTS = {
    "FULLY_CONNECTED": {1: "kernel", 2: "bias"},
    "CONV_2D": {1: "kernel", 2: "bias"},
    "CONV_3D": {1: "kernel", 2: "bias"},
    "DEPTHWISE_CONV_2D": {1: "kernel", 2: "bias"},
    "TRANSPOSE_CONV": {1: "kernel", 3: "bias"},
}
"""operator -> position of an input -> what a layer calls it"""


def weight_names(graph: Any, model: Any) -> list[dict[int, str]]:
    """For each subgraph: constant tensor -> "layer/variable" of the model.

    A tensor is a variable if both hold the same values in any order, since TFLite transposes
    kernels. What the converter changed (a BatchNorm folded into a kernel, int8) is named by the
    layer in the converter's name of the tensor or its operator, and by its place in the operator;
    failing that, it is left out. Names are unique: a second tensor is numbered, kernel_1.
    """
    by_values: dict[bytes, list[str]] = {}
    variables: dict[str, dict[str, np.ndarray]] = {}
    for name, variable in dense_variables(model, ()).items():
        layer, _, own = name.rpartition("/")
        values = np.asarray(variable.numpy(), np.float32)
        variables.setdefault(layer, {})[own] = values
        by_values.setdefault(fingerprint(values), []).append(name)
    given: list[str] = []
    return [_names(view, variables, by_values, given) for view in graphs.views(graph)]


def _names(
    graph: Any,
    variables: Mapping[str, Mapping[str, np.ndarray]],
    by_values: Mapping[bytes, list[str]],
    given: list[str],
) -> dict[int, str]:
    """Of the main subgraph; names that are `given` already are numbered, and new ones added."""
    main = graphs.main(graph)
    users = graphs.users(graph)
    found: dict[int, str] = {}
    for index, tensor in enumerate(main.tensors):
        constant = graphs.constant(graph, index)
        if constant is None or index not in users:
            continue
        operator, position = users[index][0]
        part = _PARTS.get(graphs.operator_name(graph, operator), {}).get(position, "")
        output = main.tensors[graphs.indices(operator.outputs)[0]]
        layer = _layer(variables, f"{graphs.text(tensor.name)};{graphs.text(output.name)}", part)
        same = by_values.get(fingerprint(constant), []) if constant.dtype == np.float32 else []
        # Several variables may be equal, as fresh biases are: the layer's own comes first.
        same = sorted(same, key=lambda name: _owner(name) != layer)
        if same and layer and np.ptp(constant) == 0 and _owner(same[0]) != layer:
            same = []  # zeros that stand for a bias which the layer does not have
        free = [name for name in same if name not in given] or same
        if free:
            found[index] = numbered(free[0], given)
            given.append(found[index])
        elif layer and part:
            if part == "kernel":
                part = next(
                    (
                        own
                        for own, values in variables[layer].items()
                        if values.ndim > 1 and values.size == constant.size
                    ),
                    part,
                )
            found[index] = numbered(f"{layer}/{part}", given)
            given.append(found[index])
    return found


def _owner(name: str) -> str:
    return name.rpartition("/")[0]


def _layer(variables: Mapping[str, Mapping[str, np.ndarray]], name: str, part: str) -> str:
    """The layer that a name such as net/conv_1/Relu;net/norm_1/add comes from, or ''.

    Of a kernel or its bias it is a layer with a kernel: a folded BatchNormalization has none.
    """
    # TensorFlow numbers a scope that is entered again.
    plain = re.sub(r"_\d+(?=/)", "", name)
    for text in (name, plain):
        for path in text.split(";"):
            inside = [
                layer
                for layer, own in variables.items()
                if f"/{layer}/" in f"/{path}/"
                and (not part or any(values.ndim > 1 for values in own.values()))
            ]
            if inside:
                return max(inside, key=len)
    return ""

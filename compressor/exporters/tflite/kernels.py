"""The kernels of a TFLite graph that can be pruned, by the axes that operators sum over."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from compressor.exporters.graphs.layers import GraphLayer, Window
from compressor.exporters.tflite import graph as graphs
from compressor.exporters.tflite.foreign import standard_form, weight_names
from compressor.exporters.tflite.passes import drop_dead_operators
from compressor.exporters.tflite.weight import encodable_weights
from compressor.models import KernelAxes

_AXES = {
    "FULLY_CONNECTED": KernelAxes((1,), (0,)),
    "CONV_2D": KernelAxes((3,), (0,)),
    "TRANSPOSE_CONV": KernelAxes((3,), (0,)),
    "CONV_3D": KernelAxes((3,), (4,)),
    "DEPTHWISE_CONV_2D": KernelAxes((), ()),
    "BATCH_MATMUL": KernelAxes((), ()),
}
"""operator -> the axes of its weight, none where no axis is summed over, or it depends"""

_ROWS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")


def open_model(content: bytes) -> Any:
    """The model to change, in the form of `foreign.standard_form`."""
    return standard_form(content)


def kernels_of(model: Any) -> dict[str, tuple[np.ndarray, KernelAxes]]:
    """Name -> float32 values and axes of each constant that operators multiply with."""
    return {name: (values, axes) for name, (values, axes, _, _) in _found(model).items()}


def store(model: Any, kernels: Mapping[str, np.ndarray]) -> None:
    """Give kernels other values."""
    found = _found(model)
    for name, values in kernels.items():
        _, _, subgraph, index = found[name]
        graphs.set_constant(model, index, values.astype(np.float32), subgraph=subgraph)


def layers_of(model: Any) -> Iterator[GraphLayer]:
    """The layers whose inputs can be read as rows: products, and convolutions of two dimensions."""
    main, readers = graphs.main(model), graphs.users(model)
    names = {index: name for name, (_, _, part, index) in _found(model).items() if part == 0}
    for operator in main.operators:
        kind, inputs = graphs.operator_name(model, operator), graphs.indices(operator.inputs)
        if kind not in _ROWS or len(inputs) < 2 or operator.builtinOptions is None:
            continue
        if inputs[1] not in names or len(readers[inputs[1]]) > 1:
            continue
        options, kernel = operator.builtinOptions, graphs.constant(model, inputs[1])
        bias, shape = None, () if kernel is None else kernel.shape
        if len(inputs) > 2 and inputs[2] >= 0:
            bias = graphs.constant(model, inputs[2])
            if bias is None or len(readers[inputs[2]]) > 1:
                continue  # what it adds is not known, or not its own
        source = graphs.text(main.tensors[inputs[0]].name)
        is_input = inputs[0] in graphs.indices(main.inputs)
        activation = graphs.schema().ActivationFunctionType
        found: dict[str, Any] = {
            "name": names[inputs[1]],
            "source": source if is_input else inputs[0],
            "shape": shape,
            "bias": bias,
            "rectified": options.fusedActivationFunction == activation.RELU,
        }
        if kind == "FULLY_CONNECTED":
            layer = {"apart": (1, *shape), "order": (0, 2, 1), "groups": 1, "outputs": shape[0]}
            yield GraphLayer(**found, **layer)
            continue
        if len(shape) != 4 or not graphs.has_images(model, operator):
            continue
        channels = int(main.tensors[inputs[0]].shape[-1])
        padding = graphs.schema().Padding
        window = Window(
            (shape[1], shape[2]),
            (options.strideH, options.strideW),
            (options.dilationHFactor, options.dilationWFactor),
            "SAME" if options.padding == padding.SAME else "VALID",
        )
        groups, outputs = 1, shape[0]
        apart, order = (1, *shape), (0, 2, 3, 4, 1)
        if kind == "DEPTHWISE_CONV_2D":
            groups, outputs = channels, shape[3] // channels
            apart, order = (*shape[:3], groups, outputs), (3, 0, 1, 2, 4)
        elif shape[3] != channels:
            groups, outputs = channels // shape[3], shape[0] // (channels // shape[3])
            apart = (groups, outputs, *shape[1:])
        yield GraphLayer(
            **found, apart=apart, order=order, groups=groups, outputs=outputs, window=window
        )


def multiply_accumulates(model: Any) -> int:
    """Of one example, as far as the file says the sizes of what kernels make."""
    tensors, total = graphs.main(model).tensors, 0
    for operator in graphs.main(model).operators:
        inputs = graphs.indices(operator.inputs)
        if graphs.operator_name(model, operator) in _ROWS and len(inputs) > 1:
            kernel = graphs.constant(model, inputs[1])
            made = graphs.signature(tensors[graphs.indices(operator.outputs)[0]])[1:-1]
            places = math.prod(int(size) for size in made if size > 0)
            total += places * (0 if kernel is None else kernel.size)
    return total


def store_bias(model: Any, layer: GraphLayer, bias: np.ndarray) -> None:
    _, _, subgraph, index = _found(model)[layer.name]
    (operator, _), *_ = graphs.users(model, subgraph)[index]
    place = graphs.indices(operator.inputs)[2]
    graphs.set_constant(model, place, bias.astype(np.float32), subgraph=subgraph)


def probe(model: Any, source: int) -> bytes:
    """The file whose only output is the tensor `source`."""
    found = graphs.copied(model)
    graphs.main(found).outputs = np.asarray([source], np.int32)
    found.signatureDefs = []
    drop_dead_operators(found)
    return graphs.write_graph(found)


def write(model: Any) -> bytes:
    return graphs.write_graph(model)


def _found(model: Any) -> dict[str, tuple[np.ndarray, KernelAxes, int, int]]:
    """Name -> values, axes, number of the subgraph, and index of the tensor."""
    found = {}
    names = weight_names(model)
    for number, view in enumerate(graphs.views(model)):
        for weight in encodable_weights(view):
            axes = _AXES.get(weight.operand.kind)
            if axes is not None and weight.values.dtype == np.float32:
                name = names[number].get(weight.index, f"tensor {weight.index}")
                found[name] = weight.values, axes, number, weight.index
    return found

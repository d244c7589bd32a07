"""The kernels of an ONNX model that can be pruned, by the axes that operators sum over."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from compressor.exporters.graphs.layers import GraphLayer, Window
from compressor.exporters.onnx import graphs
from compressor.exporters.onnx.canonical import put_in_order
from compressor.exporters.onnx.foreign import standard_form
from compressor.exporters.onnx.passes import remove_unused, tidy
from compressor.exporters.onnx.weights import initializers_of
from compressor.models import KernelAxes

_NO_AXES = KernelAxes((), ())


def open_model(content: bytes) -> Any:
    """The model to change, in the form of `foreign.standard_form`, and tidy."""
    model = standard_form(content)[0]
    put_in_order(model.graph)
    tidy(model)
    return model


def kernels_of(model: Any) -> dict[str, tuple[np.ndarray, KernelAxes]]:
    """Name -> float32 values and axes of each constant that operators multiply with."""
    found = {}
    for dtype in (np.float32, np.float16):
        for name, values, users in initializers_of(model.graph, dtype):
            axes = {_axes(node, position, values) for node, position in users}
            if len(axes) == 1 and (known := axes.pop()) is not None and values.size:
                found[name] = values.astype(np.float32), known
    return found


def store(model: Any, kernels: Mapping[str, np.ndarray]) -> None:
    """Give kernels other values, in the type that they have."""
    constants = graphs.constants(model.graph)
    for name, values in kernels.items():
        dtype = graphs.array_of(constants[name]).dtype
        constants[name].CopyFrom(graphs.tensor(name, values.astype(dtype)))


def layers_of(model: Any) -> Iterator[GraphLayer]:
    """The layers whose inputs can be read as rows: products, and convolutions of two dimensions."""
    constants, taken = graphs.constants(model.graph), graphs.uses(model.graph)
    consumers = graphs.consumers(model.graph)
    for node in model.graph.node:
        kernel = constants.get(node.input[1]) if len(node.input) > 1 else None
        if kernel is None or taken[kernel.name] != 1 or not node.input[0]:
            continue
        after = consumers.get(node.output[0], [])
        bias = None
        if len(node.input) > 2 and node.input[2]:
            given = constants.get(node.input[2])
            if given is None or taken[given.name] != 1:
                continue  # what it adds is not known, or not its own
            bias = graphs.array_of(given).astype(np.float32).ravel()
        found = {
            "name": kernel.name,
            "source": node.input[0],
            "shape": tuple(kernel.dims),
            "bias": bias,
            "rectified": len(after) == 1 and after[0][0].op_type == "Relu",
        }
        layer = _convolution(node, found) if node.op_type == "Conv" else _product(node, found)
        if layer is not None and (bias is None or bias.size == layer.groups * layer.outputs):
            yield layer


def _product(node: Any, found: dict[str, Any]) -> GraphLayer | None:
    turned = node.op_type == "Gemm" and graphs.attribute(node, "transB", 0)
    plain = {"transA": 0, "alpha": 1.0, "beta": 1.0}
    same = all(graphs.attribute(node, name, value) == value for name, value in plain.items())
    if node.op_type not in ("Gemm", "MatMul") or not same or len(found["shape"]) != 2:
        return None
    shape = found["shape"]
    outputs = shape[0] if turned else shape[1]
    order = (0, 2, 1) if turned else (0, 1, 2)
    return GraphLayer(**found, apart=(1, *shape), order=order, groups=1, outputs=outputs)


def _convolution(node: Any, found: dict[str, Any]) -> GraphLayer | None:
    shape, groups = found["shape"], int(graphs.attribute(node, "group", 1))
    if len(shape) != 4 or shape[0] % groups:
        return None
    top, left, bottom, right = graphs.attribute(node, "pads", [0, 0, 0, 0])
    automatic = graphs.attribute(node, "auto_pad", b"NOTSET").decode()
    names = {"SAME_UPPER": "SAME", "SAME_LOWER": "SAME_LOWER", "VALID": "VALID"}
    window = Window(
        (shape[2], shape[3]),
        tuple(graphs.attribute(node, "strides", [1, 1])),
        tuple(graphs.attribute(node, "dilations", [1, 1])),
        names.get(automatic, ((top, bottom), (left, right))),
    )
    outputs = shape[0] // groups
    return GraphLayer(
        **found,
        apart=(groups, outputs, *shape[1:]),
        order=(0, 3, 4, 2, 1),
        groups=groups,
        outputs=outputs,
        window=window,
        channels_first=True,
    )


def multiply_accumulates(model: Any) -> int:
    """Of one example, as far as the sizes of what kernels make are known."""
    constants = graphs.constants(model.graph)
    inferred = graphs.inferred(model)
    entries = (*inferred.value_info, *inferred.output)
    sizes = {entry.name: graphs.sizes_of(entry) or () for entry in entries}
    total = 0
    for node in model.graph.node:
        kernel = constants.get(node.input[1]) if len(node.input) > 1 else None
        if kernel is not None and node.op_type in ("Conv", "Gemm", "MatMul"):
            made = sizes.get(node.output[0], ())
            places = made[2:] if node.op_type == "Conv" else made[1:-1]
            total += math.prod(kernel.dims) * math.prod(size or 1 for size in places)
    return total


def store_bias(model: Any, layer: GraphLayer, bias: np.ndarray) -> None:
    users = graphs.consumers(model.graph)[layer.name]
    entry = graphs.constants(model.graph)[users[0][0].input[2]]
    values = graphs.array_of(entry)
    entry.CopyFrom(graphs.tensor(entry.name, bias.reshape(values.shape).astype(values.dtype)))


def probe(model: Any, source: str) -> bytes:
    """The file whose only output is the value `source`."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    del found.graph.output[:]
    found.graph.output.append(helper.make_tensor_value_info(source, TensorProto.FLOAT, None))
    remove_unused(found.graph)
    return write(found)


def write(model: Any) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


def _axes(node: Any, position: int, values: np.ndarray) -> KernelAxes | None:
    """The axes of inputs and outputs; none where no axis is summed over; None: it is no kernel."""
    kind, last = node.op_type, values.ndim - 1
    if values.ndim < 2:
        return None
    if kind == "MatMul":
        inputs, outputs = (last - 1, last) if position == 1 else (last, last - 1)
        return KernelAxes((inputs,), (outputs,))
    if kind == "Gemm" and position == 1:
        turned = graphs.attribute(node, "transB", 0)
        return KernelAxes((1,), (0,)) if turned else KernelAxes((0,), (1,))
    if kind == "Conv" and position == 1:
        each_alone = values.shape[1] == 1 and graphs.attribute(node, "group", 1) > 1
        return _NO_AXES if each_alone else KernelAxes((1,), (0,))
    if kind == "ConvTranspose" and position == 1:
        return KernelAxes((0,), (1,))
    if kind in ("LSTM", "GRU", "RNN") and position in (1, 2):
        return KernelAxes((2,), (1,))
    return None

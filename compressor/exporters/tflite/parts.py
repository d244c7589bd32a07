"""A fully connected layer computed in parts of its units, or as a convolution of 1x1.

Both compute what the operator computed before: every output is one row of the weights times the
inputs. In parts of at most 256 rows, the row of a weight takes one byte.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np

from compressor.exporters.tflite import graph as graphs
from compressor.exporters.tflite.schema import schema
from compressor.exporters.tflite.sparsity import Layout
from compressor.exporters.tflite.stored import EncodedWeight, add_decoding, store

_CONVOLUTION_VERSION = 3
_CONCATENATION_VERSIONS = {"FLOAT32": 1, "INT8": 2}


def can_split(graph: Any, operator: Any) -> bool:
    """Whether `in_parts` can do it: the bias is a constant, or there is none."""
    bias = _bias(operator)
    return bias < 0 or graphs.constant(graph, bias) is not None


def can_convolve(graph: Any, operator: Any) -> bool:
    """Whether `as_convolution` can do it: a constant bias, and one open size at most."""
    output = graphs.main(graph).tensors[graphs.indices(operator.outputs)[0]]
    open_sizes = int(np.count_nonzero(graphs.signature(output) < 0))
    return _bias(operator) >= 0 and can_split(graph, operator) and open_sizes <= 1


def in_parts(graph: Any, operator: Any, weight: int, encoded: EncodedWeight, rows: int) -> None:
    """Replace a FULLY_CONNECTED by ones of at most `rows` rows each, and CONCATENATION.

    Tensor `weight` becomes the first part. Requires `can_split`; `encoded` is sparse. Ensures the
    same outputs.
    """
    source = graphs.indices(operator.inputs)[0]
    whole = graphs.indices(operator.outputs)[0]
    parts = _split(graph, operator, weight, encoded, rows)
    outputs = [_narrower(graph, whole, len(part.values)) for _, _, part in parts]
    integers = graphs.type_name(graphs.main(graph).tensors[whole]) == "INT8"
    decoded = [add_decoding(graph, index, part, integers=integers) for index, _, part in parts]
    at = _remove(graph, operator)
    for (_, bias, _), kernel, output in zip(parts, decoded, outputs, strict=True):
        twin = copy.copy(operator)
        twin.inputs = np.asarray([source, kernel, bias], np.int32)
        twin.outputs = np.asarray([output], np.int32)
        graphs.main(graph).operators.insert(at, twin)
        at += 1
    _join(graph, outputs, whole, at)


def as_convolution(
    graph: Any, operator: Any, weight: int, encoded: EncodedWeight, rows: int | None
) -> None:
    """Replace an integer FULLY_CONNECTED by a CONV_2D of 1x1 with weights behind DENSIFY.

    Reshapes in front and behind make an image of one position of the inputs, and undo it. In
    parts of at most `rows` rows, where that is given. Tensor `weight` becomes the first part.
    Requires `can_convolve`; `encoded` is int8 (units, inputs) and sparse. Ensures the same
    outputs.
    """
    tensors = graphs.main(graph).tensors
    source = graphs.indices(operator.inputs)[0]
    whole = graphs.indices(operator.outputs)[0]
    units, columns = encoded.values.shape
    filters = _filters(encoded)
    parts = _split(graph, operator, weight, filters, rows or units)
    image = _computed(graph, [-1, 1, 1, columns], tensors[source])
    joined = _computed(graph, [-1, 1, 1, units], tensors[whole])
    alone = len(parts) == 1
    outputs = [
        joined if alone else _narrower(graph, joined, len(part.values)) for _, _, part in parts
    ]
    decoded = [add_decoding(graph, index, part, integers=True) for index, _, part in parts]
    at = _remove(graph, operator)
    _reshape(graph, source, image, at)
    at += 1
    for (_, bias, _), kernel, output in zip(parts, decoded, outputs, strict=True):
        options = schema().Conv2DOptionsT(
            padding=schema().Padding.VALID,
            strideW=1,
            strideH=1,
            fusedActivationFunction=operator.builtinOptions.fusedActivationFunction,
        )
        graphs.add_operator(
            graph,
            "CONV_2D",
            [image, kernel, bias],
            [output],
            version=_CONVOLUTION_VERSION,
            options=options,
            before=at,
        )
        at += 1
    if not alone:
        _join(graph, outputs, joined, at)
        at += 1
    _reshape(graph, joined, whole, at)


def _filters(encoded: EncodedWeight) -> EncodedWeight:
    """Rows of weights as filters of 1x1: (units, inputs) to (units, 1, 1, inputs)."""
    units, columns = encoded.values.shape
    layout = encoded.layout
    if layout is not None:
        order = (1, 2, *(3 if axis else 0 for axis in layout.order))
        layout = Layout(order, layout.compressed, layout.block)
    return dataclasses.replace(
        encoded, values=encoded.values.reshape(units, 1, 1, columns), layout=layout
    )


def _split(
    graph: Any, operator: Any, weight: int, encoded: EncodedWeight, rows: int
) -> list[tuple[int, int, EncodedWeight]]:
    """The tensors of kernel and bias of every part, and the part; the kernels are stored.

    All parts keep the name of the whole: a reader sees that they are one weight.
    """
    tensors = graphs.main(graph).tensors
    units = len(encoded.values)
    parts = []
    for first in range(0, units, rows):
        last = min(first + rows, units)
        part = encoded.rows(first, last)
        index = weight
        if first:
            tensors.append(copy.copy(tensors[weight]))
            index = len(tensors) - 1
        store(graph, index, part)
        parts.append((index, _bias_rows(graph, _bias(operator), first, last), part))
    return parts


def _bias(operator: Any) -> int:
    inputs = graphs.indices(operator.inputs)
    return inputs[2] if len(inputs) > 2 else -1


def _bias_rows(graph: Any, bias: int, first: int, last: int) -> int:
    """A tensor with some values of a constant bias and their scales."""
    values = graphs.constant(graph, bias)
    if values is None or (first, last) == (0, len(values)):
        return bias
    quantization = copy.copy(graphs.main(graph).tensors[bias].quantization)
    if quantization is not None and quantization.scale is not None:
        if len(quantization.scale) > 1:
            quantization.scale = quantization.scale[first:last]
            quantization.zeroPoint = quantization.zeroPoint[first:last]
        quantization.min = quantization.max = None
    return graphs.add_tensor(
        graph,
        graphs.main(graph).tensors[bias].name,
        (last - first,),
        values.dtype,
        values=values[first:last],
        quantization=quantization,
    )


def _computed(graph: Any, sizes: list[int], like: Any) -> int:
    """Add a tensor of another shape, with the type and the scale of one that is computed."""
    index = graphs.add_tensor(graph, None, sizes, np.float32, quantization=like.quantization)
    graphs.main(graph).tensors[index].type = like.type
    return index


def _narrower(graph: Any, whole: int, units: int) -> int:
    """Add a tensor like `whole` with `units` along the last axis."""
    like = graphs.main(graph).tensors[whole]
    return _computed(graph, [*graphs.signature(like)[:-1].tolist(), units], like)


def _remove(graph: Any, operator: Any) -> int:
    """Take an operator out, and return its place."""
    operators = graphs.main(graph).operators
    at = next(number for number, other in enumerate(operators) if other is operator)
    del operators[at]
    return at


def _join(graph: Any, outputs: list[int], whole: int, at: int) -> None:
    tensor = graphs.main(graph).tensors[whole]
    graphs.add_operator(
        graph,
        "CONCATENATION",
        outputs,
        [whole],
        version=_CONCATENATION_VERSIONS[graphs.type_name(tensor)],
        options=schema().ConcatenationOptionsT(axis=len(graphs.signature(tensor)) - 1),
        before=at,
    )


def _reshape(graph: Any, source: int, target: int, at: int) -> None:
    """Add a RESHAPE to the shape of `target`; -1 stands for a size that is open."""
    sizes = graphs.signature(graphs.main(graph).tensors[target])
    shape = graphs.add_tensor(graph, None, sizes.shape, np.int32, values=sizes)
    graphs.add_operator(
        graph,
        "RESHAPE",
        [source, shape],
        [target],
        options=schema().ReshapeOptionsT(newShape=sizes),
        before=at,
    )

"""A fully connected layer computed in parts of its units, or as a convolution with one output.

Both compute the same as before: every output is one row of the weights times the inputs. In parts
of at most 256 rows, the row index of a weight takes one byte. So does its index among the inputs,
where these are the positions of an image with at most 256 channels each.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from compressor.exporters.tflite import graph as graphs
from compressor.exporters.tflite.schema import schema
from compressor.exporters.tflite.sparsity import plain
from compressor.exporters.tflite.stored import EncodedWeight, add_decoding, store

_CONVOLUTION_VERSIONS = {"FLOAT32": 1, "INT8": 3}
_CONCATENATION_VERSIONS = {"FLOAT32": 1, "INT8": 2}


def can_split(graph: Any, operator: Any) -> bool:
    """Whether `in_parts` applies: the bias is a constant, or there is none."""
    bias = _bias(operator)
    return bias < 0 or graphs.constant(graph, bias) is not None


def can_convolve(graph: Any, operator: Any) -> bool:
    """Whether `as_convolution` applies: a constant bias, and at most one open size."""
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

    def compute(kernel: int, bias: int, output: int, at: int) -> None:
        twin = copy.copy(operator)
        twin.inputs = np.asarray([source, kernel, bias], np.int32)
        twin.outputs = np.asarray([output], np.int32)
        graphs.main(graph).operators.insert(at, twin)

    parts = _split(graph, operator, weight, encoded, rows)
    _compute_parts(graph, operator, parts, whole, compute)


def as_convolution(
    graph: Any,
    operator: Any,
    weight: int,
    encoded: EncodedWeight,
    rows: int | None,
    window: int = 1,
) -> None:
    """Replace a FULLY_CONNECTED by a CONV_2D with one output, and weights behind DENSIFY.

    RESHAPEs around it make an image of the inputs with as many positions as the `window`, and undo
    it. In parts of at most `rows` rows, where that is given. Tensor `weight` becomes the first
    part. Requires `can_convolve`; `encoded` is (units, inputs) and sparse, by rows where there are
    several positions. Ensures the same outputs.
    """
    tensors = graphs.main(graph).tensors
    source = graphs.indices(operator.inputs)[0]
    whole = graphs.indices(operator.outputs)[0]
    units, columns = encoded.values.shape
    parts = _split(graph, operator, weight, _filters(encoded, window), rows or units)
    image = _computed(graph, [-1, 1, window, columns // window], tensors[source])
    version = _CONVOLUTION_VERSIONS[graphs.type_name(tensors[whole])]
    joined = _computed(graph, [-1, 1, 1, units], tensors[whole])
    options = schema().Conv2DOptionsT(
        padding=schema().Padding.VALID,
        strideW=1,
        strideH=1,
        fusedActivationFunction=operator.builtinOptions.fusedActivationFunction,
    )

    def compute(kernel: int, bias: int, output: int, at: int) -> None:
        graphs.add_operator(
            graph,
            "CONV_2D",
            [image, kernel, bias],
            [output],
            version=version,
            options=copy.copy(options),
            before=at,
        )

    end = _compute_parts(graph, operator, parts, joined, compute, reshaped=(source, image))
    _reshape(graph, joined, whole, end)


def _compute_parts(
    graph: Any,
    operator: Any,
    parts: list[tuple[int, int, EncodedWeight]],
    whole: int,
    compute: Callable[[int, int, int, int], None],
    reshaped: tuple[int, int] | None = None,
) -> int:
    """Replace `operator` by one operator a part, and CONCATENATION to `whole` if there are several.

    `compute(kernel, bias, output, position)` inserts the operator of a part. Before them all, a
    tensor is `reshaped` to another. Returns the position behind the last operator.
    """
    main = graphs.main(graph)
    like = main.tensors[whole]
    outputs = [whole]
    if len(parts) > 1:
        sizes = graphs.signature(like)[:-1].tolist()
        outputs = [_computed(graph, [*sizes, len(part.values)], like) for _, _, part in parts]
    integers = graphs.type_name(like) == "INT8"
    kernels = [add_decoding(graph, index, part, integers=integers) for index, _, part in parts]
    end = next(at for at, other in enumerate(main.operators) if other is operator)
    del main.operators[end]
    if reshaped is not None:
        _reshape(graph, *reshaped, end)
        end += 1
    for (_, bias, _), kernel, output in zip(parts, kernels, outputs, strict=True):
        compute(kernel, bias, output, end)
        end += 1
    if len(parts) > 1:
        graphs.add_operator(
            graph,
            "CONCATENATION",
            outputs,
            [whole],
            version=_CONCATENATION_VERSIONS[graphs.type_name(like)],
            options=schema().ConcatenationOptionsT(axis=len(graphs.signature(like)) - 1),
            before=end,
        )
        end += 1
    return end


def _filters(encoded: EncodedWeight, window: int) -> EncodedWeight:
    """Rows of weights as filters: (units, inputs) to (units, 1, window, inputs / window)."""
    units, columns = encoded.values.shape
    values = encoded.values.reshape(units, 1, window, columns // window)
    layout = encoded.layout
    if window > 1:
        layout = plain(values.ndim)
    elif layout is not None:
        order = (1, 2, *(3 if axis else 0 for axis in layout.order))
        layout = dataclasses.replace(layout, order=order)
    return dataclasses.replace(encoded, values=values, layout=layout)


def _split(
    graph: Any, operator: Any, weight: int, encoded: EncodedWeight, rows: int
) -> list[tuple[int, int, EncodedWeight]]:
    """(kernel tensor, bias tensor, part) of every part; the kernels are stored.

    All parts keep the name of the whole, so that a reader sees that they are one weight.
    """
    tensors = graphs.main(graph).tensors
    units, parts = len(encoded.values), []
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
    """Add a computed tensor of shape `sizes`, with the type and the scale of `like`."""
    index = graphs.add_tensor(graph, None, sizes, np.float32, quantization=like.quantization)
    graphs.main(graph).tensors[index].type = like.type
    return index


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

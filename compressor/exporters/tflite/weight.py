"""The weights of a TFLite graph for which there are encodings besides dense float32."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from compressor.exporters.quantization import Quantized, quantize_least_squares, quantize_symmetric
from compressor.exporters.tflite import graph as graphs, parts
from compressor.exporters.tflite.choice import Operand
from compressor.exporters.tflite.scales import one_scale_does
from compressor.exporters.tflite.stored import SCALE_BYTES

_POSITIONS = {
    **dict.fromkeys(("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"), 1),
    **{"CONV_3D": 1, "CONV_3D_TRANSPOSE": 1, "BATCH_MATMUL": 1, "GATHER": 0},
}
"""operator -> which of its inputs is a weight"""

_AXES = {
    **{"FULLY_CONNECTED": 0, "CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0},
    **{"CONV_3D": 4, "CONV_3D_TRANSPOSE": 3},
}
"""operator -> the axis of the output channels of its weight, where integers have scales"""

_SHAPES = ("SHAPE", "IF", "WHILE")
"""operators of graphs of which not all shapes are known before they run"""

_INTEGER = ("FULLY_CONNECTED", "CONV_2D")
"""operators of integer graphs of which the weights may be sparse"""


@dataclasses.dataclass
class EncodableWeight:
    """A constant tensor that operators of one kind alone multiply with."""

    index: int
    values: np.ndarray
    """float32, or int8 in a graph of integers"""
    users: list[Any]
    """operators"""
    operand: Operand
    axis: int | None
    """of the channels that may have a scale each"""
    scale: np.ndarray | None
    """float32 (channels,) or (1,), of int8"""
    splits: bool
    """whether its only user can be computed in parts of its rows"""
    convolves: bool
    """whether its only user can become a convolution of 1x1"""
    _quantized: dict[tuple[int, int | None], Quantized] = dataclasses.field(default_factory=dict)
    _one_scale: dict[int, bool] = dataclasses.field(default_factory=dict)

    def quantized(self, bits: int, axis: int | None) -> Quantized:
        """The float32 values in 8 or 4 bits, with a scale per channel of `axis`, or one."""
        if (bits, axis) not in self._quantized:
            quantize = quantize_symmetric if bits == 8 else quantize_least_squares
            self._quantized[bits, axis] = quantize(self.values, bits=bits, axis=axis)
        return self._quantized[bits, axis]

    def one_scale_does(self, bits: int, axis: int) -> bool:
        """Whether scales for the channels of `axis` take more bytes than they are worth."""
        if bits not in self._one_scale:
            change = self.quantized(bits, None).dequantized() - self.values
            self._one_scale[bits] = one_scale_does(self.values, change, axis, SCALE_BYTES)
        return self._one_scale[bits]


def encodable_weights(graph: Any, *, looped: bool = False) -> list[EncodableWeight]:
    """The weights of the main subgraph, in the order of their tensors.

    A tensor counts if all its users are operators of one kind that take it as their weight, in
    float32, or in int8 where the operator computes in integers. The body of a loop, which is
    `looped`, gets its shapes when the file is run.
    """
    main = graphs.main(graph)
    computed = any(graphs.operator_name(graph, op) in _SHAPES for op in main.operators)
    static = not (computed or looped)
    fixed = {*graphs.indices(main.inputs), *graphs.indices(main.outputs)}
    found = []
    for index, users in sorted(graphs.users(graph).items()):
        kinds = {(graphs.operator_name(graph, operator), position) for operator, position in users}
        if len(kinds) != 1 or index < 0 or index in fixed:
            continue
        kind, position = kinds.pop()
        values = graphs.constant(graph, index)
        if values is None or _POSITIONS.get(kind) != position or values.ndim < 2:
            continue
        operators = [operator for operator, _ in users]
        if kind == "CONV_2D" and not all(graphs.has_images(graph, one) for one in operators):
            continue
        types = {_types(graph, operator) for operator in operators}
        floats = values.dtype == np.float32 and {result for _, result in types} == {"FLOAT32"}
        integers = values.dtype == np.int8 and kind in _INTEGER and types == {("INT8", "INT8")}
        if floats or integers:
            found.append(_weight(graph, index, values, kind, operators, static))
    return found


def _weight(
    graph: Any, index: int, values: np.ndarray, kind: str, operators: list[Any], static: bool
) -> EncodableWeight:
    tensors = graphs.main(graph).tensors
    integer, scale, scales = values.dtype == np.int8, None, 1
    if integer:
        scale = np.asarray(tensors[index].quantization.scale, np.float32)
        scales = len(scale)
    operand = Operand(kind, values.size, integer=integer, scales=scales, static=static)
    if kind == "CONV_2D":
        images = [tensors[graphs.indices(operator.inputs)[0]].shape for operator in operators]
        results = [tensors[graphs.indices(operator.outputs)[0]].shape for operator in operators]
        operand = dataclasses.replace(
            operand,
            grouped=any(int(image[-1]) != values.shape[-1] for image in images),
            patch=int(np.prod(values.shape[1:])),
            positions=min(int(np.prod(result[1:-1], dtype=np.int64)) for result in results),
        )
    dense = kind == "FULLY_CONNECTED" and len(operators) == 1
    return EncodableWeight(
        index=index,
        values=values,
        users=operators,
        operand=operand,
        axis=_AXES.get(kind),
        scale=scale,
        splits=dense and parts.can_split(graph, operators[0]),
        convolves=dense and parts.can_convolve(graph, operators[0]),
    )


def _types(graph: Any, operator: Any) -> tuple[str, str]:
    """The types of an operator's first input and first output."""
    tensors = graphs.main(graph).tensors
    first, result = (graphs.indices(side)[0] for side in (operator.inputs, operator.outputs))
    return graphs.type_name(tensors[first]), graphs.type_name(tensors[result])

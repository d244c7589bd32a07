"""The weights of a TFLite graph that can be stored in other ways than dense float32."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from compressor.exporters.quantization import Quantized
from compressor.exporters.tflite import graph as graphs, parts, scales
from compressor.exporters.tflite.choice import Operand

_POSITIONS = {
    "FULLY_CONNECTED": 1,
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "TRANSPOSE_CONV": 1,
    "BATCH_MATMUL": 1,
    "GATHER": 0,
}
"""operator -> which of its inputs is a weight"""

_AXES = {"FULLY_CONNECTED": 0, "CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0}
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

    @functools.cached_property
    def _quantized(self) -> dict[tuple[int, int | None], Quantized]:
        return {}

    def quantized(self, bits: int, axis: int | None) -> Quantized:
        """The float32 values as integers with a scale for each channel of `axis`, or with one."""
        key = (bits, axis)
        if key not in self._quantized:
            self._quantized[key] = scales.quantize(self.values, bits, axis)
        return self._quantized[key]


def encodable_weights(graph: Any) -> list[EncodableWeight]:
    """The weights of the main subgraph, in the order of their tensors.

    A tensor counts where each of its users is an operator of the same kind that takes it for a
    weight, in float32, or in int8 with a float or int8 input to match.
    """
    main = graphs.main(graph)
    static = all(graphs.operator_name(graph, op) not in _SHAPES for op in main.operators)
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
        if (values.dtype == np.float32 and all(_floats(graph, op) for op in operators)) or (
            values.dtype == np.int8
            and kind in _INTEGER
            and all(_integers(graph, op) for op in operators)
        ):
            found.append(_weight(graph, index, values, kind, operators, static))
    return found


def _weight(
    graph: Any, index: int, values: np.ndarray, kind: str, operators: list[Any], static: bool
) -> EncodableWeight:
    quantization = graphs.main(graph).tensors[index].quantization
    integer = values.dtype == np.int8
    scale = np.asarray(quantization.scale, np.float32) if integer else None
    dense = kind == "FULLY_CONNECTED" and len(operators) == 1
    operand = _operand(graph, values, kind, operators, 1 if scale is None else len(scale))
    return EncodableWeight(
        index=index,
        values=values,
        users=operators,
        operand=dataclasses.replace(operand, static=static),
        axis=_AXES.get(kind),
        scale=scale,
        splits=dense and parts.can_split(graph, operators[0]),
        convolves=dense and parts.can_convolve(graph, operators[0]),
    )


def _operand(
    graph: Any, values: np.ndarray, kind: str, operators: list[Any], channels: int
) -> Operand:
    integer = values.dtype == np.int8
    operand = Operand(kind, values.size, integer=integer, scales=channels)
    if kind != "CONV_2D":
        return operand
    tensors = graphs.main(graph).tensors
    images = [tensors[graphs.indices(operator.inputs)[0]].shape for operator in operators]
    results = [tensors[graphs.indices(operator.outputs)[0]].shape for operator in operators]
    return dataclasses.replace(
        operand,
        grouped=any(int(image[-1]) != values.shape[-1] for image in images),
        patch=int(np.prod(values.shape[1:])),
        positions=min(int(np.prod(result[1:-1], dtype=np.int64)) for result in results),
    )


def _floats(graph: Any, operator: Any) -> bool:
    return _output_type(graph, operator) == "FLOAT32"


def _integers(graph: Any, operator: Any) -> bool:
    source = graphs.main(graph).tensors[graphs.indices(operator.inputs)[0]]
    return _output_type(graph, operator) == "INT8" and graphs.type_name(source) == "INT8"


def _output_type(graph: Any, operator: Any) -> str:
    output = graphs.indices(operator.outputs)[0]
    return graphs.type_name(graphs.main(graph).tensors[output])

"""Hard-swish in int8 by operators that XNNPACK takes.

XNNPACK leaves HARD_SWISH in int8 to LiteRT's plain kernel, which cuts the graph in pieces and made
a net of 27,000 weights with squeeze-excite 8 times as slow as float32, against 2 times without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from compressor.exporters.tflite import graph as graphs

_RUNTIMES = ("litert",)
"""of which XNNPACK computes in int8; that of tflite-runtime does not, and HARD_SWISH is faster"""
_VERSION = 2
"""of ADD and MUL in int8"""
_GATE = 6 / 254
"""scale of relu6(x + 3), such that 3 is a whole number of steps"""
_MOST, _LEAST = 127, -128
_SUMS, _PRODUCTS = (2.0**-10, 2.0**8), (2.0**-16, 2.0**8)
"""XNNPACK's limits of a scale over that of the output, and of a product of scales"""


def split_hard_swish(graph: Any, runtime: str) -> None:
    """Replace HARD_SWISH in int8, x relu6(x + 3) / 6, by ADD and two MUL, where that is faster.

    Ensures: outputs keep their scale, and change by at most one step. The second MUL divides by 6
    without rounding, since it only changes the scale. Of inputs so small that x + 3 is 3 in 8 bits,
    hard-swish is x / 2, one MUL. Where XNNPACK would not take these either, HARD_SWISH stays.
    """
    main = graphs.main(graph)
    for operator in list(main.operators) if runtime in _RUNTIMES else ():
        if graphs.operator_name(graph, operator) != "HARD_SWISH":
            continue
        x, y = graphs.indices(operator.inputs)[0], graphs.indices(operator.outputs)[0]
        if {graphs.type_name(main.tensors[index]) for index in (x, y)} == {"INT8"}:
            steps = _steps(graph, x, y)
            at = main.operators.index(operator)
            if steps:
                main.operators.pop(at)
            for name, inputs, output, options in reversed(steps):
                graphs.add_operator(
                    graph, name, inputs, [output], version=_VERSION, options=options, before=at
                )


def _steps(graph: Any, x: int, y: int) -> list[tuple[str, list[int], int, Any]]:
    """(operator, inputs, output, options) of each operator; empty where there are none."""
    schema, tensors = graphs.schema(), graphs.main(graph).tensors
    entry, result = (float(tensors[index].quantization.scale[0]) for index in (x, y))
    if not _within(_PRODUCTS, entry * _GATE / (6 * result)) or entry / _GATE >= _SUMS[1]:
        return []
    if entry / _GATE < _SUMS[0]:
        return [("MUL", [x, _number(graph, 0.5)], y, schema.MulOptionsT())]
    shape, zero = graphs.signature(tensors[y]).tolist(), int(tensors[y].quantization.zeroPoint[0])
    gate = _computed(graph, shape, _GATE, _LEAST)
    product = _computed(graph, shape, 6 * result, zero)
    relu6 = schema.AddOptionsT(fusedActivationFunction=schema.ActivationFunctionType.RELU6)
    return [
        ("ADD", [x, _number(graph, 3.0)], gate, relu6),
        ("MUL", [x, gate], product, schema.MulOptionsT()),
        ("MUL", [product, _number(graph, 1 / 6)], y, schema.MulOptionsT()),
    ]


def _within(limits: tuple[float, float], ratio: float) -> bool:
    return limits[0] <= ratio < limits[1]


def _computed(graph: Any, shape: Sequence[int], scale: float, zero: int) -> int:
    return graphs.add_tensor(graph, None, shape, np.int8, quantization=_quantization(scale, zero))


def _number(graph: Any, value: float) -> int:
    """A constant, stored as the largest integer."""
    return graphs.add_tensor(
        graph,
        None,
        (),
        np.int8,
        values=np.asarray(_MOST, np.int8),
        quantization=_quantization(value / _MOST, 0),
    )


def _quantization(scale: float, zero: int) -> Any:
    return graphs.schema().QuantizationParametersT(
        scale=np.asarray([scale], np.float32), zeroPoint=np.asarray([zero], np.int64)
    )

"""Weights of an int8 graph rounded to fewer values, which codes then store in fewer bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from compressor.exporters.quantization import quantize_least_squares
from compressor.exporters.tflite import graph as graphs

CHANNEL_AXES = {"FULLY_CONNECTED": 0, "CONV_2D": 0, "DEPTHWISE_CONV_2D": -1}
"""operator -> the axis of its weights that has a scale for each channel"""
_TELLING = 8
"""weights of a channel, fewer of which may lie on a grid by chance"""


def round_weights(graph: Any, bits: int) -> None:
    """Give int8 weights at most 2**bits - 1 values a channel; changes `graph`.

    Requires: an int8 graph as `convert.convert_int8` makes it. Ensures: weights that operators of
    one kind alone multiply are integers within +-(2**(bits - 1) - 1), with a scale for each
    channel, and biases have the scales that go with them. Zeros stay zero; a channel that lay on
    such a grid before it was rounded to 8 bits is on that one again.
    """
    readers = graphs.users(graph)
    tensors = graphs.main(graph).tensors
    for operator in graphs.main(graph).operators:
        axis = CHANNEL_AXES.get(graphs.operator_name(graph, operator))
        inputs = graphs.indices(operator.inputs)
        if axis is None or any(len(readers[index]) != 1 for index in inputs[1:3] if index >= 0):
            continue
        values = graphs.constant(graph, inputs[1])
        biases = graphs.constant(graph, inputs[2]) if len(inputs) > 2 else None
        if (
            values is None
            or values.dtype != np.int8
            or graphs.type_name(tensors[inputs[1]]) != "INT8"
        ):
            continue
        if len(inputs) > 2 and inputs[2] >= 0 and (biases is None or biases.dtype != np.int32):
            continue
        axis %= values.ndim
        before = np.broadcast_to(
            np.asarray(tensors[inputs[1]].quantization.scale, np.float32), values.shape[axis]
        )
        rounded, after = _rounded(values, before, bits, axis)
        graphs.set_constant(graph, inputs[1], rounded)
        tensors[inputs[1]].quantization = _scales(after, axis)
        if biases is not None:
            moved = np.rint(biases * (before.astype(np.float64) / after))
            bounds = np.iinfo(np.int32)
            whole = np.clip(moved, bounds.min, bounds.max).astype(np.int32)
            source = np.float32(tensors[inputs[0]].quantization.scale[0])
            graphs.set_constant(graph, inputs[2], whole)
            tensors[inputs[2]].quantization = _scales(source * after, 0)


def _rounded(
    values: np.ndarray, scale: np.ndarray, bits: int, axis: int
) -> tuple[np.ndarray, np.ndarray]:
    """int8 values within the bounds, and the scale of each channel, float32."""
    rows = np.moveaxis(values, axis, 0).reshape(len(scale), -1).astype(np.float32)
    floats = rows * scale[:, None]
    found = quantize_least_squares(floats, bits=bits, axis=0)
    integers, scales = found.values.astype(np.float32), found.scale.copy()
    largest = np.abs(rows).max(axis=1)
    for count in range(2 ** (bits - 1) - 1, 0, -1):
        # The rounding to 8 bits moved a multiple of the step by at most half of its own.
        steps = rows * (count / np.maximum(largest, 1))[:, None]
        near = np.abs(steps - np.rint(steps)).max(axis=1) <= 0.5 * count / np.maximum(largest, 1)
        known = near & (np.count_nonzero(rows, axis=1) >= _TELLING)
        integers[known] = np.rint(steps[known])
        scales[known] = (scale * largest / count)[known]
    shape = np.moveaxis(values, axis, 0).shape
    whole = np.moveaxis(integers.astype(np.int8).reshape(shape), 0, axis)
    return np.ascontiguousarray(whole), scales


def _scales(scale: np.ndarray, axis: int) -> Any:
    return graphs.schema().QuantizationParametersT(
        scale=np.asarray(scale, np.float32),
        zeroPoint=np.zeros(len(scale), np.int64),
        quantizedDimension=axis,
    )

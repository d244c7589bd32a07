"""What each operator of a .tflite graph becomes in an integer network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from compressor.exporters.c import activations
from compressor.exporters.c.network import (
    Convolution,
    Dense,
    Joined,
    Lookup,
    Padded,
    Pooling,
    Product,
    Reshaped,
    Softmax,
    Sum,
    Tensor,
    Transposed,
    terms_of,
)
from compressor.exporters.c.operator import Operator, map_shape
from compressor.exporters.tflite import graph as graphs

_MOST_SUM = 2**31 - 1
_FREE = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")


def _before(operator: Operator, size: int, window: int, stride: int, out: int) -> int:
    """Positions of padding before the first; raises where the shapes contradict each other."""
    same = graphs.names("Padding")[operator.options.padding] == "SAME"
    expected = -(-size // stride) if same else (size - window) // stride + 1
    if stride < 1 or expected != out:
        raise operator.refuse(f"its output has {out} positions, not {expected}")
    return max((out - 1) * stride + window - size, 0) // 2 if same else 0


def _convolution(operator: Operator) -> None:
    source, options = operator.map(0), operator.options
    kernel, scale = operator.weights(1)
    depthwise = operator.name == "DEPTHWISE_CONV_2D"
    if depthwise:
        kernel = np.moveaxis(kernel, -1, 0).reshape(kernel.shape[3], *kernel.shape[1:3], 1)
    filters, height, width, channels = kernel.shape
    groups, rest = divmod(source.shape[2], channels)
    if rest or not groups or filters % groups:
        raise operator.refuse(f"{source.shape[2]} channels for filters of {channels}")
    stride = (options.strideH, options.strideW)
    dilation = (options.dilationHFactor, options.dilationWFactor)
    number, tensor = operator.result()
    if tensor.shape[2] != filters or min(dilation) < 1:
        raise operator.refuse(f"{tensor.shape[2]} channels of {filters} filters")
    spans = [(size - 1) * apart + 1 for size, apart in zip((height, width), dilation, strict=True)]
    before = tuple(
        _before(operator, source.shape[axis], spans[axis], stride[axis], tensor.shape[axis])
        for axis in (0, 1)
    )
    rescale = operator.rescale(source.scale * scale / tensor.scale, tensor, filters)
    bias = operator.bias(2, filters)
    _check_sums(operator, kernel, bias)
    inputs = (operator.number(0),)
    operator.add(
        Convolution(
            inputs, number, kernel, bias, rescale, stride, dilation, (before[0], before[1]), groups
        )
    )


def _transposed(operator: Operator) -> None:
    source, options = operator.map(2), operator.options
    kernel, scale = operator.weights(1)
    filters, channels = kernel.shape[0], kernel.shape[3]
    number, tensor = operator.result()
    if channels != source.shape[2] or filters != tensor.shape[2]:
        raise operator.refuse(f"{source.shape[2]} channels for filters of {channels}")
    stride = (options.strideH, options.strideW)
    before = tuple(
        _before(operator, tensor.shape[axis], kernel.shape[1 + axis], stride[axis], size)
        for axis, size in enumerate(source.shape[:2])
    )
    rescale = operator.rescale(source.scale * scale / tensor.scale, tensor, filters)
    bias = operator.bias(3, filters)
    _check_sums(operator, kernel, bias)
    inputs = (operator.number(2),)
    operator.add(Transposed(inputs, number, kernel, bias, rescale, stride, (before[0], before[1])))


def _fully_connected(operator: Operator) -> None:
    source = operator.map(0)
    kernel, scale = operator.weights(1)
    units, width = kernel.shape
    number, tensor = operator.result()
    rescale = operator.rescale(source.scale * scale / tensor.scale, tensor, units)
    bias, inputs = operator.bias(2, units), (operator.number(0),)
    _check_sums(operator, kernel, bias)
    if source.shape[:2] != (1, 1) and tensor.size != units:  # at each position
        if (source.shape[2], tensor.shape) != (width, (*source.shape[:2], units)):
            raise operator.refuse(f"{width} weights a unit for {source.shape}")
        kernel = kernel.reshape(units, 1, 1, width)
        operator.add(Convolution(inputs, number, kernel, bias, rescale, (1, 1), (1, 1), (0, 0), 1))
        return
    if (source.size, tensor.size) != (width, units):
        raise operator.refuse(f"{width} weights a unit for {source.size} values")
    operator.add(Dense(inputs, number, kernel, bias, rescale))


def _check_sums(operator: Operator, kernel: np.ndarray, bias: np.ndarray) -> None:
    """Raise ModelError where a sum could leave int32."""
    products = 256 * np.abs(kernel.astype(np.int64)).reshape(len(kernel), -1).sum(axis=1)
    sums = products + np.abs(bias)
    if products.max(initial=0) > _MOST_SUM // 2 or sums.max(initial=0) > _MOST_SUM:
        raise operator.refuse("a sum may leave 32 bits")


def _pooling(operator: Operator) -> None:
    source, options = operator.map(0), operator.options
    number, tensor = operator.result(source.low, source.high)
    window = (options.filterHeight, options.filterWidth)
    stride = (options.strideH, options.strideW)
    before = tuple(
        _before(operator, source.shape[axis], window[axis], stride[axis], tensor.shape[axis])
        for axis in (0, 1)
    )
    if (source.scale, source.zero) != (tensor.scale, tensor.zero):
        raise operator.refuse("its input and its output have different scales")
    largest = operator.name == "MAX_POOL_2D"
    operator.add(
        Pooling(
            *((operator.number(0),), number, largest, window, stride, (before[0], before[1])),
            *(tensor.low, tensor.high),
        )
    )


def _mean(operator: Operator) -> None:
    source = operator.map(0)
    rank = len(graphs.signature(operator.network.main.tensors[operator.inputs[0]]))
    axes = sorted(int(axis) % rank + 4 - rank for axis in operator.constant(1).reshape(-1))
    spans = tuple(source.shape[axis] if axis + 1 in axes else 1 for axis in (0, 1))
    if not axes or not set(axes) <= ({1, 2} if rank == 4 else {2}):
        raise operator.refuse("over other axes than height and width")
    height, width, channels = source.shape
    shape = (height // spans[0], width // spans[1], channels)
    average = dataclasses.replace(source, shape=shape)
    middle = operator.network.appended(average)
    operator.add(
        Pooling(
            *((operator.number(0),), middle, False, (spans[0], spans[1]), (spans[0], spans[1])),
            *((0, 0), source.low, source.high),
        )
    )
    number, tensor = operator.result()
    if tensor.size != average.size:
        raise operator.refuse(f"{average.size} averages, {tensor.size} outputs")
    scaled = middle
    if (tensor.scale, tensor.zero) != (average.scale, average.zero):
        scaled = operator.network.appended(dataclasses.replace(tensor, shape=shape))
        table = activations.table_of(average, tensor, lambda value: value)
        operator.add(Lookup((middle,), scaled, table))
    operator.add(Reshaped((scaled,), number))


def _sum(operator: Operator) -> None:
    first, second = operator.map(0), operator.map(1)
    number, tensor = operator.result()
    _broadcast(operator, first, second, tensor)
    sign = -1 if operator.name == "SUB" else 1
    factors = (first.scale / tensor.scale, sign * second.scale / tensor.scale)
    if max(map(abs, factors)) >= 2.0**19:
        raise operator.refuse("its scales are too far apart")
    *multipliers, shift = terms_of(*factors)
    inputs = (operator.number(0), operator.number(1))
    bounds = (tensor.zero, tensor.low, tensor.high)
    operator.add(Sum(inputs, number, (multipliers[0], multipliers[1]), shift, *bounds))


def _product(operator: Operator) -> None:
    first, second = operator.map(0), operator.map(1)
    number, tensor = operator.result()
    _broadcast(operator, first, second, tensor)
    factor = np.array([first.scale * second.scale / tensor.scale])
    rescale = operator.rescale(factor, tensor, 1)
    operator.add(Product((operator.number(0), operator.number(1)), number, rescale))


def _broadcast(operator: Operator, first: Tensor, second: Tensor, tensor: Tensor) -> None:
    pixel = (1, 1, tensor.shape[2])
    for one in (first, second):
        if one.shape not in (tensor.shape, pixel, (1, 1, 1)):
            raise operator.refuse(f"shapes {first.shape} and {second.shape}")


def _joined(operator: Operator) -> None:
    rank = len(graphs.signature(operator.network.main.tensors[operator.inputs[0]]))
    if operator.options.axis % rank != rank - 1:
        raise operator.refuse("over another axis than the channels")
    parts = []
    shape = map_shape(graphs.signature(operator.network.main.tensors[operator.output]).tolist())
    maps = [operator.map(place) for place in range(len(operator.inputs))]
    if any(one.shape[:2] != shape[:2] for one in maps) or shape[2] != sum(
        one.shape[2] for one in maps
    ):
        raise operator.refuse(f"parts that do not make {shape}")
    number, tensor = operator.result()
    for place, one in enumerate(maps):
        part = operator.number(place)
        if (one.scale, one.zero) != (tensor.scale, tensor.zero):
            table = activations.table_of(one, tensor, lambda value: value)
            scaled = operator.network.appended(dataclasses.replace(tensor, shape=one.shape))
            operator.add(Lookup((part,), scaled, table))
            part = scaled
        parts.append(part)
    operator.add(Joined(tuple(parts), number))


def _reshaped(operator: Operator) -> None:
    source = operator.map(0)
    number, tensor = operator.result(source.low, source.high)
    if tensor.size != source.size or (tensor.scale, tensor.zero) != (source.scale, source.zero):
        raise operator.refuse(f"{source.shape} to {tensor.shape}")
    operator.add(Reshaped((operator.number(0),), number))


def _padded(operator: Operator) -> None:
    source = operator.map(0)
    amounts = operator.constant(1).astype(int)
    number, tensor = operator.result()
    if (tensor.scale, tensor.zero) != (source.scale, source.zero) or amounts[0].any():
        raise operator.refuse("of the batch, or with another scale")
    value = source.zero
    if operator.name == "PADV2":
        value = int(operator.constant(2).reshape(-1)[0])
    inner = [[0, 0]] * (4 - len(amounts)) + amounts[1:].tolist()
    expected = tuple(size + sum(around) for size, around in zip(source.shape, inner, strict=True))
    if (amounts < 0).any() or expected != tensor.shape:
        raise operator.refuse(f"{source.shape} to {tensor.shape}")
    before = (inner[0][0], inner[1][0], inner[2][0])
    operator.add(Padded((operator.number(0),), number, before, value))


def _softmax(operator: Operator) -> None:
    source = operator.map(0)
    number, tensor = operator.result()
    if (tensor.scale, tensor.zero) != (1 / 256, -128) or tensor.shape != source.shape:
        raise operator.refuse(f"with scale {tensor.scale:g}")
    # 2^24 channels with 2^15 each would leave 32 bits.
    if source.shape[2] > 2**15:
        raise operator.refuse(f"over {source.shape[2]} channels")
    distances = np.arange(256) * source.scale * float(operator.options.beta)
    table = np.rint(np.exp(-distances) * 2**15).astype(np.uint16)
    operator.add(Softmax((operator.number(0),), number, table))


READERS: dict[str, Callable[[Operator], None]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _pooling,
    "AVERAGE_POOL_2D": _pooling,
    "MEAN": _mean,
    "ADD": _sum,
    "SUB": _sum,
    "MUL": _product,
    "CONCATENATION": _joined,
    "PAD": _padded,
    "PADV2": _padded,
    "SOFTMAX": _softmax,
    **dict.fromkeys(_FREE, _reshaped),
}
"""Operator -> what adds its layers to the network."""

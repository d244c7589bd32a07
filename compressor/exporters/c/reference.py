"""What C code computes, in numpy: integers only, bit for bit.

Sums are exact. A rescaled sum is zero + floor((sum * multiplier + 2^(shift - 1)) / 2^shift), which
rounds half up, and is clipped to the bounds of the map. An average is rounded half up, too.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from compressor.exporters.c.network import (
    Constant,
    Convolution,
    Dense,
    Joined,
    Layer,
    Lookup,
    Network,
    Padded,
    Pooling,
    Product,
    Rescale,
    Reshaped,
    Softmax,
    Sum,
    Transposed,
)

_MOST_VALUE = 255
"""the largest distance of an integer from its zero"""
_AT_ONCE = 2**22
"""values of windows that are multiplied together"""
_EXAMPLES = 256
"""that are computed together"""


def run(network: Network, inputs: np.ndarray) -> np.ndarray:
    """The outputs, int8 (n, height, width, channels), of `inputs`, int8 (n, ...) of as many
    values as the network's input has.
    """
    found = []
    for start in range(0, len(inputs), _EXAMPLES):
        held = {network.input: _fed(network, inputs[start : start + _EXAMPLES])}
        _fill(network, held, 0)
        found.append(held[network.output])
    return np.concatenate(found)


def maps(network: Network, inputs: np.ndarray) -> dict[int, np.ndarray]:
    """Every map, int8 (n, height, width, channels), by the number of its tensor."""
    found: dict[int, list[np.ndarray]] = {}
    for start in range(0, len(inputs), _EXAMPLES):
        held = {network.input: _fed(network, inputs[start : start + _EXAMPLES])}
        _fill(network, held, 0)
        for number, values in held.items():
            found.setdefault(number, []).append(values)
    return {number: np.concatenate(parts) for number, parts in found.items()}


def finish(network: Network, known: dict[int, np.ndarray], position: int) -> np.ndarray:
    """The outputs where the layers from `position` on are others than those of the maps `known`."""
    count, found = len(known[network.input]), []
    for start in range(0, count, _EXAMPLES):
        part = slice(start, start + _EXAMPLES)
        held = {number: values[part] for number, values in known.items()}
        _fill(network, held, position)
        found.append(held[network.output])
    return np.concatenate(found)


def _fed(network: Network, inputs: np.ndarray) -> np.ndarray:
    fed = network.tensors[network.input]
    return np.clip(inputs, fed.low, fed.high).reshape(-1, *fed.shape)


def _fill(network: Network, held: dict[int, np.ndarray], position: int) -> None:
    """Compute the maps of the layers from `position` on."""
    count = len(held[network.input])
    for layer in network.layers[position:]:
        shape = (count, *network.tensors[layer.output].shape)
        zeros = [network.tensors[number].zero for number in layer.inputs]
        given = [held[number].astype(np.int64) for number in layer.inputs]
        held[layer.output] = compute(layer, given, zeros, shape).astype(np.int8)


@functools.singledispatch
def compute(
    layer: Layer, given: list[np.ndarray], zeros: list[int], shape: tuple[int, ...]
) -> np.ndarray:
    """The map of a layer, int64 of `shape`, from the maps `given`, whose zeros are `zeros`."""
    raise NotImplementedError(type(layer).__name__)


def rescaled(sums: np.ndarray, rescale: Rescale) -> np.ndarray:
    """Sums, int64 (..., filters), as the integers of the output."""
    shift = rescale.shift
    levels = (sums * rescale.multiplier + (np.int64(1) << (shift - 1))) >> shift
    return np.clip(levels + rescale.zero, rescale.low, rescale.high)


def _product(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(..., k) times (k, filters), int64; sums are within 2^31."""
    kind = _exact(weights)
    found: np.ndarray = values.astype(kind, copy=False) @ weights.astype(kind)
    return found.astype(np.int64)


def _exact(weights: np.ndarray) -> type[np.floating[Any]]:
    """The type in which sums of products with the columns of `weights` are exact."""
    most = _MOST_VALUE * int(np.abs(weights.astype(np.int64)).sum(axis=0).max(initial=0))
    return np.float32 if most < 2**24 else np.float64


@compute.register
def _(
    layer: Convolution, given: list[np.ndarray], zeros: list[int], shape: tuple[int, ...]
) -> np.ndarray:
    if layer.pooled > 1:
        count, height, width, filters = shape
        whole = (count, layer.pooled * height, layer.pooled * width, filters)
        sums = compute(dataclasses.replace(layer, pooled=1), given, zeros, whole)
        parts = (count, height, layer.pooled, width, layer.pooled, filters)
        return sums.reshape(parts).max(axis=(2, 4))
    values, (_, height, width, filters) = given[0] - zeros[0], shape
    _, rows, columns, channels = layer.kernel.shape
    spans = [
        (size - 1) * step + (taps - 1) * apart + 1
        for size, step, taps, apart in zip(
            (height, width), layer.stride, (rows, columns), layer.dilation, strict=True
        )
    ]
    around = [
        (before, max(span - before - size, 0))
        for before, span, size in zip(layer.before, spans, values.shape[1:3], strict=True)
    ]
    values = np.pad(values, [(0, 0), *around, (0, 0)])
    share = filters // layer.groups
    sums = np.empty((len(values), height, width, filters), np.int64)
    for group in range(layer.groups):
        found = slice(group * share, (group + 1) * share)
        seen = values[..., group * channels : (group + 1) * channels]
        sums[..., found] = _convolved(seen, layer.kernel[found], layer, (height, width))
    return rescaled(sums + layer.bias, layer.rescale)


def _convolved(
    values: np.ndarray, kernel: np.ndarray, layer: Convolution, size: tuple[int, int]
) -> np.ndarray:
    """The sums of filters that see all channels of `values`, whose margins are zeros: int64."""
    filters, rows, columns, _ = kernel.shape
    spans = [
        (taps - 1) * apart + 1 for taps, apart in zip((rows, columns), layer.dilation, strict=True)
    ]
    flat = kernel.transpose(3, 1, 2, 0).reshape(-1, filters)
    windows = np.lib.stride_tricks.sliding_window_view(
        values.astype(_exact(flat)), spans, axis=(1, 2)
    )
    windows = windows[
        *(slice(None), slice(0, None, layer.stride[0]), slice(0, None, layer.stride[1])),
        *(slice(None), slice(0, None, layer.dilation[0]), slice(0, None, layer.dilation[1])),
    ][:, : size[0], : size[1]]
    least = max(_AT_ONCE // max(size[0] * size[1] * len(flat), 1), 1)
    found = [
        _product(windows[start : start + least].reshape(-1, len(flat)), flat)
        for start in range(0, len(values), least)
    ]
    return np.concatenate(found).reshape(len(values), *size, filters)


@compute.register
def _(
    layer: Transposed, given: list[np.ndarray], zeros: list[int], shape: tuple[int, ...]
) -> np.ndarray:
    values, (count, height, width, filters) = given[0] - zeros[0], shape
    _, rows, columns, _ = layer.kernel.shape
    steps = values.shape[1:3]
    sums = np.zeros(
        (
            count,
            max((steps[0] - 1) * layer.stride[0] + rows, height + layer.before[0]),
            max((steps[1] - 1) * layer.stride[1] + columns, width + layer.before[1]),
            filters,
        ),
        np.int64,
    )
    for row in range(rows):
        for column in range(columns):
            sums[
                :,
                row : row + (steps[0] - 1) * layer.stride[0] + 1 : layer.stride[0],
                column : column + (steps[1] - 1) * layer.stride[1] + 1 : layer.stride[1],
            ] += _product(values, layer.kernel[:, row, column].T)
    top, left = layer.before
    return rescaled(sums[:, top : top + height, left : left + width] + layer.bias, layer.rescale)


@compute.register
def _(
    layer: Dense, given: list[np.ndarray], zeros: list[int], shape: tuple[int, ...]
) -> np.ndarray:
    values = (given[0] - zeros[0]).reshape(shape[0], -1)
    return rescaled(_product(values, layer.kernel.T) + layer.bias, layer.rescale).reshape(shape)


@compute.register
def _(
    layer: Pooling, given: list[np.ndarray], zeros: list[int], shape: tuple[int, ...]
) -> np.ndarray:
    values, (_, height, width, _) = given[0], shape
    found = np.zeros(shape, np.int64)
    for y in range(height):
        for x in range(width):
            top = y * layer.stride[0] - layer.before[0]
            left = x * layer.stride[1] - layer.before[1]
            part = values[
                :, max(top, 0) : top + layer.window[0], max(left, 0) : left + layer.window[1]
            ]
            if layer.largest:
                found[:, y, x] = part.max(axis=(1, 2))
            else:
                count = part.shape[1] * part.shape[2]
                found[:, y, x] = (2 * part.sum(axis=(1, 2)) + count) // (2 * count)
    return np.clip(found, layer.low, layer.high)


@compute.register
def _(
    layer: Lookup, given: list[np.ndarray], zeros: list[int], shape: tuple[int, ...]
) -> np.ndarray:
    return layer.table[given[0] + 128]


@compute.register
def _(layer: Sum, given: list[np.ndarray], zeros: list[int], shape: tuple[int, ...]) -> np.ndarray:
    first, second = (
        (values - zero) * multiplier
        for values, zero, multiplier in zip(given, zeros, layer.multipliers, strict=True)
    )
    levels = (first + second + (1 << (layer.shift - 1))) >> layer.shift
    return np.broadcast_to(np.clip(levels + layer.zero, layer.low, layer.high), shape)


@compute.register
def _(
    layer: Product, given: list[np.ndarray], zeros: list[int], shape: tuple[int, ...]
) -> np.ndarray:
    product = (given[0] - zeros[0]) * (given[1] - zeros[1])
    return np.broadcast_to(rescaled(product, layer.rescale), shape)


@compute.register
def _(
    layer: Joined, given: list[np.ndarray], zeros: list[int], shape: tuple[int, ...]
) -> np.ndarray:
    return np.concatenate(given, axis=3)


@compute.register
def _(
    layer: Reshaped, given: list[np.ndarray], zeros: list[int], shape: tuple[int, ...]
) -> np.ndarray:
    return given[0].reshape(shape)


@compute.register
def _(
    layer: Padded, given: list[np.ndarray], zeros: list[int], shape: tuple[int, ...]
) -> np.ndarray:
    found = np.full(shape, layer.value, np.int64)
    sizes = given[0].shape[1:]
    place = tuple(
        slice(before, before + size) for before, size in zip(layer.before, sizes, strict=True)
    )
    found[(slice(None), *place)] = given[0]
    return found


@compute.register
def _(
    layer: Constant, given: list[np.ndarray], zeros: list[int], shape: tuple[int, ...]
) -> np.ndarray:
    return np.broadcast_to(layer.values, shape)


@compute.register
def _(
    layer: Softmax, given: list[np.ndarray], zeros: list[int], shape: tuple[int, ...]
) -> np.ndarray:
    powers = layer.table[given[0].max(axis=3, keepdims=True) - given[0]].astype(np.int64)
    total = powers.sum(axis=3, keepdims=True)
    return np.minimum((256 * powers + total // 2) // total - 128, 127)

"""Fewer bits, so that two sums of a convolution share a register, and pooling before rescaling.

A convolution whose activations have 7 bits and whose weights have so few levels that no sum can
leave 16 bits is computed two columns at a time: one 32-bit multiplication, and one addition, serve
both. The bound is proven for each filter from its own weights: the largest sum minus the smallest
is at most 65,535.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from compressor.exporters.c.network import (
    LEAST,
    Convolution,
    Dense,
    Layer,
    Network,
    Pooling,
    Rescale,
    multiplier_of,
)

_MOST_ACTIVATION, _ACTIVATION = 255, 127
"""the largest activation in 8 bits, and the one that it becomes in 7"""
_SPAN = 2**16 - 1
_MOST_BITS = 15
"""of a multiplier: times 16 bits it stays within int32"""


def narrow(network: Network) -> Network:
    """The network with packed convolutions, where the maps that they read allow it.

    Requires a network as it was read. It computes something else: whether that costs accuracy must
    be measured. What is not a convolution of maps whose zero is their least integer stays as it is.
    """
    groups = _groups(network)
    chosen = {
        groups[layer.inputs[0]]
        for layer in network.layers
        if isinstance(layer, Convolution) and _can_narrow(network, groups, groups[layer.inputs[0]])
    }
    narrowed = {number for number, group in groups.items() if group in chosen}
    if not narrowed:
        return network
    tensors = list(network.tensors)
    for number in narrowed:
        old = tensors[number]
        scale = old.scale * _MOST_ACTIVATION / _ACTIVATION
        tensors[number] = dataclasses.replace(old, scale=scale, high=LEAST + _ACTIVATION)
    layers = [_adapted(layer, narrowed) for layer in network.layers]
    return dataclasses.replace(network, tensors=tuple(tensors), layers=tuple(layers))


def _groups(network: Network) -> dict[int, int]:
    """Map -> the first of those that must have one scale, since pooling keeps it."""
    groups = {number: number for number in range(len(network.tensors))}
    for layer in network.layers:
        if isinstance(layer, Pooling) and layer.largest and layer.inputs[0] != network.input:
            groups[layer.output] = groups[layer.inputs[0]]
    return groups


def _can_narrow(network: Network, groups: dict[int, int], group: int) -> bool:
    members = {number for number, found in groups.items() if found == group}
    for layer in network.layers:
        pools = isinstance(layer, Pooling) and layer.largest and network.input not in members
        # What a user gives may be more than 7 bits, which only packed convolutions clip.
        readers = Convolution if network.input in members else Convolution | Dense
        if members & set(layer.inputs) and not (pools or isinstance(layer, readers)):
            return False
        if layer.output in members and not (pools or isinstance(layer, Convolution | Dense)):
            return False
    if network.output in members:
        return False
    first = network.tensors[group]
    return first.zero == LEAST and all(network.tensors[n].zero == LEAST for n in members)


def _adapted(layer: Layer, narrowed: set[int]) -> Layer:
    """The layer between maps some of which have 7 bits now."""
    if isinstance(layer, Pooling) and layer.output in narrowed:
        high = min(layer.high, LEAST + _ACTIVATION)
        return dataclasses.replace(layer, high=high)
    if not isinstance(layer, Convolution | Dense):
        return layer
    factor = np.ones(len(layer.kernel))
    kernel, bias, packed = layer.kernel, layer.bias.astype(np.float64), False
    rescale = layer.rescale
    if layer.inputs[0] in narrowed:
        bias = bias * _ACTIVATION / _MOST_ACTIVATION
        factor *= _MOST_ACTIVATION / _ACTIVATION
        if isinstance(layer, Convolution):
            kernel, kept = _bounded(kernel)
            bias, factor, packed = bias * kept, factor / kept, True
    if layer.output in narrowed:
        factor *= _ACTIVATION / _MOST_ACTIVATION
        high = LEAST + _ACTIVATION
        rescale = dataclasses.replace(rescale, high=min(rescale.high, high))
    wanted = rescale.multiplier / 2.0 ** rescale.shift.astype(np.float64) * factor
    integers = np.rint(bias).astype(np.int64)
    rescale = _rescale(wanted, rescale, kernel, integers, packed)
    if isinstance(layer, Convolution):
        fits = packed and int(rescale.shift.max()) < 31
        layer = dataclasses.replace(layer, packed=fits)
    return dataclasses.replace(layer, kernel=kernel, bias=integers, rescale=rescale)


def _bounded(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights whose sums span 16 bits at most, int8, and by how much each filter was scaled."""
    rows = kernel.reshape(len(kernel), -1).astype(np.float64)
    found, kept = np.zeros(rows.shape, np.int8), np.ones(len(rows))
    for number, row in enumerate(rows):
        total = np.abs(row).sum()
        scale = min(1.0, _SPAN / _ACTIVATION / max(total, 1.0))
        while np.abs(np.rint(row * scale)).sum() * _ACTIVATION > _SPAN:
            scale *= 0.995
        found[number], kept[number] = np.rint(row * scale).astype(np.int8), scale
    return found.reshape(kernel.shape), kept


def _rescale(
    wanted: np.ndarray, rescale: Rescale, kernel: np.ndarray, bias: np.ndarray, packed: bool
) -> Rescale:
    """The scale of each filter; of a packed one in as few bits as its products leave in int32."""
    pairs = []
    for number, factor in enumerate(wanted.tolist()):
        if not packed:
            pairs.append(multiplier_of(factor))
            continue
        reach = _SPAN + abs(int(bias[number]) + least_sum(kernel[number]))
        bits = min(_MOST_BITS, 31 - reach.bit_length())
        pairs.append(multiplier_of(factor, max(bits, 1)))
    multipliers, shifts = (np.array(one, np.int64) for one in zip(*pairs, strict=True))
    return dataclasses.replace(rescale, multiplier=multipliers, shift=shifts)


def least_sum(weights: np.ndarray) -> int:
    """The least sum of a filter's products with activations of 7 bits, zero or below."""
    return _ACTIVATION * int(np.minimum(weights.astype(np.int64), 0).sum())


def pool_first(network: Network) -> Network:
    """Packed convolutions with the 2 x 2 pooling behind them in one layer.

    The largest rescaled sum is the rescaled largest sum: so a fourth of them is rescaled. Ensures
    the same outputs.
    """
    uses = [number for layer in network.layers for number in layer.inputs]
    makers = {layer.output: layer for layer in network.layers}
    layers: list[Layer] = []
    for layer in network.layers:
        before = makers.get(layer.inputs[0]) if layer.inputs else None
        if (
            isinstance(layer, Pooling)
            and (layer.largest, layer.window, layer.stride) == (True, (2, 2), (2, 2))
            and isinstance(before, Convolution)
            and before.packed
            and uses.count(before.output) == 1
            and _is_even(network, before.output, layer)
        ):
            low = max(before.rescale.low, layer.low)
            rescale = dataclasses.replace(
                before.rescale, low=low, high=max(min(before.rescale.high, layer.high), low)
            )
            layers.remove(before)
            layer = dataclasses.replace(before, output=layer.output, rescale=rescale, pooled=2)
        layers.append(layer)
    return dataclasses.replace(network, layers=tuple(layers))


def _is_even(network: Network, number: int, layer: Pooling) -> bool:
    """Whether every window lies in the map."""
    height, width, _ = network.tensors[number].shape
    out = network.tensors[layer.output].shape
    return layer.before == (0, 0) and 2 * out[0] <= height and 2 * out[1] <= width

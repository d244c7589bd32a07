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
    Reshaped,
    multiplier_of,
)

_MOST_ACTIVATION, _ACTIVATION = 255, 127
"""the largest activation in 8 bits, and the one that it becomes in 7"""
_SPAN = 2**16 - 1
_MOST_BITS = 15
"""of a multiplier: times 16 bits it stays within int32"""
_FEWEST_BITS, _ROUGH_BITS = 9, 5
"""of the largest and of the least multiplier of a fully connected layer that has one shift"""
_SCALES = np.linspace(0.85, 1.3, 19)
"""tried for the weights of a filter, as fractions of that at which the largest just fits"""


def narrow(network: Network) -> Network:
    """The network with packed convolutions, where the maps that they read allow it.

    Requires a network as it was read. It computes something else: whether that costs accuracy must
    be measured. What is not a convolution of maps whose zero is their least integer stays as it is.
    """
    groups = _groups(network)
    convolutions = [layer for layer in network.layers if isinstance(layer, Convolution)]
    chosen = {groups[layer.inputs[0]] for layer in convolutions}
    chosen = {group for group in chosen if _can_narrow(network, groups, group)}
    # What these write has 7 bits as well, so that one kernel serves all.
    after = {groups[one.output] for one in convolutions if groups[one.inputs[0]] in chosen}
    chosen |= {group for group in after if _can_narrow(network, groups, group)}
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
    """Map -> the first of those that must have one scale, since what is between them keeps it."""
    groups = {number: number for number in range(len(network.tensors))}
    for layer in network.layers:
        if _keeps_scale(layer) and layer.inputs[0] != network.input:
            groups[layer.output] = groups[layer.inputs[0]]
    return groups


def _keeps_scale(layer: Layer) -> bool:
    return isinstance(layer, Reshaped) or (isinstance(layer, Pooling) and layer.largest)


def _can_narrow(network: Network, groups: dict[int, int], group: int) -> bool:
    members = {number for number, found in groups.items() if found == group}
    for layer in network.layers:
        pools = _keeps_scale(layer) and network.input not in members
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
    layer = dataclasses.replace(layer, kernel=kernel, bias=np.rint(bias).astype(np.int64))
    if isinstance(layer, Convolution):
        layer = dataclasses.replace(layer, packed=packed)
    reach = _ACTIVATION if layer.inputs[0] in narrowed else _MOST_ACTIVATION
    return rescaled_by(dataclasses.replace(layer, rescale=rescale), factor, reach)


def rescaled_by(layer: Convolution | Dense, factor: np.ndarray, reach: int) -> Convolution | Dense:
    """The layer with the scale of each filter times `factor`, in few bits where those do.

    `reach` is the largest distance of an input from its zero.
    """
    rescale = layer.rescale
    wanted = rescale.multiplier / 2.0 ** rescale.shift.astype(np.float64) * factor
    if isinstance(layer, Dense):
        made = _within_32(layer, wanted, reach)
        return dataclasses.replace(layer, rescale=made or _rescale(wanted, layer, False))
    made = _rescale(wanted, layer, layer.packed)
    fits = layer.packed and int(made.shift.max()) < 31
    return dataclasses.replace(layer, rescale=made, packed=fits)


def _within_32(layer: Dense, wanted: np.ndarray, reach: int) -> Rescale | None:
    """Scales with one shift that keep products of sums in 32 bits; None where that is rough."""
    sums = np.abs(layer.bias) + reach * np.abs(layer.kernel.astype(np.int64)).sum(axis=1)
    bits = min(_MOST_BITS, 30 - int(sums.max()).bit_length())
    largest = float(wanted.max(initial=0.0))
    if bits < _FEWEST_BITS or not 0 < largest < 1:
        return None
    _, shift = multiplier_of(largest, bits)
    multiplier = np.rint(wanted * 2.0**shift).astype(np.int64)
    if shift > 30 or int(multiplier.min()) < 2**_ROUGH_BITS:
        return None
    return dataclasses.replace(
        layer.rescale, multiplier=multiplier, shift=np.full(len(wanted), shift, np.int64)
    )


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


def _rescale(wanted: np.ndarray, layer: Convolution | Dense, packed: bool) -> Rescale:
    """The scale of each filter; of a packed one in as few bits as its products leave in int32."""
    pairs = []
    for number, factor in enumerate(wanted.tolist()):
        if not packed:
            pairs.append(multiplier_of(factor))
            continue
        reach = _SPAN + abs(int(layer.bias[number]) + least_sum(layer.kernel[number]))
        bits = min(_MOST_BITS, 31 - reach.bit_length())
        pairs.append(multiplier_of(factor, max(bits, 1)))
    multipliers, shifts = (np.array(one, np.int64) for one in zip(*pairs, strict=True))
    return dataclasses.replace(layer.rescale, multiplier=multipliers, shift=shifts)


def fewer_bits(network: Network, output: int, bits: int) -> Network:
    """The network whose layer that computes `output` has weights of so many bits.

    Each filter has the scale, among a few, with the least squared error. Ensures that a packed
    convolution stays within its bound.
    """
    most = 2 ** (bits - 1) - 1
    layers = []
    for layer in network.layers:
        if layer.output == output and isinstance(layer, Convolution | Dense):
            kernel, kept = _rounded(layer.kernel, most)
            source = network.tensors[layer.inputs[0]]
            reach = max(source.high - source.zero, source.zero - source.low)
            bias = np.rint(layer.bias * kept).astype(np.int64)
            layer = dataclasses.replace(layer, kernel=kernel, bias=bias)
            layer = rescaled_by(layer, 1 / kept, reach)
        layers.append(layer)
    return dataclasses.replace(network, layers=tuple(layers))


def _rounded(kernel: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights up to `most`, int8, and by how much each filter was scaled, at most 1."""
    rows = kernel.reshape(len(kernel), -1).astype(np.float64)
    found, kept = np.zeros(rows.shape, np.int8), np.ones(len(rows))
    for number, row in enumerate(rows):
        largest = np.abs(row).max(initial=0.0)
        if largest <= most:
            found[number] = row
            continue
        least = np.inf
        for scale in np.minimum(most / largest * _SCALES, 1.0):
            levels = np.clip(np.rint(row * scale), -most, most)
            error = float(((levels / scale - row) ** 2).sum())
            if error < least:
                least, found[number], kept[number] = error, levels, scale
    return found.reshape(kernel.shape), kept


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

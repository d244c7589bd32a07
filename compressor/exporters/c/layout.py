"""The order of maps in memory, and what it takes to get there.

Between layers a map lies row by row, and in a row channel by channel: (height, channels, width).
So a row can be computed at once, and a weight multiplies neighbouring values. The input and the
output of the network lie as users have them, (height, width, channels).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from compressor.exporters.c.network import (
    Convolution,
    Dense,
    Layer,
    Network,
    Padded,
    Reordered,
    Reshaped,
    Shape,
    Tensor,
)


@dataclasses.dataclass
class LaidOut:
    """A network in which every map lies as its readers take it.

    `pixels` are the maps in the order (height, width, channels); `same` maps a reshaped one to that
    whose memory it shares.
    """

    tensors: list[Tensor]
    layers: list[Layer]
    input: int
    output: int
    pixels: set[int]
    same: dict[int, int]

    def place(self, tensor: int) -> int:
        """The map in whose memory `tensor` lies."""
        while tensor in self.same:
            tensor = self.same[tensor]
        return tensor


def lay_out(network: Network) -> LaidOut:
    """Requires a network as it was read. Ensures the same outputs, in the order of the input."""
    network = _without_paddings(network)
    found = LaidOut(list(network.tensors), [], network.input, network.output, {network.input}, {})
    readers: dict[int, list[Layer]] = {}
    for layer in network.layers:
        for number in layer.inputs:
            readers.setdefault(number, []).append(layer)
    turned: dict[tuple[int, bool], int] = {}
    origin: dict[int, Shape] = {}
    """vectors that lie in the order of a map of this shape"""

    def ordered(number: int, pixels: bool) -> int:
        """The map in this order, which is added if it has the other one."""
        if (number in found.pixels) == pixels or _orderless(found.tensors[number].shape):
            return number
        if (number, pixels) not in turned:
            found.tensors.append(found.tensors[number])
            made = len(found.tensors) - 1
            found.layers.append(Reordered((number,), made, pixels))
            if pixels:
                found.pixels.add(made)
            turned[number, pixels] = made
        return turned[number, pixels]

    for layer in network.layers:
        if isinstance(layer, Reshaped):
            source = layer.inputs[0]
            after = readers.get(layer.output, [])
            vectors = after and all(isinstance(reader, Dense) for reader in after)
            if vectors and layer.output != network.output and source not in origin:
                if source not in found.pixels:
                    origin[layer.output] = found.tensors[source].shape
                found.same[layer.output] = source
                continue
            source = ordered(source, True)
            if _orderless(found.tensors[layer.output].shape):
                found.same[layer.output] = source
            else:
                flat = dataclasses.replace(found.tensors[layer.output])
                found.tensors.append(flat)
                middle = len(found.tensors) - 1
                found.pixels.add(middle)
                found.same[middle] = source
                found.layers.append(Reordered((middle,), layer.output, False))
            continue
        if isinstance(layer, Dense):
            source = layer.inputs[0]
            shape = origin.get(source, found.tensors[source].shape)
            if source in origin or source not in found.pixels:
                layer = dataclasses.replace(layer, kernel=_by_rows(layer.kernel, shape))
        elif not (isinstance(layer, Convolution) and layer.inputs[0] == network.input):
            inputs = tuple(ordered(number, False) for number in layer.inputs)
            layer = dataclasses.replace(layer, inputs=inputs)
        found.layers.append(layer)
    found.output = ordered(network.output, True)
    if found.place(found.output) != found.output or found.output == found.input:
        # The output has memory of its own: copied, in an order in which nothing moves.
        found.tensors.append(found.tensors[found.output])
        found.layers.append(Reordered((found.output,), len(found.tensors) - 1, True))
        found.output = len(found.tensors) - 1
    return found


def _orderless(shape: Shape) -> bool:
    """Whether both orders are the same."""
    return shape[1] == 1 or shape[2] == 1


def _by_rows(kernel: np.ndarray, shape: Shape) -> np.ndarray:
    """The weights of a unit in the order in which rows lie."""
    return kernel.reshape(len(kernel), *shape).transpose(0, 1, 3, 2).reshape(kernel.shape)


def _without_paddings(network: Network) -> Network:
    """Zeros around a map that only a convolution reads are part of that convolution."""
    uses = [number for layer in network.layers for number in layer.inputs]
    paddings = {
        layer.output: layer
        for layer in network.layers
        if isinstance(layer, Padded)
        and uses.count(layer.output) == 1
        and layer.output != network.output
        and layer.value == network.tensors[layer.output].zero
        and layer.before[2] == 0
        and network.tensors[layer.output].shape[2] == network.tensors[layer.inputs[0]].shape[2]
    }
    layers: list[Layer] = []
    folded = set()
    for layer in network.layers:
        padding = paddings.get(layer.inputs[0]) if isinstance(layer, Convolution) else None
        if padding is not None:
            assert isinstance(layer, Convolution)
            before = (layer.before[0] + padding.before[0], layer.before[1] + padding.before[1])
            layer = dataclasses.replace(layer, inputs=padding.inputs, before=before)
            folded.add(padding.output)
        layers.append(layer)
    kept = tuple(layer for layer in layers if layer.output not in folded)
    return dataclasses.replace(network, layers=kept)

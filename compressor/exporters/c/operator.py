"""An operator of a .tflite graph, and the network that is built from it and its like."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from compressor.errors import ModelError
from compressor.exporters.c.network import (
    LEAST,
    MOST,
    Constant,
    Layer,
    Rescale,
    Shape,
    Tensor,
    multiplier_of,
)
from compressor.exporters.tflite import graph as graphs

_MOST_VALUES = 2**24
"""of a map: more has no place in a device, and a hostile file says so in a few bytes"""
REFUSED = "the C exporter cannot compute this operator"
_FUSED = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")


def refuse(name: str, reason: str = "") -> ModelError:
    return ModelError(
        REFUSED,
        value=f"{name}{reason and ': '}{reason}",
        hint="export to TFLite or ONNX, or replace the layer that needs it",
    )


class Building:
    """A network while the operators of a graph are read."""

    def __init__(self, graph: Any) -> None:
        self.graph, self.main = graph, graphs.main(graph)
        self.tensors: list[Tensor] = []
        self.layers: list[Layer] = []
        self.numbers: dict[int, int] = {}
        """tensor of the graph -> tensor of the network"""

    def rank(self, index: int) -> int:
        """How many axes a tensor of the graph has, without the batch."""
        return len(graphs.signature(self.main.tensors[index])) - 1

    def added(self, index: int, low: int = LEAST, high: int = MOST) -> int:
        """The number of a new tensor of the network, after that of the graph."""
        tensor = self.main.tensors[index]
        name = graphs.text(tensor.name)
        if graphs.type_name(tensor) != "INT8":
            what = f"{name[:80]} is {graphs.type_name(tensor).lower()}"
            raise ModelError("C code is generated from int8", value=what, hint="replace the layer")
        scale, zero = scales(tensor)
        if scale.size != 1:
            raise ModelError("a map has one scale", value=f"{name[:80]} has {scale.size}")
        shape = map_shape(graphs.signature(tensor).tolist())
        return self.appended(Tensor(name, shape, float(scale[0]), int(zero[0]), low, high), index)

    def appended(self, tensor: Tensor, index: int | None = None) -> int:
        if not 0 < tensor.size <= _MOST_VALUES:
            raise ModelError("a map is empty, or too large for C code", value=tensor.shape)
        self.tensors.append(tensor)
        if index is not None:
            self.numbers[index] = len(self.tensors) - 1
        return len(self.tensors) - 1


@dataclasses.dataclass(frozen=True)
class Operator:
    """An operator of the graph, with what readers ask of it."""

    network: Building
    name: str
    operator: Any
    inputs: list[int]
    output: int

    @property
    def options(self) -> Any:
        return self.operator.builtinOptions

    def refuse(self, reason: str) -> ModelError:
        return refuse(self.name, reason)

    def number(self, place: int) -> int:
        """The number of an input map, which may be a constant."""
        index = self.inputs[place]
        known = self.network.numbers
        if index not in known:
            values = graphs.constant(self.network.graph, index)
            if values is None:
                kind = graphs.type_name(self.network.main.tensors[index]).lower()
                raise self.refuse(f"it computes in {kind}, not in int8")
            number = self.network.added(index)
            shape = self.network.tensors[number].shape
            self.network.layers.append(Constant((), number, values.reshape(shape).astype(np.int8)))
        return known[index]

    def map(self, place: int) -> Tensor:
        return self.network.tensors[self.number(place)]

    def weights(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """A constant with its scales, float64."""
        index = self.inputs[place]
        values = graphs.constant(self.network.graph, index)
        if values is None or values.dtype != np.int8:
            raise self.refuse("its weights are not a constant in int8")
        scale, zero = scales(self.network.main.tensors[index])
        if zero.any():
            raise self.refuse("its weights have a zero point")
        return values, scale

    def bias(self, place: int, filters: int) -> np.ndarray:
        if len(self.inputs) <= place or self.inputs[place] < 0:
            return np.zeros(filters, np.int64)
        values = graphs.constant(self.network.graph, self.inputs[place])
        if values is None or values.dtype != np.int32:
            raise self.refuse("its bias is not a constant in int32")
        return values.reshape(filters).astype(np.int64)

    def constant(self, place: int) -> np.ndarray:
        values = graphs.constant(self.network.graph, self.inputs[place])
        if values is None:
            raise self.refuse(f"input {place} is not a constant")
        return values

    def result(self, low: int = LEAST, high: int = MOST) -> tuple[int, Tensor]:
        """A new map for the output, clipped by the fused activation."""
        number = self.network.added(self.output)
        tensor = self.network.tensors[number]
        bounds = clipped(tensor, self.activation())
        low, high = max(low, bounds[0]), min(high, bounds[1])
        tensor = dataclasses.replace(tensor, low=low, high=high)
        self.network.tensors[number] = tensor
        return number, tensor

    def activation(self) -> str:
        fused = getattr(self.options, "fusedActivationFunction", 0)
        name = graphs.names("ActivationFunctionType")[fused]
        if name not in _FUSED:
            raise self.refuse(f"with {name}")
        return name

    def rescale(self, factors: np.ndarray, tensor: Tensor, filters: int) -> Rescale:
        """From sums to `tensor`, one factor a filter."""
        found = [multiplier_of(float(one)) for one in np.broadcast_to(factors, (filters,))]
        multipliers, shifts = (np.array(one, np.int64) for one in zip(*found, strict=True))
        return Rescale(multipliers, shifts, tensor.zero, tensor.low, tensor.high)

    def add(self, layer: Layer) -> None:
        self.network.layers.append(layer)


def scales(tensor: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scales, float64, and zero points of a quantised tensor; raises ModelError without."""
    found = tensor.quantization
    if found is None or found.scale is None or not len(found.scale):
        raise ModelError("C code is generated from int8", value="a tensor has no scale")
    scale = np.asarray(found.scale, np.float64)
    zero = np.zeros(scale.size, np.int64)
    if found.zeroPoint is not None and len(found.zeroPoint):
        zero = np.broadcast_to(np.asarray(found.zeroPoint, np.int64), (scale.size,))
    if not (np.isfinite(scale).all() and (scale > 0).all()) or (np.abs(zero) > 128).any():
        raise ModelError("a tensor has a scale that is no positive number", value=scale[:4])
    return scale, zero


def map_shape(sizes: Sequence[int]) -> Shape:
    """The shape of a map from that of a tensor with a batch axis."""
    if len(sizes) > 4 or min(sizes[1:], default=1) < 1:
        raise ModelError("C code computes maps of known sizes, up to 4 axes", value=list(sizes))
    if len(sizes) > 1 and sizes[0] not in (-1, 1):
        raise ModelError("C code computes one example at a time", value=f"a batch of {sizes[0]}")
    height, width, channels = [1, 1, 1, *sizes[1 if len(sizes) > 1 else 0 :]][-3:]
    return height, width, channels


def clipped(tensor: Tensor, activation: str) -> tuple[int, int]:
    """The integers that an activation leaves."""
    low, high = LEAST, MOST

    def level(value: float) -> int:
        return min(max(round(value / tensor.scale) + tensor.zero, LEAST), MOST)

    if activation in ("RELU", "RELU6"):
        low = level(0)
    if activation == "RELU6":
        high = level(6)
    if activation == "RELU_N1_TO_1":
        low, high = level(-1), level(1)
    return low, high

"""The integer network that C code is generated from: maps of int8 and the layers between them.

Every tensor is a map (height, width, channels) of int8 that stands for real numbers, scale times
(integer - zero). A vector of n values is (1, 1, n), a sequence of t steps (1, t, channels). What a
layer computes, with its rounding, is what `reference` says.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

Shape = tuple[int, int, int]
"""height, width, channels"""

LEAST, MOST = -128, 127
"""of int8"""
_MULTIPLIER_BITS = 31
_MOST_SHIFT = 62
_TERM_BITS = 21
"""of the multipliers of ADD: two products with nine bits each stay within int32"""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A map of int8; `low` and `high` bound the integers that it holds."""

    name: str
    shape: Shape
    scale: float
    zero: int
    low: int = LEAST
    high: int = MOST

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Layer:
    """What computes tensor `output` from tensors `inputs`, by their numbers."""

    inputs: tuple[int, ...]
    output: int


@dataclasses.dataclass(frozen=True)
class Rescale:
    """Of each filter, real number = multiplier / 2^shift; then zero is added, and it is clipped."""

    multiplier: np.ndarray
    """int64 (filters,), of 31 bits at most"""
    shift: np.ndarray
    """int64 (filters,), 1 to 62"""
    zero: int
    low: int
    high: int


@dataclasses.dataclass(frozen=True)
class Convolution(Layer):
    """CONV_2D, DEPTHWISE_CONV_2D, and FULLY_CONNECTED at each position of a map.

    `kernel` is int8 (filters, height, width, channels of a group), `bias` int64 (filters,). A
    filter of group g sees the channels of that group only.
    """

    kernel: np.ndarray
    bias: np.ndarray
    rescale: Rescale
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    """rows above and columns to the left that count as zero"""
    groups: int
    packed: bool = False
    """whether two sums share 32 bits: `narrowing` proves that each fits 16"""
    pooled: int = 1
    """2: the output is the largest of each 2 x 2 rescaled sums"""


@dataclasses.dataclass(frozen=True)
class Transposed(Layer):
    """TRANSPOSE_CONV; `kernel` is int8 (filters, height, width, channels)."""

    kernel: np.ndarray
    bias: np.ndarray
    rescale: Rescale
    stride: tuple[int, int]
    before: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Dense(Layer):
    """FULLY_CONNECTED of a vector; `kernel` is int8 (units, inputs)."""

    kernel: np.ndarray
    bias: np.ndarray
    rescale: Rescale


@dataclasses.dataclass(frozen=True)
class Pooling(Layer):
    """The largest, or the average of the values of each window that lie in the map."""

    largest: bool
    window: tuple[int, int]
    stride: tuple[int, int]
    before: tuple[int, int]
    low: int
    high: int


@dataclasses.dataclass(frozen=True)
class Lookup(Layer):
    """A function of one value; `table` is int8 (256,), from that of -128 to that of 127."""

    table: np.ndarray


@dataclasses.dataclass(frozen=True)
class Sum(Layer):
    """ADD and SUB: products with `multipliers`, shifted. An input may be one pixel or value."""

    multipliers: tuple[int, int]
    shift: int
    zero: int
    low: int
    high: int


@dataclasses.dataclass(frozen=True)
class Product(Layer):
    """MUL. An input may be one pixel or value."""

    rescale: Rescale


@dataclasses.dataclass(frozen=True)
class Joined(Layer):
    """CONCATENATION of channels; the inputs have the scale of the output."""


@dataclasses.dataclass(frozen=True)
class Reshaped(Layer):
    """The same values in another shape, in the order height, width, channels."""


@dataclasses.dataclass(frozen=True)
class Padded(Layer):
    """PAD with the integer `value`."""

    before: Shape
    value: int


@dataclasses.dataclass(frozen=True)
class Constant(Layer):
    """A map that no input changes."""

    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Reordered(Layer):
    """The same map in the other order in memory: `pixels` has the channels of a pixel together,
    and the other one the columns of a row of a channel."""

    pixels: bool


@dataclasses.dataclass(frozen=True)
class Softmax(Layer):
    """SOFTMAX over the channels; `table` is uint16 (256,), of the distance to the largest."""

    table: np.ndarray


@dataclasses.dataclass(frozen=True)
class Network:
    """Layers in an order in which they can be computed; one input and one output."""

    tensors: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    input: int
    output: int
    ranks: tuple[int, int] = (3, 3)
    """how many axes the model's input and output have, without the batch: the last of their maps"""


def multiplier_of(factor: float, bits: int = _MULTIPLIER_BITS) -> tuple[int, int]:
    """`factor` as (multiplier, shift): multiplier / 2^shift, by default with int32's bits."""
    if not 0 < factor < 2.0 ** (bits - 2):
        return 0, 1
    shift = bits - math.frexp(factor)[1]
    shift = min(max(shift, 1), _MOST_SHIFT if bits == _MULTIPLIER_BITS else bits + 15)
    return min(round(math.ldexp(factor, shift)), 2**bits - 1), shift


def terms_of(first: float, second: float) -> tuple[int, int, int]:
    """Two factors as integers with one shift: products with nine bits add up within int32."""
    largest = max(abs(first), abs(second))
    shift = min(max(_TERM_BITS - math.frexp(largest)[1], 1), 30)
    return round(math.ldexp(first, shift)), round(math.ldexp(second, shift)), shift

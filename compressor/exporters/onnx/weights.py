"""The weights of an ONNX graph, and their values in fewer bits; `decoding` stores the positions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from compressor.exporters.half_precision import fits_float16
from compressor.exporters.onnx.graphs import array_of, attribute, consumers
from compressor.exporters.quantization import (
    make_codebook,
    quantize_least_squares,
    quantize_symmetric,
)
from compressor.exporters.request import Quantize

MIN_SIZE = 128
"""Values of the smallest tensor that is worth the nodes to decode it."""
MIN_SIZE_VECTOR = 32
"""Of the smallest bias, or other vector, that is worth a node to have 16 bits."""
MIN_SIZE_4_BITS = 4096
"""Of the smallest that gets 4 bits: smaller ones, such as the first convolution's, get 8, since 4
cost accuracy and save next to nothing."""

MIN_SIZE_CODEBOOK = 512
"""Of the smallest that gets a codebook, whose values are where the weights are."""

MIN_SIZE_2_BITS = 16_384
"""Of the smallest that gets ternary values: smaller ones, such as a classifier's, get 4 bits."""

_CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1, "LSTM": 1, "GRU": 1, "RNN": 1}


@dataclasses.dataclass(frozen=True)
class FloatWeight:
    """One float32 initializer."""

    name: str
    values: np.ndarray
    axis: int
    """the axis of the output channels, which have a scale each"""


@dataclasses.dataclass(frozen=True)
class Stored:
    """The values of a tensor as stored: `code` (or table[code]) * `scale`."""

    kind: str
    """float32, float16, int8, int4, ternary or codebook4"""
    codes: np.ndarray
    """(size,) in C order: float32, float16 or int8; uint8 indices into the table"""
    zero: int | None
    """the code of zero; None where only non-zeros have meaningful codes"""
    nonzero: np.ndarray
    """bool (size,): which stored values are not zero"""
    shape: tuple[int, ...]
    table: np.ndarray | None = None
    """float32 (at most 16,)"""
    scale: np.ndarray | None = None
    """float32, one a channel, broadcasts to `shape`; None: 1"""
    as_is: bool = False
    """the weight is the codes themselves, not what they stand for in float32"""


def float_weights(graph: Any) -> list[FloatWeight]:
    """The float32 initializers of the main graph with two axes or `MIN_SIZE_VECTOR` values."""
    return [
        FloatWeight(name, values, _channel_axis(values, users))
        for name, values, users in initializers_of(graph, np.float32)
        if values.ndim >= 2 or values.size >= MIN_SIZE_VECTOR
    ]


def raw_weights(graph: Any) -> list[tuple[str, Stored]]:
    """The int8 and float16 initializers with `MIN_SIZE` values, by name, which keep their type.

    The scales of integers are in the graph.
    """
    return [
        (name, Stored(dtype.__name__, codes, 0, codes != 0, values.shape, as_is=True))
        for dtype in (np.int8, np.float16)
        for name, values, _ in initializers_of(graph, dtype)
        if (codes := values.ravel()).size >= MIN_SIZE
    ]


def value_types(weight: FloatWeight, quantize: Quantize, *, exact: bool = False) -> list[Stored]:
    """A weight in each value type that a quantisation allows, float32 first.

    Vectors, such as biases, have no fewer than 16 bits. Float16 is `exact` where that is asked for.
    Values that are not all finite, such as those of a mask, stay float32.
    """
    full = store_float(weight.values, np.float32)
    vector = weight.values.ndim < 2
    small = weight.values.size < (MIN_SIZE_VECTOR if vector else MIN_SIZE)
    if quantize == "none" or small or not np.isfinite(weight.values).all():
        return [full]
    if quantize == "float16" or vector:
        if not fits_float16(weight.values, exact=exact):
            return [full]
        return [full, store_float(weight.values, np.float16)]
    few = MIN_SIZE_CODEBOOK if quantize == "codebook" else MIN_SIZE_4_BITS
    if quantize in ("dynamic", "int8") or weight.values.size < few:
        return [full, store_int8(weight)]
    if quantize == "ternary" and weight.values.size >= MIN_SIZE_2_BITS:
        return [full, *(store_ternary(weight, zero=zero) for zero in (True, False))]
    if quantize in ("int4", "ternary"):
        return [full, store_int4(weight)]
    return [full, *(store_codebook(weight.values, zero=zero) for zero in (True, False))]


def store_float(values: np.ndarray, dtype: Any) -> Stored:
    """The values rounded to float32 or float16."""
    with np.errstate(over="ignore"):
        codes = values.ravel().astype(dtype, copy=False)
    return Stored(codes.dtype.name, codes, 0, codes != 0, values.shape)


def store_int8(weight: FloatWeight) -> Stored:
    """Integers in -127..127, with a scale for each channel."""
    codes, scale = _integers(weight, 8)
    return Stored("int8", codes, 0, codes != 0, weight.values.shape, scale=scale)


def store_int4(weight: FloatWeight) -> Stored:
    """Integers in -7..7, with a scale for each channel."""
    codes, scale = _integers(weight, 4)
    table = np.arange(-7, 8, dtype=np.float32)
    numbers = (codes + 7).astype(np.uint8)
    return Stored("int4", numbers, 7, codes != 0, weight.values.shape, table=table, scale=scale)


def store_ternary(weight: FloatWeight, *, zero: bool) -> Stored:
    """-1, 0 or 1, with a scale for each channel, the one with the least squared error.

    Without `zero` there are codes of -1 and 1 alone, in one bit, for encodings that omit zeros.
    """
    found = quantize_least_squares(weight.values, bits=2, axis=weight.axis)
    codes, scale = found.values.ravel(), found.scale.reshape(_along(weight))
    numbers = (codes + 1 if zero else codes > 0).astype(np.uint8)
    table = np.asarray([-1, 0, 1] if zero else [-1, 1], np.float32)
    shape, middle = weight.values.shape, 1 if zero else None
    return Stored("ternary", numbers, middle, codes != 0, shape, table=table, scale=scale)


def store_codebook(values: np.ndarray, *, zero: bool) -> Stored:
    """The values as indices into a table, one entry of which is zero if `zero`.

    Without, the code of a zero is meaningless, and encodings that omit zeros have an entry more.
    """
    nonzero = values.ravel() != 0
    kept = values.ravel() if zero else values.ravel()[nonzero]
    book = make_codebook(kept, zero=zero)
    codes = book.codes.ravel()
    if not zero:
        scattered = np.zeros(values.size, np.uint8)
        scattered[nonzero] = codes
        return Stored("codebook4", scattered, None, nonzero, values.shape, table=book.table)
    middle = int(np.searchsorted(book.table, np.float32(0)))
    return Stored("codebook4", codes, middle, codes != middle, values.shape, table=book.table)


def _channel_axis(values: np.ndarray, used_by: list[tuple[Any, int]]) -> int:
    """The axis of the output channels in the first operator that takes the weight."""
    last = max(values.ndim - 1, 0)
    if not used_by:
        return last
    node, position = used_by[0]
    if node.op_type in _CHANNEL_AXIS and position >= 1:
        return min(_CHANNEL_AXIS[node.op_type], last)
    if node.op_type == "Gemm" and position == 1 and attribute(node, "transB", 0):
        return 0
    return last


def initializers_of(
    graph: Any, dtype: Any
) -> Iterator[tuple[str, np.ndarray, list[tuple[Any, int]]]]:
    """Names, values and users of the initializers of a dtype, except scales and zero points."""
    used_by = consumers(graph)
    for entry in graph.initializer:
        users = used_by.get(entry.name, [])
        scale = users and all(
            node.op_type in ("QuantizeLinear", "DequantizeLinear") and position in (1, 2)
            for node, position in users
        )
        values = array_of(entry)
        if values.dtype == dtype and not scale:
            yield entry.name, values, users


def _integers(weight: FloatWeight, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """int8 (size,), and the scales in a shape that broadcasts to the weight's."""
    quantized = quantize_symmetric(weight.values, bits=bits, axis=weight.axis)
    return quantized.values.ravel(), quantized.scale.reshape(_along(weight))


def _along(weight: FloatWeight) -> list[int]:
    """The shape of one number a channel, which broadcasts to the weight's."""
    shape = [1] * weight.values.ndim
    shape[weight.axis] = -1
    return shape

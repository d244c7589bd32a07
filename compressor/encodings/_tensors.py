"""A tensor as encodings see it: a matrix of float32 weights, of which some are zero."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from compressor.errors import CompressorError, ModelError, UsageError

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

# Every position, count and pointer of a tensor of this size fits into int32, and every
# product of them into int64, so no encoding needs an overflow check of its own.
MAX_WEIGHTS = 2**31 - 1
# What the oldest numpy of the project can reshape to.
MAX_RANK = 32

# All bits of a float32 but its sign.
_MAGNITUDE = np.uint32(0x7FFF_FFFF)
_NEGATIVE_ZERO = np.uint32(0x8000_0000)


def matrix_shape(
    shape: Sequence[int], error: type[CompressorError] = UsageError
) -> tuple[int, int]:
    """The matrix of two coordinates that a tensor of `shape` is treated as.

    (5, 5, 32, 64) -> (800, 64); (10,) -> (1, 10)

    Raises `error` for a rank outside 1 to 32, a dimension that is no count, and a tensor
    of more than 2^31 - 1 weights.
    """
    try:
        dimensions = [operator.index(dimension) for dimension in shape]
    except TypeError:
        raise error("a shape must be a sequence of integers", value=repr(shape)[:80]) from None
    if not 1 <= len(dimensions) <= MAX_RANK:
        raise error(f"a tensor to encode must have 1 to {MAX_RANK} axes", value=len(dimensions))
    if min(dimensions) < 0:
        raise error("a shape has a negative dimension", value=repr(shape)[:80])
    rows, columns = math.prod(dimensions[:-1]), dimensions[-1]
    # An axis of 0 must not hide that another one overflows.
    if math.prod(max(dimension, 1) for dimension in dimensions) > MAX_WEIGHTS:
        raise error(
            f"a tensor to encode may have at most {MAX_WEIGHTS} weights", value=repr(shape)[:80]
        )
    return rows, columns


def counted_shape(shape: Sequence[int], nonzeros: float) -> tuple[int, int]:
    """`matrix_shape(shape)`, after checking that it can hold `nonzeros`.

    `nonzeros` may be a fraction: an expected count. Raises UsageError.
    """
    rows, columns = matrix_shape(shape)
    if not 0 <= nonzeros <= rows * columns:
        raise UsageError(
            "a count of non-zeros must lie between 0 and the count of weights",
            value=f"{nonzeros} of {rows * columns}",
        )
    return rows, columns


def as_matrix(tensor: Float32Array) -> Float32Array:
    """`tensor` as a contiguous float32 matrix (prod(shape[:-1]), shape[-1]).

    It shares memory with a contiguous tensor. Raises ModelError when `tensor` is no
    float32 array, or has a shape that cannot be encoded.
    """
    if not isinstance(tensor, np.ndarray) or tensor.dtype != np.float32:
        raise ModelError(
            "a tensor to encode must be a float32 array",
            value=getattr(tensor, "dtype", type(tensor).__name__),
            hint="convert it first",
        )
    return np.ascontiguousarray(tensor).reshape(matrix_shape(tensor.shape, ModelError))


def nonzero_mask(array: Float32Array) -> npt.NDArray[np.bool_]:
    """True where a float32 `array` is neither +0 nor -0, in its shape.

    By bits and not by comparison: a signalling NaN stays silent, and a subnormal weight
    is kept even where the processor flushes subnormals to zero.
    """
    mask: npt.NDArray[np.bool_] = (array.view(np.uint32) & _MAGNITUDE) != 0
    return mask


def nonzero_positions(matrix: Float32Array) -> Int64Array:
    """Ascending int64 positions of the non-zeros in the flattened `matrix`."""
    return np.flatnonzero(nonzero_mask(matrix)).astype(np.int64, copy=False)


def positive_zeros(array: Float32Array) -> Float32Array:
    """A contiguous copy of `array` with +0 for -0, and every other bit as it was."""
    bits = np.array(array, dtype=np.float32, order="C").view(np.uint32)
    bits[bits == _NEGATIVE_ZERO] = 0
    return bits.view(np.float32)


def same_weights(decoded: Float32Array, original: Float32Array) -> bool:
    """Whether `decoded` is `original` bit for bit, with +0 for its -0."""
    return (
        decoded.dtype == np.float32
        and decoded.shape == original.shape
        and np.array_equal(decoded.view(np.uint32), positive_zeros(original).view(np.uint32))
    )

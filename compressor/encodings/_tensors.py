"""A tensor as encodings see it: a matrix of float32 weights, of which some are zero."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compressor.errors import ModelError

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

MAX_WEIGHTS = 2**31 - 1
"""Every position, count and pointer of a tensor of this size fits into int32, and every product
of them into int64, so no encoding needs an overflow check of its own."""


def as_matrix(tensor: Float32Array) -> Float32Array:
    """`tensor` as a contiguous matrix: (5, 5, 32, 64) -> (800, 64); (10,) -> (1, 10).

    It shares memory with a contiguous tensor. Raises ModelError when `tensor` is no float32
    array, has no axis, or more than 2^31 - 1 weights.
    """
    if not isinstance(tensor, np.ndarray) or tensor.dtype != np.float32:
        raise ModelError(
            "a tensor to encode must be a float32 array",
            value=getattr(tensor, "dtype", type(tensor).__name__),
            hint="convert it first",
        )
    if not tensor.ndim or tensor.size > MAX_WEIGHTS:
        raise ModelError(
            f"a tensor to encode must have an axis and at most {MAX_WEIGHTS} weights",
            value=tensor.shape,
        )
    # Not -1: an axis of 0 would leave it open.
    rows = int(np.prod(tensor.shape[:-1], dtype=np.int64))
    return np.ascontiguousarray(tensor).reshape(rows, tensor.shape[-1])


def nonzero_mask(array: Float32Array) -> npt.NDArray[np.bool_]:
    """True where a float32 `array` is neither +0 nor -0, in its shape.

    By bits and not by comparison: a signalling NaN stays silent, and a subnormal weight
    is kept even where the processor flushes subnormals to zero.
    """
    mask: npt.NDArray[np.bool_] = (array.view(np.uint32) & np.uint32(0x7FFF_FFFF)) != 0
    return mask


def nonzero_positions(matrix: Float32Array) -> Int64Array:
    """Ascending int64 positions of the non-zeros in the flattened `matrix`."""
    return np.flatnonzero(nonzero_mask(matrix)).astype(np.int64, copy=False)

"""The encodings: the bytes of a float32 tensor of which some weights are zero.

A tensor of any rank from 1 is treated as the matrix (prod(shape[:-1]), shape[-1]), in row-major
order, so the columns of a Keras kernel are its output units. A weight that equals zero, +0 or -0,
counts as pruned. Only coo-paper is ever written to a file; the others are there to be compared.
A new one is a function and an entry of ENCODINGS. Rules that the tests check on each of them:

1. What `encode` gives is enough to get the tensor back bit for bit, with +0 for -0.
2. expected_bytes(shape, nonzeros) is the mean of `nbytes` over random positions, and never grows
   when there are fewer non-zeros.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from compressor.encodings._tensors import (
    MAX_WEIGHTS,
    Float32Array,
    as_matrix,
    nonzero_mask,
    nonzero_positions,
)
from compressor.encodings.coo_paper import coo_paper_streams
from compressor.encodings.gaps import LONGEST, expected_fillers, split_gaps
from compressor.errors import UsageError

Streams = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Encoding:
    """A way to lay out the bytes of a float32 tensor."""

    name: str
    description: str
    _streams: Callable[[Float32Array], Streams]
    """the streams of a contiguous matrix"""
    _bytes: Callable[[int, int, float], float]
    """(rows, columns, non-zeros) -> bytes, as `expected_bytes` gives them"""

    def encode(self, tensor: Float32Array) -> Streams:
        """The streams of a float32 array (d_1, ..., d_r), r >= 1, which is not changed.

        Raises ModelError for another dtype, rank 0, or more than 2^31 - 1 weights.
        """
        return self._streams(as_matrix(tensor))

    def nbytes(self, tensor: Float32Array) -> int:
        """Exact sum of the bytes of its streams; name and shape are the container's."""
        return sum(stream.nbytes for stream in self.encode(tensor).values())

    def expected_bytes(self, shape: Sequence[int], nonzeros: float) -> float:
        """Bytes of a tensor of `shape` with `nonzeros` at uniformly random positions.

        `nonzeros` may be a fraction. Exact, but for gap8, whose bytes depend on the positions.
        Raises UsageError for a count that the shape cannot hold, or more than 2^31 - 1 weights.
        """
        check_count(shape, nonzeros)
        return self._bytes(math.prod(shape[:-1]), shape[-1], nonzeros)


def check_count(shape: Sequence[int], nonzeros: float) -> int:
    """The number of weights of `shape`, if that can hold `nonzeros`. Raises UsageError."""
    weights = math.prod(shape)
    if weights > MAX_WEIGHTS:
        raise UsageError(
            f"a tensor to encode may have at most {MAX_WEIGHTS} weights", value=repr(shape)[:80]
        )
    if not 0 <= nonzeros <= weights:
        raise UsageError(
            "a count of non-zeros must lie between 0 and the count of weights",
            value=f"{nonzeros} of {weights}",
        )
    return weights


def index_dtype(columns: int) -> np.dtype:
    """The narrowest unsigned type that holds the indices 0 to columns - 1.

    256 -> uint8, 257 -> uint16, 65536 -> uint16, 65537 -> uint32
    """
    return np.min_scalar_type(max(columns - 1, 0))


def _dense(matrix: Float32Array) -> Streams:
    """`values` float32 (weights,), row-major."""
    return {"values": np.where(nonzero_mask(matrix), matrix, np.float32(0)).reshape(-1)}


def _coo(matrix: Float32Array) -> Streams:
    """Sorted by row and then by column, k non-zeros.

    `rows` int32 (k,), `columns` int32 (k,), `values` float32 (k,)
    """
    rows, columns = nonzero_mask(matrix).nonzero()
    return {
        "rows": rows.astype(np.int32),
        "columns": columns.astype(np.int32),
        "values": matrix[rows, columns],
    }


def _csr(matrix: Float32Array) -> Streams:
    """Of the matrix (rows, columns) with k non-zeros, sorted by row, then column.

    `pointers` int32 (rows + 1,): the non-zeros of row r are those from pointers[r] up to,
        not including, pointers[r + 1]; the first is 0, the last is k
    `columns` (k,): uint8 up to 256 columns, uint16 up to 65,536, else uint32
    `values` float32 (k,)
    """
    coo = _coo(matrix)
    return {
        "pointers": np.searchsorted(coo["rows"], np.arange(len(matrix) + 1)).astype(np.int32),
        "columns": coo["columns"].astype(index_dtype(matrix.shape[1])),
        "values": coo["values"],
    }


def _bitmask(matrix: Float32Array) -> Streams:
    """Of n weights in row-major order with k non-zeros.

    `mask` uint8 (ceil(n / 8),): bit i mod 8, from the least significant, of byte i // 8 is
        1 where weight i is not zero; the bits behind the last weight are 0
    `values` float32 (k,)
    """
    mask = nonzero_mask(matrix)
    return {"mask": np.packbits(mask, bitorder="little"), "values": matrix[mask]}


def _gap8(matrix: Float32Array) -> Streams:
    """Of k non-zeros and their fillers, m entries in row-major order; see `split_gaps`.

    `gaps` uint8 (m,): how far the entry lies behind the one before it; for the first, how
        far behind position 0. So the positions are the running sum of the gaps.
    `values` float32 (m,): the weight, or +0 in a filler

    Zeros behind the last non-zero need no entry. Only the first gap can be 0.
    """
    positions = nonzero_positions(matrix)
    gaps, last = split_gaps(np.diff(positions, prepend=0), LONGEST)
    values = np.zeros(len(gaps), np.float32)
    values[last] = matrix.reshape(-1)[positions]
    return {"gaps": gaps, "values": values}


# Name -> encoding, in the order in which tables list them.
ENCODINGS: Mapping[str, Encoding] = {
    encoding.name: encoding
    for encoding in (
        Encoding(
            "dense",
            "every weight as float32, 4 bytes a weight",
            _dense,
            lambda rows, columns, nonzeros: 4.0 * rows * columns,
        ),
        Encoding(
            "coo-paper",
            "two int64 coordinates, an int32 id and a float32 value, as the paper stores them "
            "for embedding_lookup_sparse, 24 bytes a non-zero",
            coo_paper_streams,
            lambda rows, columns, nonzeros: 24.0 * nonzeros,
        ),
        Encoding(
            "coo",
            "two int32 coordinates and a float32 value, 12 bytes a non-zero",
            _coo,
            lambda rows, columns, nonzeros: 12.0 * nonzeros,
        ),
        Encoding(
            "csr",
            "int32 row pointers, a column index of 1, 2 or 4 bytes and a float32 value, "
            "5 to 8 bytes a non-zero and 4 a row",
            _csr,
            lambda rows, columns, nonzeros: (
                4.0 * (rows + 1) + (index_dtype(columns).itemsize + 4) * nonzeros
            ),
        ),
        Encoding(
            "bitmask",
            "one bit a weight, and a float32 value, 4 bytes a non-zero",
            _bitmask,
            lambda rows, columns, nonzeros: -(-rows * columns // 8) + 4.0 * nonzeros,
        ),
        Encoding(
            "gap8",
            "a uint8 gap and a float32 value, 5 bytes a non-zero or filler",
            _gap8,
            lambda rows, columns, nonzeros: (
                5.0 * (nonzeros + expected_fillers(rows * columns, nonzeros))
            ),
        ),
    )
}

"""The encodings: the bytes of a float32 tensor of which some weights are zero.

A tensor of any rank from 1 is treated as the matrix (prod(shape[:-1]), shape[-1]), in row-major
order, so the columns of a Keras kernel are its output units. A weight that equals zero, +0 or -0,
counts as pruned. Only coo-paper is ever written to a file; the others are for comparison. A new one
is a function and an entry of ENCODINGS. The tests check of each:

1. The tensor can be decoded from what `encode` gives bit for bit, with +0 for -0.
2. expected_bytes(shape, nonzeros) is the mean of `nbytes` over random positions, and never grows
   when there are fewer non-zeros.
3. `nbytes`, which encodes nothing where a count of non-zeros says it all, is the size of what
   `encode` gives.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from compressor.encodings._tensors import (
    MAX_WEIGHTS,
    Float32Array,
    Int64Array,
    as_matrix,
    nonzero_mask,
    nonzero_positions,
)
from compressor.encodings.coo_paper import coo_paper_streams
from compressor.errors import UsageError

Streams = dict[str, np.ndarray]

_LONGEST = 255
"""The longest gap that one byte holds."""


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How the bytes of a float32 tensor are laid out."""

    name: str
    description: str
    _streams: Callable[[Float32Array], Streams]
    """the streams of a contiguous matrix"""
    _bytes: Callable[[int, int, float], float]
    """(rows r, columns c, non-zeros k) -> bytes, as `expected_bytes` gives them"""
    positional: bool = False
    """whether the bytes depend on where the non-zeros are, not on their number alone"""

    def encode(self, tensor: Float32Array) -> Streams:
        """The streams of a float32 array (d_1, ..., d_r), r >= 1, which is not changed.

        Raises ModelError for another dtype, rank 0, or more than 2^31 - 1 weights.
        """
        return self._streams(as_matrix(tensor))

    def nbytes(self, tensor: Float32Array) -> int:
        """The exact bytes of its streams; name and shape are the container's.

        Raises as `encode` does.
        """
        matrix = as_matrix(tensor)
        if self.positional:
            return sum(stream.nbytes for stream in self._streams(matrix).values())
        rows, columns = matrix.shape
        return int(self._bytes(rows, columns, int(np.count_nonzero(nonzero_mask(matrix)))))

    def expected_bytes(self, shape: Sequence[int], nonzeros: float) -> float:
        """Bytes of a tensor of `shape` with `nonzeros` at uniformly random positions.

        `nonzeros` may be a fraction. Exact, but for gap8, whose bytes depend on the positions.
        Raises UsageError for a count that the shape cannot hold, or more than 2^31 - 1 weights.
        """
        check_count(shape, nonzeros)
        return self._bytes(math.prod(shape[:-1]), shape[-1], nonzeros)


def check_count(shape: Sequence[int], nonzeros: float) -> int:
    """The number of weights of `shape`. Raises UsageError if it cannot hold `nonzeros`."""
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
    gaps, last = split_gaps(np.diff(positions, prepend=0), _LONGEST)
    values = np.zeros(len(gaps), np.float32)
    values[last] = matrix.reshape(-1)[positions]
    return {"gaps": gaps, "values": values}


def split_gaps(distances: Int64Array, longest: int) -> tuple[npt.NDArray[np.uint8], Int64Array]:
    """Walk `distances` (k,) in gaps of at most `longest`, at most 255.

    Returns uint8 gaps (m,), m >= k, and the index (k,) of each distance's last gap. A distance
    d > longest takes (d - 1) // longest fillers, gaps of `longest` that lead to a zero, and the
    rest, at least 1.

    Source: Han, Mao and Dally, Deep Compression, ICLR 2016 (arXiv:1510.00149), section 2
    and figure 2, there with gaps of 8 bits for convolutions and 5 for dense layers.
    """
    fillers = np.maximum(distances - 1, 0) // longest
    last = np.arange(len(distances)) + np.cumsum(fillers)
    gaps = np.full(len(distances) + int(fillers.sum()), longest, np.uint8)
    gaps[last] = distances - fillers * longest
    return gaps, last


def expected_fillers(weights: int, nonzeros: float) -> float:
    """Fillers F that `nonzeros` k of `weights` n at random positions need for 8 bits.

    A gap D between neighbours of k random positions among n has

        P(D > m) = C(n - m, k) / C(n, k)

    and the first gap, which counts from position 0, P(D > m) (n - m - k) / (n - m). A
    gap takes one filler for every j >= 1 with D > 255 j, so

        F = k sum_{j >= 1} (1 - 1 / (n - 255 j)) C(n - 255 j, k) / C(n, k)

    which for n and k that grow at the same density d = k / n, where gaps become
    geometric, P(D > m) = (1 - d)^m, tends to

        F = k q / (1 - q),  q = (1 - d)^255

    The sum is used, since the limit is twice too large for a single non-zero. `nonzeros` may be a
    fraction.
    """
    if not nonzeros:
        return 0.0
    whole = math.lgamma(weights - nonzeros + 1) - math.lgamma(weights + 1)
    total = 0.0
    for behind in range(weights - _LONGEST, 0, -_LONGEST):
        if behind < nonzeros:
            break
        logarithm = math.lgamma(behind + 1) - math.lgamma(behind - nonzeros + 1) + whole
        term = math.exp(logarithm) * (1 - 1 / behind)
        total += term
        # Terms fall at least geometrically, so the rest is negligible.
        if term <= 1e-12 * total:
            break
    return nonzeros * total


ENCODINGS: Mapping[str, Encoding] = {
    encoding.name: encoding
    for encoding in (
        Encoding(
            "dense",
            "every weight as float32, 4 bytes a weight",
            _dense,
            lambda r, c, k: 4.0 * r * c,
        ),
        Encoding(
            "coo-paper",
            "two int64 coordinates, an int32 id and a float32 value, as the paper stores them "
            "for embedding_lookup_sparse, 24 bytes a non-zero",
            coo_paper_streams,
            lambda r, c, k: 24.0 * k,
        ),
        Encoding(
            "coo",
            "two int32 coordinates and a float32 value, 12 bytes a non-zero",
            _coo,
            lambda r, c, k: 12.0 * k,
        ),
        Encoding(
            "csr",
            "int32 row pointers, a column index of 1, 2 or 4 bytes and a float32 value, "
            "5 to 8 bytes a non-zero and 4 a row",
            _csr,
            lambda r, c, k: 4.0 * (r + 1) + (index_dtype(c).itemsize + 4) * k,
        ),
        Encoding(
            "bitmask",
            "one bit a weight, and a float32 value, 4 bytes a non-zero",
            _bitmask,
            lambda r, c, k: -(-r * c // 8) + 4.0 * k,
        ),
        Encoding(
            "gap8",
            "a uint8 gap and a float32 value, 5 bytes a non-zero or filler",
            _gap8,
            lambda r, c, k: 5.0 * (k + expected_fillers(r * c, k)),
            positional=True,
        ),
    )
}
"""Name -> encoding, in the order of the tables."""

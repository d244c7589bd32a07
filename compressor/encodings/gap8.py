"""Gaps between non-zeros in one byte, with fillers where a gap is longer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from compressor.encodings._streams import check_length, damaged
from compressor.encodings._tensors import (
    Float32Array,
    counted_shape,
    nonzero_mask,
    nonzero_positions,
)
from compressor.encodings.base import Encoding

# The longest gap of one entry.
_LONGEST = 255


class Gap8(Encoding):
    """A uint8 gap and a float32 value for every non-zero, and for every filler.

    Streams, m entries in row-major order:

    `gaps` uint8 (m,): how far the entry lies behind the one before it; for the first, how
        far behind position 0. So the positions are the running sum of the gaps.
    `values` float32 (m,): the weight, or +0 in a filler

    A gap g > 255 is walked in steps of 255 to fillers, entries that hold an explicit zero,
    until at most 255 are left: (g - 1) // 255 fillers. Zeros behind the last non-zero need
    no entry. Only the first gap can be 0, a filler's is always 255, and a filler is never
    last.

    Source: Han, Mao and Dally, Deep Compression, ICLR 2016 (arXiv:1510.00149), section 2
    and figure 2, there with gaps of 8 bits for convolutions and 5 for dense layers.
    """

    name = "gap8"
    description = "a uint8 gap and a float32 value, 5 bytes a non-zero or filler"

    def expected_bytes(self, shape: Sequence[int], nonzeros: float) -> float:
        """5 (k + F), for k non-zeros and F expected fillers.

        A gap D between neighbours of k random positions among n has

            P(D > m) = C(n - m, k) / C(n, k)

        and the first gap, which counts from position 0, P(D > m) (n - m - k) / (n - m). A
        gap takes one filler for every j >= 1 with D > 255 j, so

            F = k sum_{j >= 1} (1 - 1 / (n - 255 j)) C(n - 255 j, k) / C(n, k)

        which for n and k that grow at the same density d = k / n, where gaps become
        geometric, P(D > m) = (1 - d)^m, tends to

            F = k q / (1 - q),  q = (1 - d)^255

        The sum is used, since the limit is twice too large for a single non-zero.
        """
        rows, columns = counted_shape(shape, nonzeros)
        return 5.0 * (nonzeros + _expected_fillers(rows * columns, nonzeros))

    def _stream_types(self, columns: int) -> Mapping[str, tuple[np.dtype, int]]:
        return {"gaps": (np.dtype(np.uint8), 1), "values": (np.dtype(np.float32), 1)}

    def _encode(self, matrix: Float32Array) -> dict[str, np.ndarray]:
        positions = nonzero_positions(matrix)
        long_gaps = np.diff(positions, prepend=0)
        fillers = np.maximum(long_gaps - 1, 0) // _LONGEST
        # Where each non-zero lands, behind its own fillers and all that came before.
        entries = np.arange(len(positions)) + np.cumsum(fillers)
        count = len(positions) + int(fillers.sum())
        gaps = np.full(count, _LONGEST, np.uint8)
        gaps[entries] = long_gaps - fillers * _LONGEST
        values = np.zeros(count, np.float32)
        values[entries] = matrix.reshape(-1)[positions]
        return {"gaps": gaps, "values": values}

    def _decode(self, rows: int, columns: int, streams: Mapping[str, np.ndarray]) -> Float32Array:
        gaps, values = streams["gaps"], streams["values"]
        check_length(self.name, "gaps", gaps, len(values))
        if not len(values):
            return np.zeros(rows * columns, np.float32)
        if not gaps[1:].all():
            raise damaged(self.name, "a gap is 0 at entry", int(gaps[1:].argmin()) + 1)
        positions = np.cumsum(gaps, dtype=np.int64)
        if positions[-1] >= rows * columns:
            raise damaged(self.name, f"gaps lead past {rows * columns} weights", positions[-1])
        kept = nonzero_mask(values)
        # A filler is +0 by its bits, so that a decoded zero is.
        wrong = ~kept & ((gaps != _LONGEST) | np.signbit(values))
        wrong[-1] |= not kept[-1]
        if wrong.any():
            raise damaged(self.name, "a zero that is no filler at entry", int(wrong.argmax()))
        flat = np.zeros(rows * columns, np.float32)
        flat[positions] = values
        return flat


def _expected_fillers(weights: int, nonzeros: float) -> float:
    """F of Gap8.expected_bytes, for `nonzeros` (it may be a fraction) of `weights`."""
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
        # Terms fall at least geometrically, so what is left is too small to count.
        if term <= 1e-12 * total:
            break
    return nonzeros * total

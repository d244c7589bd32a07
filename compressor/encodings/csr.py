"""Compressed sparse rows: a pointer for every row, a column and a value for every non-zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from compressor.encodings._streams import (
    check_ascending,
    check_length,
    check_nonzero,
    check_range,
    damaged,
)
from compressor.encodings._tensors import Float32Array, counted_shape, nonzero_positions
from compressor.encodings.base import Encoding


def index_dtype(columns: int) -> np.dtype:
    """The narrowest unsigned type that holds the indices 0 to columns - 1.

    256 -> uint8, 257 -> uint16, 65536 -> uint16, 65537 -> uint32
    """
    return np.min_scalar_type(max(columns - 1, 0))


class Csr(Encoding):
    """Row pointers, and a narrow column index and a float32 value a non-zero.

    Streams, for the matrix (rows, columns) with k non-zeros, sorted by row, then column:

    `pointers` int32 (rows + 1,): the non-zeros of row r are those from pointers[r] up to,
        not including, pointers[r + 1]; the first is 0, the last is k
    `columns` (k,): uint8 up to 256 columns, uint16 up to 65,536, else uint32
    `values` float32 (k,)
    """

    name = "csr"
    description = (
        "int32 row pointers, a column index of 1, 2 or 4 bytes and a float32 value, "
        "5 to 8 bytes a non-zero and 4 a row"
    )

    def expected_bytes(self, shape: Sequence[int], nonzeros: float) -> float:
        """4 (rows + 1) + (b + 4) k, for k non-zeros and indices of b bytes; exact."""
        rows, columns = counted_shape(shape, nonzeros)
        return 4.0 * (rows + 1) + (index_dtype(columns).itemsize + 4) * nonzeros

    def _stream_types(self, columns: int) -> Mapping[str, tuple[np.dtype, int]]:
        return {
            "pointers": (np.dtype(np.int32), 1),
            "columns": (index_dtype(columns), 1),
            "values": (np.dtype(np.float32), 1),
        }

    def _encode(self, matrix: Float32Array) -> dict[str, np.ndarray]:
        rows, columns = matrix.shape
        positions = nonzero_positions(matrix)
        # Positions ascend, so a row begins where its first position would be inserted.
        starts = np.arange(rows + 1, dtype=np.int64) * columns
        pointers = np.searchsorted(positions, starts)
        offsets = np.repeat(starts[:-1], np.diff(pointers))
        return {
            "pointers": pointers.astype(np.int32),
            "columns": (positions - offsets).astype(index_dtype(columns)),
            "values": matrix.reshape(-1)[positions],
        }

    def _decode(self, rows: int, columns: int, streams: Mapping[str, np.ndarray]) -> Float32Array:
        pointers, values = streams["pointers"].astype(np.int64), streams["values"]
        check_length(self.name, "pointers", pointers, rows + 1)
        check_length(self.name, "columns", streams["columns"], len(values))
        if pointers[0] != 0 or pointers[-1] != len(values):
            raise damaged(
                self.name,
                f"pointers must run from 0 to {len(values)}",
                f"{pointers[0]} to {pointers[-1]}",
            )
        lengths = np.diff(pointers)
        if (lengths < 0).any():
            raise damaged(self.name, "pointers must not descend, row", (lengths < 0).argmax())
        check_range(self.name, "columns", streams["columns"], columns)
        positions = np.repeat(np.arange(rows, dtype=np.int64) * columns, lengths)
        positions += streams["columns"]
        check_ascending(self.name, "columns of a row", positions)
        check_nonzero(self.name, values)
        flat = np.zeros(rows * columns, np.float32)
        flat[positions] = values
        return flat

"""Coordinates: a row, a column and a value for every non-zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from compressor.encodings._streams import (
    check_ascending,
    check_length,
    check_nonzero,
    check_range,
)
from compressor.encodings._tensors import Float32Array, counted_shape, nonzero_positions
from compressor.encodings.base import Encoding


class Coo(Encoding):
    """Two int32 coordinates and a float32 value, 12 bytes a non-zero.

    Streams, sorted by row and then by column, k non-zeros:
    `rows` int32 (k,), `columns` int32 (k,), `values` float32 (k,).
    """

    name = "coo"
    description = "two int32 coordinates and a float32 value, 12 bytes a non-zero"

    def expected_bytes(self, shape: Sequence[int], nonzeros: float) -> float:
        """12 k, for k non-zeros; exact."""
        counted_shape(shape, nonzeros)
        return 12.0 * nonzeros

    def _stream_types(self, columns: int) -> Mapping[str, tuple[np.dtype, int]]:
        int32 = np.dtype(np.int32)
        return {"rows": (int32, 1), "columns": (int32, 1), "values": (np.dtype(np.float32), 1)}

    def _encode(self, matrix: Float32Array) -> dict[str, np.ndarray]:
        positions = nonzero_positions(matrix)
        # A matrix without columns has no positions, but 0 must not divide.
        rows = positions // max(matrix.shape[1], 1)
        return {
            "rows": rows.astype(np.int32),
            "columns": (positions - rows * matrix.shape[1]).astype(np.int32),
            "values": matrix.reshape(-1)[positions],
        }

    def _decode(self, rows: int, columns: int, streams: Mapping[str, np.ndarray]) -> Float32Array:
        values = streams["values"]
        for name, limit in (("rows", rows), ("columns", columns)):
            check_length(self.name, name, streams[name], len(values))
            check_range(self.name, name, streams[name], limit)
        positions = streams["rows"].astype(np.int64) * columns + streams["columns"]
        check_ascending(self.name, "coordinates", positions)
        check_nonzero(self.name, values)
        flat = np.zeros(rows * columns, np.float32)
        flat[positions] = values
        return flat

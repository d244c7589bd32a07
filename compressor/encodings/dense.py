"""Every weight, zero or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from compressor.encodings._streams import check_length
from compressor.encodings._tensors import Float32Array, counted_shape, positive_zeros
from compressor.encodings.base import Encoding


class Dense(Encoding):
    """Row-major float32 values, 4 bytes a weight.

    Stream: `values` float32 (weights,).
    """

    name = "dense"
    description = "every weight as float32, 4 bytes a weight"

    def expected_bytes(self, shape: Sequence[int], nonzeros: float) -> float:
        """4 n, for n weights, whatever the count of non-zeros; exact."""
        rows, columns = counted_shape(shape, nonzeros)
        return 4.0 * rows * columns

    def _stream_types(self, columns: int) -> Mapping[str, tuple[np.dtype, int]]:
        return {"values": (np.dtype(np.float32), 1)}

    def _encode(self, matrix: Float32Array) -> dict[str, np.ndarray]:
        return {"values": positive_zeros(matrix.reshape(-1))}

    def _decode(self, rows: int, columns: int, streams: Mapping[str, np.ndarray]) -> Float32Array:
        check_length(self.name, "values", streams["values"], rows * columns)
        return positive_zeros(streams["values"])

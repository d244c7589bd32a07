"""The sparse form of the paper: what TensorFlow's embedding_lookup_sparse takes."""

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
from compressor.encodings._tensors import (
    Float32Array,
    Int64Array,
    counted_shape,
    nonzero_positions,
)
from compressor.encodings.base import Encoding


class CooPaper(Encoding):
    """Two int64 coordinates, an int32 id and a float32 value, 24 bytes a non-zero.

    For each output unit (a column of the matrix, a row of its transpose) the list of the
    inputs that it is still connected to. Streams, sorted by output unit and then by input,
    k non-zeros:

    `indices` int64 (k, 2): the output unit, and the position in that unit's list, from 0
    `ids` int32 (k,): the input, a row of the matrix
    `values` float32 (k,): the weight

    Two SparseTensors of dense shape (units, length of the longest list) share `indices`,
    so it is stored once: one holds the ids, one the weights. For a batch x (batch, inputs)

        embedding_lookup_sparse(params=transpose(x), sp_ids=ids, sp_weights=weights,
                                combiner="sum")

    gives W^T x^T, (units, batch). A unit that has lost every input has no entry here: its
    row is 0, but TensorFlow 2.21 leaves out rows behind the last unit that has one, so the
    caller adds those.

    Source: https://www.tensorflow.org/api_docs/python/tf/nn/embedding_lookup_sparse
    """

    name = "coo-paper"
    description = (
        "two int64 coordinates, an int32 id and a float32 value, as the paper stores them "
        "for embedding_lookup_sparse, 24 bytes a non-zero"
    )

    def expected_bytes(self, shape: Sequence[int], nonzeros: float) -> float:
        """24 k, for k non-zeros; exact."""
        counted_shape(shape, nonzeros)
        return 24.0 * nonzeros

    def _stream_types(self, columns: int) -> Mapping[str, tuple[np.dtype, int]]:
        return {
            "indices": (np.dtype(np.int64), 2),
            "ids": (np.dtype(np.int32), 1),
            "values": (np.dtype(np.float32), 1),
        }

    def _encode(self, matrix: Float32Array) -> dict[str, np.ndarray]:
        inputs = len(matrix)
        transposed = np.ascontiguousarray(matrix.T)
        positions = nonzero_positions(transposed)
        indices = np.empty((len(positions), 2), np.int64)
        # A matrix without rows has no positions, but 0 must not divide.
        units = positions // max(inputs, 1)
        indices[:, 0] = units
        indices[:, 1] = _places_in_lists(units)
        return {
            "indices": indices,
            "ids": (positions - units * inputs).astype(np.int32),
            "values": transposed.reshape(-1)[positions],
        }

    def _check(self, rows: int, columns: int, streams: Mapping[str, np.ndarray]) -> None:
        indices, ids, values = streams["indices"], streams["ids"], streams["values"]
        if indices.shape[1] != 2:
            raise damaged(self.name, "indices must have 2 columns", indices.shape[1])
        check_length(self.name, "indices", indices, len(values))
        check_length(self.name, "ids", ids, len(values))
        units = np.ascontiguousarray(indices[:, 0])
        check_range(self.name, "output units", units, columns)
        check_range(self.name, "ids", ids, rows)
        check_ascending(self.name, "output units and ids", units * rows + ids)
        wrong = indices[:, 1] != _places_in_lists(units)
        if wrong.any():
            raise damaged(
                self.name, "positions in a list must count from 0, not at entry", wrong.argmax()
            )
        check_nonzero(self.name, values)

    def _decode(self, rows: int, columns: int, streams: Mapping[str, np.ndarray]) -> Float32Array:
        self._check(rows, columns, streams)
        flat = np.zeros(rows * columns, np.float32)
        flat[streams["ids"] * np.int64(columns) + streams["indices"][:, 0]] = streams["values"]
        return flat


def _places_in_lists(units: Int64Array) -> Int64Array:
    """The position of each entry in the list of its unit, for ascending `units` (k,).

    [0, 0, 0, 2, 2] -> [0, 1, 2, 0, 1]
    """
    # By the changes and not by counting each unit: a hostile shape may name very many.
    starts = np.flatnonzero(np.diff(units, prepend=-1))
    lengths = np.diff(starts, append=len(units))
    return np.arange(len(units), dtype=np.int64) - np.repeat(starts, lengths)

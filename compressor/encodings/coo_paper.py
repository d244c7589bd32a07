"""The encoding of the paper: what TensorFlow's embedding_lookup_sparse takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compressor.encodings._tensors import (
    Float32Array,
    Int64Array,
    as_matrix,
    nonzero_mask,
    nonzero_positions,
)
from compressor.errors import CheckpointError

# Name -> dtype and number of axes.
_STREAMS = {"indices": (np.int64, 2), "ids": (np.int32, 1), "values": (np.float32, 1)}


def coo_paper_streams(matrix: Float32Array) -> dict[str, np.ndarray]:
    """The streams of a contiguous `matrix`; see `SparseKernel`."""
    inputs = len(matrix)
    transposed = np.ascontiguousarray(matrix.T)
    positions = nonzero_positions(transposed)
    # A matrix without rows has no positions, but 0 must not divide.
    units = positions // max(inputs, 1)
    return {
        "indices": np.stack([units, _places_in_lists(units)], axis=1),
        "ids": (positions - units * inputs).astype(np.int32),
        "values": transposed.reshape(-1)[positions],
    }


@dataclass(frozen=True, eq=False)
class SparseKernel:
    """A kernel in the encoding coo-paper: 24 bytes a non-zero.

    For each output unit (a column of the matrix) the list of the inputs that it is still connected
    to. Streams, sorted by output unit and then by input, k non-zeros:

    `indices` int64 (k, 2): the output unit, and the position in that unit's list, from 0
    `ids` int32 (k,): the input, a row of the matrix
    `values` float32 (k,): the weight

    Two SparseTensors of dense shape (units, length of the longest list) share `indices`,
    so it is stored once: one holds the ids, one the weights. For a batch x (batch, inputs)

        embedding_lookup_sparse(params=transpose(x), sp_ids=ids, sp_weights=weights,
                                combiner="sum")

    gives W^T x^T, (units, batch). A unit that has lost every input has no entry: its row is 0, but
    TensorFlow 2.21 omits rows behind the last unit that has one, so the caller adds those.

    Source: https://www.tensorflow.org/api_docs/python/tf/nn/embedding_lookup_sparse
    """

    encoding: ClassVar[str] = "coo-paper"
    shape: tuple[int, ...]
    """of the kernel, at most 2^31 - 1 weights"""
    streams: Mapping[str, np.ndarray]
    """in the order in which they are written; in memory in the byte order of the machine"""

    @classmethod
    def encode(cls, kernel: Float32Array) -> SparseKernel:
        """Raises ModelError when `kernel` is no float32 array of at least one axis."""
        return cls(kernel.shape, coo_paper_streams(as_matrix(kernel)))

    def check(self) -> None:
        """Raise CheckpointError, in one line, when the streams are not what `encode` gives.

        They may come from a hostile file: every value is checked before it is used, and memory
        depends on the size of the streams, not on the shape.
        """
        rows, columns = math.prod(self.shape[:-1]), self.shape[-1]
        if set(self.streams) != set(_STREAMS):
            found = ", ".join(self.streams) or "none"
            raise _damaged(f"its streams must be {', '.join(_STREAMS)}", found)
        for name, (dtype, rank) in _STREAMS.items():
            stream = self.streams[name]
            if stream.dtype != dtype:
                raise _damaged(f"{name} must be {np.dtype(dtype)}", stream.dtype)
            if stream.ndim != rank:
                raise _damaged(f"{name} must have {rank} axes", stream.ndim)
        indices, ids, values = (self.streams[name] for name in _STREAMS)
        if indices.shape[1] != 2:
            raise _damaged("indices must have 2 columns", indices.shape[1])
        for name, stream in (("indices", indices), ("ids", ids)):
            if len(stream) != len(values):
                raise _damaged(f"{name} must have {len(values)} entries", len(stream))
        units = np.ascontiguousarray(indices[:, 0])
        for name, stream, limit in (("output units", units, columns), ("ids", ids, rows)):
            for extreme in (stream.min(initial=0), stream.max(initial=0)):
                if len(stream) and not 0 <= extreme < limit:
                    raise _damaged(f"{name} must lie from 0 to {limit - 1}", extreme)
        # Strictly, so that none comes twice.
        repeated = np.diff(units * rows + ids, prepend=-1) <= 0
        misplaced = indices[:, 1] != _places_in_lists(units)
        for what, wrong in (
            ("output units and ids must ascend, and do not at entry", repeated),
            ("positions in a list must count from 0, not at entry", misplaced),
            ("a zero is stored as a value at entry", ~nonzero_mask(values)),
        ):
            if wrong.any():
                raise _damaged(what, wrong.argmax())

    def dense(self) -> Float32Array:
        """The float32 kernel, of its shape; raises CheckpointError as `check` does."""
        self.check()
        kernel = np.zeros(self.shape, np.float32)
        positions = self.streams["ids"] * np.int64(self.shape[-1]) + self.streams["indices"][:, 0]
        kernel.reshape(-1)[positions] = self.streams["values"]
        return kernel


def _damaged(what: str, value: object) -> CheckpointError:
    return CheckpointError(
        f"a damaged coo-paper tensor, {what}",
        value=str(value)[:80],
        hint="the file is damaged or was not written by this program; export it again",
    )


def _places_in_lists(units: Int64Array) -> Int64Array:
    """The position of each entry in the list of its unit, for ascending `units` (k,).

    [0, 0, 0, 2, 2] -> [0, 1, 2, 0, 1]
    """
    # By the changes and not by counting each unit: a hostile shape may name very many.
    starts = np.flatnonzero(np.diff(units, prepend=-1))
    lengths = np.diff(starts, append=len(units))
    return np.arange(len(units), dtype=np.int64) - np.repeat(starts, lengths)

"""What an encoding is, and the tensor that it makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, final

import numpy as np

from compressor.encodings._streams import check_types, damaged
from compressor.encodings._tensors import Float32Array, as_matrix, matrix_shape
from compressor.errors import CheckpointError


@dataclass(frozen=True, eq=False)
class Encoded:
    """A tensor in an encoding.

    encoding: the name of the encoding
    shape: of the tensor, any rank from 1 to 32
    streams: name -> array, in the order in which they are to be written; in memory in the
        byte order of the machine, in a file little-endian

    Nothing is checked here: `Encoding.decode` checks it all.
    """

    encoding: str
    shape: tuple[int, ...]
    streams: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        object.__setattr__(self, "streams", MappingProxyType(dict(self.streams)))


class Encoding(ABC):
    """A way to lay out the bytes of a float32 tensor.

    A tensor of any rank from 1 is treated as the matrix (prod(shape[:-1]), shape[-1]), in
    row-major order, so the columns of a Keras kernel are its output units. A weight that
    equals zero, +0 or -0, counts as pruned.

    A subclass gives `name`, `description`, `_stream_types`, `_encode`, `_decode` and
    `expected_bytes`, and holds no state. Rules that the tests check on each of them:

    1. decode(encode(x)) is x bit for bit, with +0 for -0.
    2. decode takes only what encode can have written, and else raises CheckpointError.
    3. expected_bytes(shape, nonzeros) is the mean of nbytes over random positions, and
       never grows when there are fewer non-zeros.
    """

    name: ClassVar[str]
    description: ClassVar[str]

    @final
    def encode(self, tensor: Float32Array) -> Encoded:
        """Encode a float32 array (d_1, ..., d_r), r >= 1; it is not changed nor kept.

        Raises ModelError for another dtype, rank 0, or more than 2^31 - 1 weights.
        """
        streams = self._encode(as_matrix(tensor))
        for stream in streams.values():
            stream.flags.writeable = False
        return Encoded(self.name, tuple(tensor.shape), streams)

    @final
    def decode(self, encoded: Encoded) -> Float32Array:
        """The float32 array that was encoded, of its shape, bit for bit; its -0 are +0.

        `encoded` may come from a hostile file. The result has as many weights as its
        shape says, at most 2^31 - 1; a caller who knows the shape compares it first.
        Raises CheckpointError when `encoded` is not what `encode` writes.
        """
        rows, columns = self._check_types(encoded)
        try:
            matrix = self._decode(rows, columns, encoded.streams)
        except MemoryError:
            raise damaged(self.name, "no memory for its shape", encoded.shape) from None
        return matrix.reshape(encoded.shape)

    @final
    def check(self, encoded: Encoded) -> None:
        """Raise CheckpointError when `encoded` is not what `encode` writes.

        Takes no memory by the shape where the encoding can be checked without making it
        dense, which is for its subclass to say.
        """
        self._check(*self._check_types(encoded), encoded.streams)

    def _check_types(self, encoded: Encoded) -> tuple[int, int]:
        if encoded.encoding != self.name:
            raise damaged(self.name, "it is encoded as", encoded.encoding)
        rows, columns = matrix_shape(encoded.shape, CheckpointError)
        check_types(self.name, encoded.streams, self._stream_types(columns))
        return rows, columns

    def _check(self, rows: int, columns: int, streams: Mapping[str, np.ndarray]) -> None:
        """Check the values of streams of the right types; by decoding, unless overridden."""
        self._decode(rows, columns, streams)

    @final
    def nbytes(self, encoded: Encoded) -> int:
        """Exact sum of the bytes of the streams; name and shape are the container's."""
        return sum(stream.nbytes for stream in encoded.streams.values())

    @abstractmethod
    def expected_bytes(self, shape: Sequence[int], nonzeros: float) -> float:
        """Bytes of a tensor of `shape` with `nonzeros` at uniformly random positions.

        `nonzeros` may be a fraction. Where the bytes do not depend on the positions this
        is exact. Raises UsageError for a count that the shape cannot hold.
        """

    @abstractmethod
    def _stream_types(self, columns: int) -> Mapping[str, tuple[np.dtype, int]]:
        """Name -> (dtype, number of axes) of every stream, for a matrix of `columns`."""

    @abstractmethod
    def _encode(self, matrix: Float32Array) -> dict[str, np.ndarray]:
        """The streams of a contiguous `matrix`, in new arrays."""

    @abstractmethod
    def _decode(self, rows: int, columns: int, streams: Mapping[str, np.ndarray]) -> Float32Array:
        """The weights as a new array of rows * columns, flat or in any shape.

        The names, dtypes and ranks of `streams` have been checked, their contents not.
        """

"""One bit a weight, and the values of those that are not zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from compressor.encodings._streams import check_length, check_nonzero, damaged
from compressor.encodings._tensors import Float32Array, counted_shape, nonzero_mask
from compressor.encodings.base import Encoding


class Bitmask(Encoding):
    """One bit a weight, packed, and a float32 value a non-zero.

    Streams, for n weights in row-major order with k non-zeros:

    `mask` uint8 (ceil(n / 8),): bit i mod 8, from the least significant, of byte i // 8 is
        1 where weight i is not zero; the bits behind the last weight are 0
    `values` float32 (k,)
    """

    name = "bitmask"
    description = "one bit a weight, and a float32 value, 4 bytes a non-zero"

    def expected_bytes(self, shape: Sequence[int], nonzeros: float) -> float:
        """ceil(n / 8) + 4 k, for k non-zeros of n weights; exact."""
        rows, columns = counted_shape(shape, nonzeros)
        return _mask_bytes(rows * columns) + 4.0 * nonzeros

    def _stream_types(self, columns: int) -> Mapping[str, tuple[np.dtype, int]]:
        return {"mask": (np.dtype(np.uint8), 1), "values": (np.dtype(np.float32), 1)}

    def _encode(self, matrix: Float32Array) -> dict[str, np.ndarray]:
        flat = matrix.reshape(-1)
        mask = nonzero_mask(flat)
        return {"mask": np.packbits(mask, bitorder="little"), "values": flat[mask]}

    def _decode(self, rows: int, columns: int, streams: Mapping[str, np.ndarray]) -> Float32Array:
        weights, values = rows * columns, streams["values"]
        check_length(self.name, "mask", streams["mask"], _mask_bytes(weights))
        mask = np.unpackbits(streams["mask"], bitorder="little").view(np.bool_)
        if mask[weights:].any():
            raise damaged(
                self.name, "a bit is set behind the last weight, byte", streams["mask"][-1]
            )
        check_length(self.name, "values", values, int(np.count_nonzero(mask)))
        check_nonzero(self.name, values)
        flat = np.zeros(weights, np.float32)
        flat[mask[:weights]] = values
        return flat


def _mask_bytes(weights: int) -> int:
    """Bytes of one bit a weight: 8 -> 1, 9 -> 2."""
    return -(-weights // 8)

"""Telling variables of a model in a file, where converters transpose and reorder them."""

from __future__ import annotations

from typing import Any

import numpy as np

_BLOCK = 2**16
_FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
"""odd, of bits without a pattern (those of SplitMix64 and XXH64)"""


def values_of(variable: Any) -> np.ndarray:
    """The values of a Keras variable, read-only; of float32, which numpy knows, no copy."""
    if variable.dtype != "float32":
        return np.asarray(variable)
    return np.asarray(memoryview(variable.value.read_value()))


def fingerprint(values: np.ndarray) -> bytes:
    """The same 24 bytes for the same numbers, as float32, in any order and shape.

    Sums of two hashes of each number, modulo 2^64, and the count: nothing is sorted or copied.
    """
    flat = values.reshape(-1) if values.flags.c_contiguous else values.ravel(order="K")
    sums = np.zeros(2, np.uint64)
    for start in range(0, flat.size, _BLOCK):
        numbers = flat[start : start + _BLOCK].astype(np.float32) + np.float32(0)  # -0 becomes 0
        bits = numbers.view(np.uint32).astype(np.uint64) + np.uint64(1)
        for place, factor in enumerate(_FACTORS):
            mixed = bits * np.uint64(factor)
            mixed ^= mixed >> np.uint64(32)
            mixed *= np.uint64(factor)
            mixed ^= mixed >> np.uint64(29)
            sums[place : place + 1] += mixed.sum(dtype=np.uint64)
    return np.asarray([*sums, flat.size], np.uint64).tobytes()

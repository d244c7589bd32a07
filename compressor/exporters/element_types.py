"""The element types of tensors in files, and their values in memory."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class ElementType:
    """How the elements of a tensor are stored."""

    name: str
    """in lower case: float32, int8, int4, ..."""
    bits: int
    """of an element; those below 8 are packed, the first in the lowest bits; 0: variable size"""
    dtype: str = ""
    """of the array that they are read into; empty where they cannot be read"""

    def size(self, elements: int) -> int:
        """Bytes of so many elements."""
        return (elements * self.bits + 7) // 8


_NUMPY = (
    *("float16", "float32", "float64", "complex64", "complex128"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"),
)
_OTHERS = (
    ElementType("int4", 4, "int8"),
    ElementType("uint4", 4, "uint8"),
    ElementType("int2", 2, "int8"),
    ElementType("uint2", 2, "uint8"),
    ElementType("bfloat16", 16, "float32"),
    *(ElementType(f"float8_{n}", 8) for n in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0")),
    ElementType("float4_e2m1", 4),
    ElementType("string", 0),
)
ELEMENT_TYPES = {
    kind.name: kind
    for kind in (*(ElementType(n, 8 * np.dtype(n).itemsize, n) for n in _NUMPY), *_OTHERS)
}
"""Name -> type."""


def elements(content: bytes, kind: ElementType, count: int) -> np.ndarray:
    """`count` little-endian elements as an array (count,) of `kind.dtype`.

    Requires that `content` has `kind.size(count)` bytes and that the type has a dtype.
    """
    if kind.bits < 8:
        return _unpacked(np.frombuffer(content, np.uint8), kind, count)
    if kind.name == "bfloat16":
        upper = np.frombuffer(content, "<u2", count).astype(np.uint32)
        return (upper << 16).view(np.float32)
    if kind.name == "bool":
        return np.frombuffer(content, np.uint8, count) != 0
    return np.frombuffer(content, np.dtype(kind.dtype).newbyteorder("<"), count)


def _unpacked(packed: np.ndarray, kind: ElementType, count: int) -> np.ndarray:
    parts = 8 // kind.bits
    found = np.empty((packed.size, parts), np.uint8)
    for part in range(parts):
        # Up to the highest bits of a byte, then back down, so that the sign is extended.
        found[:, part] = packed << (8 - kind.bits * (part + 1))
    flat = found.reshape(-1)[:count].view(kind.dtype)
    return flat >> (8 - kind.bits)

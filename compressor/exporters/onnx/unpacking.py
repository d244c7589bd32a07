"""Nodes that take packed numbers apart at load: quotients and remainders of bytes.

Each function adds to a chain the bytes and the nodes, and returns the name of an int32 value.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from compressor.exporters.onnx.chain import Chain

_BYTE = 256


def add_numbers(chain: Chain, numbers: np.ndarray, base: int) -> str:
    """(size,) numbers below `base`, as many as fit in each byte: 8 of base 2, 5 of 3, 2 of 16."""
    in_byte = next(count for count in range(8, 0, -1) if base**count <= _BYTE)
    if in_byte == 1:
        return chain.node("Cast", chain.constant(numbers.astype(np.uint8)), to=TensorProto.INT32)
    powers = base ** np.arange(in_byte, dtype=np.int32)
    filled = np.zeros((-(-numbers.size // in_byte), in_byte), np.int32)
    filled.ravel()[: numbers.size] = numbers
    packed = (filled * powers).sum(axis=1, keepdims=True).astype(np.uint8)
    flat = flattened(chain, _digits(chain, packed, powers, base))
    return flat if filled.size == numbers.size else first(chain, flat, numbers.size)


def add_fields(chain: Chain, numbers: np.ndarray, bits: int) -> str:
    """(at least size,) numbers of `bits` bits, one after the other; behind them may be zeros."""
    if bits == 8 and not chain.uniform:
        return chain.node("Cast", chain.constant(numbers.astype(np.uint8)), to=TensorProto.INT32)
    rows = np.zeros((-(-numbers.size // 8) * 8, bits), bool)
    for bit in range(bits):
        rows[: numbers.size, bit] = numbers >> bit & 1
    size = chain.constant(np.asarray([-1, bits], np.int64))
    fields = chain.node("Reshape", add_bits(chain, rows.ravel()), size)
    return chain.node("MatMul", fields, chain.constant(2 ** np.arange(bits, dtype=np.int32)))


def add_bits(chain: Chain, bits: np.ndarray) -> str:
    """(bytes, 8) zeros and ones; the bits behind the last one are 0."""
    packed = np.packbits(bits, bitorder="little").reshape(-1, 1)
    return _digits(chain, packed, 2 ** np.arange(8, dtype=np.int32), 2)


def first(chain: Chain, value: str, size: int) -> str:
    """The first `size` values of a vector."""
    start = chain.once("0z", [0], np.int64)
    return chain.node("Slice", value, start, chain.constant(np.asarray([size], np.int64)))


def flattened(chain: Chain, value: str) -> str:
    return chain.node("Reshape", value, chain.once("0f", [-1], np.int64))


def _digits(chain: Chain, packed: np.ndarray, powers: np.ndarray, base: int) -> str:
    """(bytes, powers): the digits of each byte of (bytes, 1), the lowest first."""
    name = chr(ord("a") + base)  # below 17
    wide = chain.node("Cast", chain.constant(packed), to=TensorProto.INT32)
    quotients = chain.node("Div", wide, chain.once(f"1{name}", powers, np.int32))
    if base & (base - 1):
        return chain.node("Mod", quotients, chain.once(f"2{name}", base, np.int32))
    # In ONNX Runtime a tenth of the time of a remainder.
    return chain.node("BitwiseAnd", quotients, chain.once(f"2{name}", base - 1, np.int32))

"""What each encoding of a weight costs: bytes in the file, and time to run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from compressor.exporters.half_precision import fits_float16
from compressor.exporters.request import Quantize
from compressor.exporters.tflite import golomb
from compressor.exporters.tflite.choice import (
    GOLOMB_DECODING,
    KERNEL_BLOCKS,
    LARGE,
    SMALLER_TIME,
    VALUE_BITS,
    Candidate,
    WeightEncoding,
    encodings_for,
)
from compressor.exporters.tflite.sparsity import (
    Layout,
    filled,
    plain,
    smallest,
    smallest_blocks,
    stored_bytes,
)
from compressor.exporters.tflite.stored import SCALE_BYTES, EncodedWeight
from compressor.exporters.tflite.weight import EncodableWeight

_OPERATOR_BYTES = 120
"""of an operator with the tensor that it computes"""
_SPARSITY_BYTES = 160
"""of the tables around segments and indices"""

_BYTE = 256
_ROW_STEP = 16
"""XNNPACK computes 16 units at once: parts that are multiples waste none"""
_FEWEST_ROWS = 64
_TRIED_COUNTS = 4
"""numbers of parts; more of them have narrower segments, where fewer than 2^16 values are left"""
_PART_TIME = 11_000
"""weights of a dense float32 layer that are multiplied in the time that one more operator takes"""


def candidates(
    weight: EncodableWeight, runtime: str, quantize: Quantize, *, exact: bool = False
) -> list[Candidate]:
    """Every encoding of a weight that `runtime` executes correctly, with what it costs.

    Float16 is `exact` where that is asked for.
    """
    return [
        candidate
        for encoding in encodings_for(runtime, weight.operand, quantize)
        if _applies(encoding, weight, exact)
        for candidate in _costs(encoding, weight)
    ]


def encode(weight: EncodableWeight, candidate: Candidate) -> EncodedWeight:
    return dataclasses.replace(_valued(candidate.encoding, weight), layout=candidate.layout)


def _applies(encoding: WeightEncoding, weight: EncodableWeight, exact: bool) -> bool:
    if encoding.as_convolution and not weight.convolves:
        return False
    if encoding.values == "float16" and not fits_float16(weight.values, exact=exact):
        return False
    return weight.values.shape[-1] % KERNEL_BLOCKS.get(encoding.name, 1) == 0


def _valued(encoding: WeightEncoding, weight: EncodableWeight) -> EncodedWeight:
    """The values in the type that the encoding stores, dense."""
    if weight.operand.integer:
        axis = weight.axis if weight.operand.scales > 1 else None
        return EncodedWeight(weight.values, scale=weight.scale, axis=axis)
    if encoding.values in ("int8", "int4"):
        bits, axis = VALUE_BITS[encoding.values], weight.axis if encoding.per_channel else None
        free = not encoding.in_kernel or encoding.name == "golomb"
        if axis is not None and free and weight.one_scale_does(bits, axis):
            axis = None
        found = weight.quantized(bits, axis)
        return EncodedWeight(found.values, scale=found.scale, axis=axis, four_bits=bits == 4)
    return EncodedWeight(weight.values.astype(encoding.values))


def _costs(encoding: WeightEncoding, weight: EncodableWeight) -> Iterator[Candidate]:
    encoded = _valued(encoding, weight)
    scales = 0 if encoded.scale is None else SCALE_BYTES * len(encoded.scale)
    dequantized = encoding.values != "float32" and not weight.operand.integer
    overhead = _OPERATOR_BYTES if dequantized and not encoding.in_kernel else 0
    if not encoding.sparse:
        size = -(-weight.values.size * VALUE_BITS[encoding.values] // 8)
        yield Candidate(encoding, size + scales, overhead, encoding.time)
        return
    nonzero = encoded.values != 0
    if encoding.name == "golomb":
        if nonzero.size > golomb.MOST_VALUES:
            return
        size, decoded = golomb.stored_bytes(encoded.values), GOLOMB_DECODING * filled(nonzero, 1)
        time = encoding.time if nonzero.size >= LARGE else SMALLER_TIME
        yield Candidate(encoding, size + scales, golomb.OVERHEAD, time, decoded)
        return
    overhead += _SPARSITY_BYTES
    width = encoded.values.dtype.itemsize
    if encoding.name in KERNEL_BLOCKS:
        block = KERNEL_BLOCKS[encoding.name]
        layout = plain(nonzero.ndim, block)
        size = stored_bytes(nonzero, layout, width)
        time = encoding.time * filled(nonzero, block)
        yield Candidate(encoding, size + scales, overhead, time, layout=layout)
        return
    overhead += _OPERATOR_BYTES * (3 if encoding.as_convolution else 1)
    best = (
        smallest_blocks(nonzero, width) if encoding.name == "blocks" else smallest(nonzero, width)
    )
    if best is None:
        return
    layout, size = best
    decoded = filled(nonzero, layout.block)
    yield Candidate(encoding, size + scales, overhead, encoding.time, decoded, layout)
    if encoding.name == "csr" and (weight.convolves if encoding.as_convolution else weight.splits):
        for rows, count, layout, size in _in_parts(nonzero, width):
            yield Candidate(
                encoding,
                size + scales,
                count * (overhead + 3 * _OPERATOR_BYTES),
                encoding.time + count * _PART_TIME / weight.values.size,
                decoded,
                layout,
                rows,
            )
    if encoding.name == "csr" and weight.convolves and weight.operand.static:
        for window, some_rows, count, size in _in_windows(nonzero, width):
            yield Candidate(
                encoding,
                size + scales,
                count * (overhead + (3 if count > 1 else 1) * _OPERATOR_BYTES),
                encoding.time + (count - 1) * _PART_TIME / weight.values.size,
                decoded,
                plain(2),
                some_rows,
                window,
            )


def _in_windows(nonzero: np.ndarray, width: int) -> Iterator[tuple[int, int | None, int, int]]:
    """Divisions of the inputs of a matrix (units, inputs) so that the index of one takes a byte.

    Each is (positions, rows of a part or None, number of parts, bytes). Parts have less than 2^16
    values each, so that a segment takes two bytes.
    """
    units, columns = nonzero.shape
    window = next(n for n in range(1, columns + 1) if columns % n == 0 and columns // n <= _BYTE)
    if window == 1:
        return
    positions = nonzero.reshape(units * window, -1)
    yield window, None, 1, stored_bytes(positions, plain(2), width)
    first_count = int(np.count_nonzero(nonzero)) // 2**16 + 1
    for count in range(max(first_count, 2), first_count + _TRIED_COUNTS):
        rows = -(-units // (count * _ROW_STEP)) * _ROW_STEP
        if rows < _FEWEST_ROWS:
            return
        pieces = [
            positions[at : at + rows * window] for at in range(0, len(positions), rows * window)
        ]
        yield window, rows, len(pieces), sum(stored_bytes(p, plain(2), width) for p in pieces)


def _in_parts(nonzero: np.ndarray, width: int) -> Iterator[tuple[int, int, Layout, int]]:
    """Splits of a matrix (units, inputs) by rows, so that the index of a row takes one byte.

    Each is (rows of a part, number of parts, layout, bytes).
    """
    units = len(nonzero)
    first_count = max(-(-units // _BYTE), 2)
    for count in range(first_count, min(first_count + _TRIED_COUNTS, units // _FEWEST_ROWS + 1)):
        rows = -(-units // (count * _ROW_STEP)) * _ROW_STEP
        pieces = [nonzero[first : first + rows] for first in range(0, units, rows)]
        for layout in (Layout((1, 0)), Layout((1, 0), compressed=2)):
            size = sum(stored_bytes(piece, layout, width) for piece in pieces)
            yield rows, len(pieces), layout, size

"""What every way of storing a weight costs: bytes in the file, and time to run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from compressor.exporters.half_precision import fits_float16
from compressor.exporters.request import Quantize
from compressor.exporters.tflite.choice import KERNEL_BLOCKS, VALUE_BITS, Candidate, Way, ways
from compressor.exporters.tflite.scales import SCALE_BYTES
from compressor.exporters.tflite.sparsity import (
    Layout,
    filled,
    plain,
    smallest,
    smallest_blocks,
    stored_bytes,
)
from compressor.exporters.tflite.stored import EncodedWeight
from compressor.exporters.tflite.weight import EncodableWeight

_OPERATOR_BYTES = 120
"""of an operator with the tensor that it computes"""
_SPARSITY_BYTES = 160
"""of the tables around segments and indices"""

_BYTE_ROWS = 256
_ROW_STEP = 16
"""XNNPACK computes 16 units at once: parts that are multiples waste none"""
_FEWEST_ROWS = 64
_TRIED_COUNTS = 4
"""numbers of parts; more of them have narrower segments, where fewer than 2^16 values are left"""
_PART_TIME = 11_000
"""weights of a dense float32 layer that are multiplied in the time that one more operator takes"""


def candidates(weight: EncodableWeight, runtime: str, quantize: Quantize) -> list[Candidate]:
    """All that `runtime` executes right for a weight, with what it costs."""
    found = [
        candidate
        for way in ways(runtime, weight.operand, quantize)
        if _applies(way, weight)
        for candidate in _costs(way, weight)
    ]
    return found


def encode(weight: EncodableWeight, candidate: Candidate) -> EncodedWeight:
    """The weight as a candidate stores it."""
    return dataclasses.replace(_valued(candidate.way, weight), layout=candidate.layout)


def _applies(way: Way, weight: EncodableWeight) -> bool:
    if way.as_convolution and not weight.convolves:
        return False
    if way.values == "float16" and not fits_float16(weight.values):
        return False
    return weight.values.shape[-1] % KERNEL_BLOCKS.get(way.encoding, 1) == 0


def _valued(way: Way, weight: EncodableWeight) -> EncodedWeight:
    """The values in the type of the way, dense."""
    if weight.operand.integer:
        axis = weight.axis if weight.operand.scales > 1 else None
        return EncodedWeight(weight.values, scale=weight.scale, axis=axis)
    if way.values in ("int8", "int4"):
        axis = weight.axis if way.per_channel else None
        bits = VALUE_BITS[way.values]
        quantized = weight.quantized(bits, axis)
        return EncodedWeight(
            quantized.values, scale=quantized.scale, axis=axis, four_bits=bits == 4
        )
    return EncodedWeight(weight.values.astype(way.values))


def _costs(way: Way, weight: EncodableWeight) -> Iterator[Candidate]:
    encoded = _valued(way, weight)
    scales = 0 if encoded.scale is None else SCALE_BYTES * len(encoded.scale)
    overhead = 0
    if not way.in_kernel and not weight.operand.integer and way.values != "float32":
        overhead += _OPERATOR_BYTES
    if not way.sparse:
        size = -(-weight.values.size * VALUE_BITS[way.values] // 8)
        yield Candidate(way, size + scales, overhead, way.time)
        return
    overhead += _SPARSITY_BYTES
    nonzero = encoded.values != 0
    width = encoded.values.dtype.itemsize
    if way.encoding in KERNEL_BLOCKS:
        block = KERNEL_BLOCKS[way.encoding]
        layout = plain(nonzero.ndim, block)
        size = stored_bytes(nonzero, layout, width)
        time = way.time * filled(nonzero, block)
        yield Candidate(way, size + scales, overhead, time, layout=layout)
        return
    overhead += _OPERATOR_BYTES * (3 if way.as_convolution else 1)
    best = smallest_blocks(nonzero, width) if way.encoding == "blocks" else smallest(nonzero, width)
    if best is None:
        return
    layout, size = best
    decoded = filled(nonzero, layout.block)
    yield Candidate(way, size + scales, overhead, way.time, decoded, layout)
    if way.encoding == "csr" and (weight.convolves if way.as_convolution else weight.splits):
        for rows, count, layout, size in _in_parts(nonzero, width):
            yield Candidate(
                way,
                size + scales,
                count * (overhead + 3 * _OPERATOR_BYTES),
                way.time + count * _PART_TIME / weight.values.size,
                decoded,
                layout,
                rows,
            )


def _in_parts(nonzero: np.ndarray, width: int) -> Iterator[tuple[int, int, Layout, int]]:
    """Splits of a matrix (units, inputs) by rows, with indices of one byte into the rows.

    Each is the rows of a part, how many parts, their layout, and their bytes.
    """
    units = len(nonzero)
    first_count = max(-(-units // _BYTE_ROWS), 2)
    for count in range(first_count, min(first_count + _TRIED_COUNTS, units // _FEWEST_ROWS + 1)):
        rows = -(-units // (count * _ROW_STEP)) * _ROW_STEP
        pieces = [nonzero[first : first + rows] for first in range(0, units, rows)]
        for layout in (Layout((1, 0)), Layout((1, 0), compressed=2)):
            size = sum(stored_bytes(piece, layout, width) for piece in pieces)
            yield rows, len(pieces), layout, size

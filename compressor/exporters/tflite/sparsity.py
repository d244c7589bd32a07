"""Sparse tensors of TFLite files: which positions are stored, and how.

Each level of a traversal of the axes says which positions are stored: a DENSE level visits them
all, a SPARSE_CSR level those of its `array_indices` between two `array_segments`. Segments and
indices take 1, 2 or 4 bytes each, so the size depends on the order of the axes and on which are
compressed. Source: `SparsityParameters` in the schema of TFLite.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from compressor.exporters.tflite.schema import schema

BLOCKS = (4, 16)
"""how many values along the last axis a block may hold"""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the positions of a tensor's values are stored."""

    order: tuple[int, ...]
    """the axes as they are visited; the last ones are compressed"""
    compressed: int = 1
    """how many levels are SPARSE_CSR: 1, or 2 where whole rows of the last level may be empty"""
    block: int = 1
    """values along the last axis that are stored, or left out, as one"""


def plain(rank: int, block: int = 1) -> Layout:
    """The layout of the sparse kernels: axes in order, the last compressed."""
    return Layout(tuple(range(rank)), block=block)


def smallest(nonzero: np.ndarray, value_bytes: int) -> tuple[Layout, int]:
    """The layout without blocks that takes the fewest bytes, and how many.

    `nonzero` is bool, of the tensor's shape, of rank 1 or more; values take `value_bytes` each.
    """
    axes = range(nonzero.ndim)
    layouts = []
    for last in axes:
        others = [axis for axis in axes if axis != last]
        layouts.append(Layout((*others, last)))
        for second in others:
            first = [axis for axis in others if axis != second]
            layouts.append(Layout((*first, second, last), compressed=2))
    sizes = [stored_bytes(nonzero, layout, value_bytes) for layout in layouts]
    best = int(np.argmin(sizes))
    return layouts[best], sizes[best]


def smallest_blocks(nonzero: np.ndarray, value_bytes: int) -> tuple[Layout, int] | None:
    """The layout of blocks that takes the fewest bytes, and how many; None where none fits."""
    layouts = [plain(nonzero.ndim, block) for block in BLOCKS if nonzero.shape[-1] % block == 0]
    found = [(layout, stored_bytes(nonzero, layout, value_bytes)) for layout in layouts]
    return min(found, key=lambda pair: pair[1], default=None)


def filled(nonzero: np.ndarray, block: int) -> float:
    """The fraction of blocks of 1 x `block` that hold a value; 1.0 where blocks do not fit."""
    if not nonzero.size or nonzero.shape[-1] % block:
        return 1.0
    return float(nonzero.reshape(-1, block).any(axis=1).mean())


def stored_bytes(nonzero: np.ndarray, layout: Layout, value_bytes: int) -> int:
    """Bytes of values, segments and indices in a layout, without the tables around them."""
    kept = _kept(nonzero, layout)
    count = max(int(np.count_nonzero(kept)), 1)
    total = count * (layout.block * value_bytes + _width(kept.shape[-1] - 1))
    if layout.compressed == 1:
        rows = kept.size // max(kept.shape[-1], 1)
    else:
        rows = max(int(np.count_nonzero(kept.any(axis=-1))), 1)
        groups = kept.size // max(kept.shape[-1] * kept.shape[-2], 1)
        total += (groups + 1) * _width(rows) + rows * _width(kept.shape[-2] - 1)
    return total + (rows + 1) * _width(count)


def pack(values: np.ndarray, layout: Layout) -> tuple[np.ndarray, Any]:
    """The stored values, (stored,) in their own dtype, and their SparsityParametersT.

    `values` is of rank 1 or more. Zeros inside of a block are stored. A tensor of zeros stores one
    of them, since an empty buffer would not count as a constant.
    """
    kept = _kept(values != 0, layout).copy()
    if not kept.any():
        kept.reshape(-1)[0] = True
    ordered = values.transpose(layout.order)
    if layout.block > 1:
        ordered = ordered.reshape(*kept.shape, layout.block)
    metadata = [_dense(size) for size in kept.shape[: kept.ndim - layout.compressed]]
    metadata += _compressed_levels(kept, layout.compressed)
    order = list(layout.order)
    blocks = None
    if layout.block > 1:
        metadata.append(_dense(layout.block))
        order.append(values.ndim)
        blocks = np.asarray([values.ndim - 1], np.int32)
    parameters = schema().SparsityParametersT(
        traversalOrder=np.asarray(order, np.int32), blockMap=blocks, dimMetadata=metadata
    )
    return ordered[kept].reshape(-1), parameters


def _kept(nonzero: np.ndarray, layout: Layout) -> np.ndarray:
    """Which values, or blocks, are stored: bool, in the order of the traversal."""
    ordered = nonzero.transpose(layout.order)
    if layout.block > 1:
        *rows, last = ordered.shape
        blocks = ordered.reshape(*rows, last // layout.block, layout.block)
        return np.asarray(blocks.any(axis=-1))
    return ordered


def _compressed_levels(kept: np.ndarray, compressed: int) -> list[Any]:
    groups = kept.reshape(-1, *kept.shape[kept.ndim - compressed :])
    if compressed == 1:
        return [_compressed_level(groups)]
    rows = np.asarray(groups.any(axis=-1))
    return [_compressed_level(rows), _compressed_level(groups[rows])]


def _compressed_level(kept: np.ndarray) -> Any:
    """The DimensionMetadataT of a bool array (visits, size)."""
    counts = np.count_nonzero(kept, axis=1)
    segments, segment_type = _vector(np.concatenate([[0], np.cumsum(counts)]))
    indices, index_type = _vector(np.nonzero(kept)[1])
    return schema().DimensionMetadataT(
        format=schema().DimensionType.SPARSE_CSR,
        arraySegmentsType=segment_type,
        arraySegments=segments,
        arrayIndicesType=index_type,
        arrayIndices=indices,
    )


def _width(largest: int) -> int:
    """Bytes of the narrowest unsigned integer, of 1, 2 or 4, that holds `largest`."""
    return 1 if largest < 2**8 else 2 if largest < 2**16 else 4


def _dense(size: int) -> Any:
    return schema().DimensionMetadataT(format=schema().DimensionType.DENSE, denseSize=size)


def _vector(numbers: np.ndarray) -> tuple[Any, int]:
    """The narrowest vector of the schema for integers from 0 to 2^31 - 1, and its kind."""
    dtype = {1: "uint8", 2: "uint16", 4: "int32"}[_width(int(numbers.max(initial=0)))]
    name = f"{dtype.capitalize()}Vector"
    vector = getattr(schema(), f"{name}T")(values=numbers.astype(dtype))
    return vector, getattr(schema().SparseIndexVector, name)

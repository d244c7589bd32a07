"""The sparse tensors of a .tflite file: reading, checking and decoding SparsityParameters.

Written from the comments of the TFLite schema (table SparsityParameters), independently of what
the exporter writes, since exports are checked by it. A tensor of n dimensions, k of them cut into
blocks, is stored as n + k levels, outermost first: level l enumerates the dimension
`traversal_order[l]`; numbers from n on are blocks, and block b cuts dimension `block_map[b]`. A
level is dense, or compressed: of each element of the level above (a parent) only the positions
`indices[segments[parent]:segments[parent + 1]]` are stored.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from compressor.exporters.tflite.flatbuffer import Table, damaged

_VECTORS = {1: "int32", 2: "uint16", 3: "uint8"}
"""Union SparseIndexVector: number -> type of the values."""
_MAX_ELEMENTS = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Level:
    """One level of a sparse tensor."""

    dimension: int
    """of the tensor; or its rank plus the number of a block"""
    size: int
    """how many positions it has where it is dense"""
    stride: int
    """how many elements of the dense tensor lie between two of its positions"""
    segments: np.ndarray | None
    """int32, uint16 or uint8 (parents + 1,); None where the level is dense"""
    indices: np.ndarray | None
    """int32, uint16 or uint8 (stored,), ascending in each segment; None where it is dense"""


@dataclasses.dataclass(frozen=True)
class Sparsity:
    """How the stored values of a tensor lie in its dense form; checked as a whole."""

    traversal_order: tuple[int, ...]
    block_map: tuple[int, ...]
    levels: tuple[Level, ...]
    stored: int
    """number of values that the tensor must have"""

    @property
    def bytes(self) -> int:
        """Of all segments and indices."""
        arrays = [part for level in self.levels for part in (level.segments, level.indices)]
        return sum(array.nbytes for array in arrays if array is not None)

    @property
    def encoding(self) -> str:
        """`csr`, or the shape of its blocks such as `1x16`; `dense` where no level is compressed.

        A dimension that is not cut counts as 1.
        """
        if all(level.segments is None for level in self.levels):
            return "dense"
        rank = len(self.levels) - len(self.block_map)
        if not self.block_map:
            return "csr"
        blocks = [1] * rank
        for level in self.levels:
            if level.dimension >= rank:
                blocks[self.block_map[level.dimension - rank]] = level.size
        return "x".join(map(str, blocks))

    def positions(self) -> np.ndarray:
        """int64 (stored,): where in the flat dense tensor each stored value belongs."""
        found = np.zeros(1, np.int64)
        for level in self.levels:
            if level.segments is None or level.indices is None:
                inner = np.arange(level.size, dtype=np.int64) * level.stride
                found = (found[:, None] + inner).reshape(-1)
            else:
                lengths: np.ndarray = np.diff(level.segments.astype(np.int64))
                found = np.repeat(found, lengths) + level.indices.astype(np.int64) * level.stride
        return found


def read_sparsity(table: Table, shape: tuple[int, ...], where: str) -> Sparsity:
    """The SparsityParameters of a tensor of `shape`, checked; `where` names it in errors.

    Takes time and memory in proportion to what the file holds, not to the dense tensor. Raises
    CheckpointError.
    """
    order = tuple(int(number) for number in table.vector(0, "int32"))
    block_map = tuple(int(number) for number in table.vector(1, "int32"))
    stored_levels = table.tables(2)
    rank, count = len(shape), len(shape) + len(block_map)
    if sorted(order[:rank]) != list(range(rank)) or sorted(order[rank:]) != list(
        range(rank, count)
    ):
        raise damaged(f"{where}: the traversal order is no order of {rank} dimensions and blocks")
    if len(set(block_map)) < len(block_map) or any(not 0 <= d < rank for d in block_map):
        raise damaged(f"{where}: the block map names no, or twice the same, dimension")
    if len(stored_levels) != count:
        raise damaged(f"{where}: {len(stored_levels)} levels, not {count}")
    if math.prod(size or 1 for size in shape) > _MAX_ELEMENTS:
        raise damaged(f"{where}: {math.prod(shape)} elements")
    sizes, strides = _sizes(stored_levels, order, block_map, shape, where)
    levels: list[Level] = []
    parents = 1
    for table_, dimension in zip(stored_levels, order, strict=True):
        level = _level(table_, dimension, sizes[dimension], strides[dimension], parents, where)
        parents = parents * level.size if level.indices is None else level.indices.size
        levels.append(level)
    return Sparsity(order, block_map, tuple(levels), parents)


def _sizes(
    levels: list[Table],
    order: tuple[int, ...],
    block_map: tuple[int, ...],
    shape: tuple[int, ...],
    where: str,
) -> tuple[list[int], list[int]]:
    """Size and stride of each dimension and block, by its number."""
    rank = len(shape)
    strides = [math.prod(shape[dimension + 1 :]) for dimension in range(rank)]
    sizes = list(shape)
    dense_size = {
        number: level.integer(1, "int32") for number, level in zip(order, levels, strict=True)
    }
    for block, dimension in enumerate(block_map):
        size = dense_size[rank + block]
        if size < 1 or sizes[dimension] % size:
            raise damaged(f"{where}: blocks of {size} in a dimension of {sizes[dimension]}")
        strides.append(strides[dimension])
        sizes.append(size)
        strides[dimension] *= size
        sizes[dimension] //= size
    return sizes, strides


def _level(table: Table, dimension: int, size: int, stride: int, parents: int, where: str) -> Level:
    form = table.integer(0, "int8")
    if form == 0:
        if table.integer(1, "int32") != size:
            raise damaged(f"{where}: a level of {table.integer(1, 'int32')}, not {size}")
        return Level(dimension, size, stride, None, None)
    if form != 1:
        raise damaged(f"{where}: unknown form of a level, {form}")
    segments = _numbers(table, 2, "segments", where)
    indices = _numbers(table, 4, "indices", where)
    if segments.size != parents + 1:
        raise damaged(f"{where}: {segments.size} segments, not {parents + 1}")
    if segments[0] != 0 or int(segments[-1]) != indices.size:
        raise damaged(f"{where}: the segments do not cover the {indices.size} indices")
    if (segments[1:] < segments[:-1]).any():
        raise damaged(f"{where}: the segments do not ascend")
    if indices.size:
        if int(indices.min()) < 0 or int(indices.max()) >= size:
            raise damaged(f"{where}: an index is outside its dimension of {size}")
        first = np.zeros(indices.size + 1, bool)
        first[segments] = True
        if not (first[1:-1] | (indices[1:] > indices[:-1])).all():
            raise damaged(f"{where}: the indices of a segment do not ascend")
    return Level(dimension, size, stride, segments, indices)


def _numbers(table: Table, field: int, name: str, where: str) -> np.ndarray:
    """A union SparseIndexVector: its type in `field`, its table in the next."""
    kind, vector = table.integer(field, "uint8"), table.table(field + 1)
    if kind not in _VECTORS or vector is None:
        raise damaged(f"{where}: a compressed level without {name}")
    return vector.vector(0, _VECTORS[kind])

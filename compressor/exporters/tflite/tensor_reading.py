"""Reading a tensor of a .tflite file: its type, shape, scales and sparsity, checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from compressor.exporters.element_types import ELEMENT_TYPES, ElementType
from compressor.exporters.tflite.file_contents import Quantization, Sparsity, TFLiteTensor
from compressor.exporters.tflite.hostile import Budget, damaged_tflite
from compressor.exporters.tflite.schema import schema

_MAX_RANK = 16
_MAX_ELEMENTS = 2**31 - 1

TYPES = [
    ELEMENT_TYPES.get(name) or ElementType(name, 0)
    for name in (
        *("float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16"),
        *("complex64", "int8", "float64", "complex128", "uint64", "resource", "variant"),
        *("uint32", "uint16", "int4", "bfloat16", "int2", "uint4"),
        *("float8_e4m3fn", "float8_e5m2"),
    )
]
"""By number in the schema's enum TensorType, of which older copies know only the first."""

_EXTERNAL_BUFFER = 24
"""the place of Tensor.external_buffer, which older copies of the schema do not name"""

_VECTORS = {1: "Int32Vector", 2: "Uint16Vector", 3: "Uint8Vector"}
"""Union SparseIndexVector: number -> table."""


def read_tensor(tensor: Any, buffers: list[tuple[int, int]], budget: Budget) -> TFLiteTensor:
    """A table Tensor; `buffers` are the first byte and the length of each table Buffer.

    Raises CheckpointError where a constant's values do not fit its shape, type or sparsity.
    """
    from flatbuffers.number_types import Uint32Flags

    name = budget.text(tensor.Name())
    where = f"tensor {name[:80]!r}"
    number, place = tensor.Type(), tensor.Buffer()
    if not 0 <= number < len(TYPES):
        raise damaged_tflite(f"{where}: unknown type {number}")
    kind = TYPES[number]
    shape = tuple(budget.numbers(tensor.ShapeAsNumpy()).tolist())
    if len(shape) > _MAX_RANK:
        raise damaged_tflite(f"{where}: {len(shape)} dimensions")
    # Some writers leave the buffers out of a file without constants.
    if place >= max(len(buffers), 1):
        raise damaged_tflite(f"{where}: buffer {place} of {len(buffers)}")
    data = buffers[place] if buffers else (0, 0)
    parameters = tensor.Sparsity()
    external = tensor._tab.GetSlot(_EXTERNAL_BUFFER, 0, Uint32Flags) != 0
    constant = data[1] > 0 or parameters is not None
    quantization = _quantization(tensor.Quantization(), shape, where, constant, budget)
    if not constant:
        signature = tuple(budget.numbers(tensor.ShapeSignatureAsNumpy()).tolist())
        known = signature if len(signature) == len(shape) else shape
        free = tuple(None if size < 0 else size for size in known)
        return TFLiteTensor(name, free, kind, (0, 0), quantization, None, external)
    if min(shape, default=0) < 0 or math.prod(size or 1 for size in shape) > _MAX_ELEMENTS:
        raise damaged_tflite(f"{where}: a constant of shape {list(shape)}")
    sparsity = None if parameters is None else read_sparsity(parameters, shape, where, budget)
    count = math.prod(shape) if sparsity is None else sparsity.stored
    if kind.bits and data[1] != kind.size(count):
        raise damaged_tflite(f"{where}: {data[1]} bytes for {count} values of {kind.name}")
    return TFLiteTensor(name, shape, kind, data, quantization, sparsity, external)


def _quantization(
    parameters: Any, shape: tuple[int, ...], where: str, constant: bool, budget: Budget
) -> Quantization | None:
    """The scales of a tensor; those of a constant must fit its shape."""
    if parameters is None:
        return None
    scale = budget.numbers(parameters.ScaleAsNumpy())
    zero_point = budget.numbers(parameters.ZeroPointAsNumpy())
    dimension = parameters.QuantizedDimension()
    if not scale.size:
        return None
    if zero_point.size not in (0, 1, scale.size):
        raise damaged_tflite(f"{where}: {zero_point.size} zero points for {scale.size} scales")
    if constant and scale.size > 1 and shape[dimension : dimension + 1] != (scale.size,):
        reason = f"{scale.size} scales in dimension {dimension} of {list(shape)}"
        raise damaged_tflite(f"{where}: {reason}")
    return Quantization(scale, zero_point, dimension)


def read_sparsity(parameters: Any, shape: tuple[int, ...], where: str, budget: Budget) -> Sparsity:
    """The SparsityParameters of a tensor of `shape`, checked; `where` names it in errors.

    After the comments of the TFLite schema, independently of what the exporter writes. A tensor of
    n dimensions, k of them cut into blocks, is stored as n + k levels, outermost first: level l
    enumerates the dimension `traversal_order[l]`; numbers from n on are blocks, and block b cuts
    dimension `block_map[b]`. A level is dense, or compressed: of each element of the level above (a
    parent) only the positions `indices[segments[parent]:segments[parent + 1]]` are stored.

    Time and memory are in proportion to the file, not to the dense tensor. Raises CheckpointError.
    """
    order = budget.numbers(parameters.TraversalOrderAsNumpy()).tolist()
    block_map = budget.numbers(parameters.BlockMapAsNumpy()).tolist()
    levels = list(budget.tables(parameters, "DimMetadata"))
    rank, count = len(shape), len(shape) + len(block_map)
    if [*sorted(order[:rank]), *sorted(order[rank:])] != list(range(count)):
        reason = f"the traversal order is no order of {rank} dimensions and blocks"
        raise damaged_tflite(f"{where}: {reason}")
    if len(set(block_map)) < len(block_map) or any(not 0 <= d < rank for d in block_map):
        raise damaged_tflite(f"{where}: the block map names no, or twice the same, dimension")
    if len(levels) != count:
        raise damaged_tflite(f"{where}: {len(levels)} levels, not {count}")
    sizes, blocks = list(shape), [1] * rank
    of_dimension = dict(zip(order, levels, strict=True))
    for number, dimension in enumerate(block_map, rank):
        block = of_dimension[number].DenseSize()
        if block < 1 or sizes[dimension] % block:
            raise damaged_tflite(f"{where}: blocks of {block} in a dimension of {sizes[dimension]}")
        sizes[dimension] //= block
        sizes.append(block)
        blocks[dimension] = block
    stored, held, compressed = 1, 0, False
    for dimension, level in of_dimension.items():
        size = sizes[dimension]
        if level.Format() == 0:
            if level.DenseSize() != size:
                raise damaged_tflite(f"{where}: a level of {level.DenseSize()}, not {size}")
            stored *= size
        elif level.Format() == 1:
            segments, indices = _compressed(level, size, stored, where, budget)
            stored, compressed = indices.size, True
            held += segments.nbytes + indices.nbytes
        else:
            raise damaged_tflite(f"{where}: unknown format of a level, {level.Format()}")
    encoding = "x".join(map(str, blocks)) if block_map else "csr"
    return Sparsity(encoding if compressed else "dense", held, stored)


def _compressed(
    level: Any, size: int, parents: int, where: str, budget: Budget
) -> tuple[np.ndarray, np.ndarray]:
    """Segments (parents + 1,) and indices (stored,) of a compressed level of `size` positions."""
    segments, indices = (
        _positions(kind, vector, name, where, budget)
        for kind, vector, name in (
            (level.ArraySegmentsType(), level.ArraySegments(), "segments"),
            (level.ArrayIndicesType(), level.ArrayIndices(), "indices"),
        )
    )
    if segments.size != parents + 1:
        raise damaged_tflite(f"{where}: {segments.size} segments, not {parents + 1}")
    if segments[0] != 0 or int(segments[-1]) != indices.size:
        raise damaged_tflite(f"{where}: the segments do not cover the {indices.size} indices")
    if (segments[1:] < segments[:-1]).any():
        raise damaged_tflite(f"{where}: the segments do not ascend")
    if indices.size:
        if int(indices.min()) < 0 or int(indices.max()) >= size:
            raise damaged_tflite(f"{where}: an index is outside its dimension of {size}")
        first = np.zeros(indices.size + 1, bool)
        first[segments] = True
        if not (first[1:-1] | (indices[1:] > indices[:-1])).all():
            raise damaged_tflite(f"{where}: the indices of a segment do not ascend")
    return segments, indices


def _positions(kind: int, vector: Any, name: str, where: str, budget: Budget) -> np.ndarray:
    if kind not in _VECTORS or vector is None:
        raise damaged_tflite(f"{where}: a compressed level without {name}")
    table = getattr(schema(), _VECTORS[kind])()
    table.Init(vector.Bytes, vector.Pos)
    return budget.numbers(table.ValuesAsNumpy())

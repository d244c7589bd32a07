"""Reading a tensor of a .tflite file: its type, shape, scales and sparse form, checked.

Tables and field numbers are those of the public TFLite schema, version 3.
"""

from __future__ import annotations

import math

from compressor.exporters.element_types import BFLOAT16, PACKED, PLAIN, STRING, ElementType
from compressor.exporters.tflite.file_contents import Quantization, Shape, TFLiteTensor
from compressor.exporters.tflite.flatbuffer import Table, damaged
from compressor.exporters.tflite.sparsity_reading import read_sparsity

_MAX_RANK = 16
_MAX_ELEMENTS = 2**31 - 1

TYPES: dict[int, ElementType] = {
    0: PLAIN["float32"],
    1: PLAIN["float16"],
    2: PLAIN["int32"],
    3: PLAIN["uint8"],
    4: PLAIN["int64"],
    5: STRING,
    6: PLAIN["bool"],
    7: PLAIN["int16"],
    8: PLAIN["complex64"],
    9: PLAIN["int8"],
    10: PLAIN["float64"],
    11: PLAIN["complex128"],
    12: PLAIN["uint64"],
    13: ElementType("resource", 0),
    14: ElementType("variant", 0),
    15: PLAIN["uint32"],
    16: PLAIN["uint16"],
    17: PACKED["int4"],
    18: BFLOAT16,
    19: PACKED["int2"],
    20: PACKED["uint4"],
    21: ElementType("float8_e4m3fn", 8),
    22: ElementType("float8_e5m2", 8),
}
"""Number in the schema's enum TensorType -> type."""


def where_is(name: str) -> str:
    """How an error names a tensor."""
    return f"tensor {name[:80]!r}"


def read_tensor(table: Table, buffers: list[tuple[int, int]]) -> TFLiteTensor:
    """A table Tensor; `buffers` are the first byte and the length of each table Buffer.

    Raises CheckpointError where a constant's values do not fit its shape, type or sparse form.
    """
    name = table.text(3)
    where = where_is(name)
    number = table.integer(1, "int8")
    if number not in TYPES:
        raise damaged(f"{where}: unknown type {number}")
    kind = TYPES[number]
    shape = tuple(int(size) for size in table.vector(0, "int32"))
    if len(shape) > _MAX_RANK:
        raise damaged(f"{where}: {len(shape)} dimensions")
    place = table.integer(2, "uint32")
    # Some writers leave the buffers out of a file without constants.
    if place >= max(len(buffers), 1):
        raise damaged(f"{where}: buffer {place} of {len(buffers)}")
    data = buffers[place] if buffers else (0, 0)
    stored_sparsity = table.table(6)
    external = table.integer(10, "uint32") != 0
    if not data[1] and stored_sparsity is None:
        return TFLiteTensor(
            name, _free_shape(table, shape), kind, (0, 0), _quantization(table, ()), None, external
        )
    if any(size < 0 for size in shape) or math.prod(size or 1 for size in shape) > _MAX_ELEMENTS:
        raise damaged(f"{where}: a constant of shape {list(shape)}")
    sparsity = None if stored_sparsity is None else read_sparsity(stored_sparsity, shape, where)
    count = math.prod(shape) if sparsity is None else sparsity.stored
    if kind.bits and data[1] != kind.size(count):
        raise damaged(f"{where}: {data[1]} bytes for {count} values of {kind.name}")
    quantization = _quantization(table, shape, where)
    return TFLiteTensor(name, shape, kind, data, quantization, sparsity, external)


def _free_shape(table: Table, shape: tuple[int, ...]) -> Shape:
    signature = tuple(int(size) for size in table.vector(7, "int32"))
    known = signature if len(signature) == len(shape) else shape
    return tuple(None if size < 0 else size for size in known)


def _quantization(table: Table, shape: tuple[int, ...], where: str = "") -> Quantization | None:
    """The scales of a tensor; those of a constant (with `where`) must fit its shape."""
    stored = table.table(4)
    if stored is None:
        return None
    scale, zero_point = stored.vector(2, "float32"), stored.vector(3, "int64")
    dimension = stored.integer(6, "int32")
    if not scale.size:
        return None
    if zero_point.size not in (0, 1, scale.size):
        raise damaged(f"{where}: {zero_point.size} zero points for {scale.size} scales")
    if where and scale.size > 1 and shape[dimension : dimension + 1] != (scale.size,):
        raise damaged(f"{where}: {scale.size} scales in dimension {dimension} of {list(shape)}")
    return Quantization(scale, zero_point, dimension)

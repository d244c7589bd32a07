"""Reading a .tflite file as data, without a runtime: what it holds, and its constants' values.

The file is hostile until it is checked. Every offset, length, number of a tensor and sparse
position is checked before it is used, and what a file can make us do is bounded by its size.
Tables and field numbers are those of the public TFLite schema, version 3. What comes out is
described in `file_contents`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from compressor.errors import CheckpointError
from compressor.exporters.element_types import elements
from compressor.exporters.tflite.file_contents import (
    Signature,
    Subgraph,
    TFLiteFile,
    TFLiteOperator,
    TFLiteTensor,
)
from compressor.exporters.tflite.flatbuffer import Flatbuffer, Table, damaged
from compressor.exporters.tflite.tensor_reading import read_tensor, where_is

IDENTIFIER = b"TFL3"
_IDENTIFIER_END = 8
_MAX_BYTES = 2**31 - 1

_OVERLAP = 2
"""How many times its own bytes a file may hold in buffers that overlap; honest ones do not."""

_DENSE_FLOOR = 2**26
_DENSE_RATIO = 2**10
"""A tensor is made dense up to this many bytes for each byte of the file, or up to the floor: more
than any honest sparse tensor needs, and not gigabytes from a few bytes."""


def read_tflite(content: bytes) -> TFLiteFile:
    """Read the bytes of a .tflite file; constants are checked, but not made dense.

    Raises CheckpointError when it is none, or damaged: one line that says what is wrong where.
    """
    if len(content) < _IDENTIFIER_END or content[4:_IDENTIFIER_END] != IDENTIFIER:
        raise CheckpointError("this is not a TFLite file", value="its identifier is not TFL3")
    if len(content) > _MAX_BYTES:
        raise CheckpointError("the TFLite file is too large to read", value=f"{len(content)} bytes")
    buffer = Flatbuffer(content)
    model = buffer.root()
    version = model.integer(0, "uint32")
    if version != 3:
        raise damaged(f"version {version} of the schema, not 3")
    name_of = _builtin_names()
    buffers = [_buffer_span(buffer, table) for table in model.tables(4)]
    _check_overlap(buffers, len(content))
    codes = [_operator_code(table, name_of) for table in model.tables(1)]
    subgraphs = tuple(_subgraph(table, codes, buffers) for table in model.tables(2))
    if not subgraphs:
        raise damaged("it has no subgraph")
    signatures = tuple(_signature(table, subgraphs) for table in model.tables(7))
    return TFLiteFile(content, subgraphs, signatures)


def decode(file: TFLiteFile, tensor: TFLiteTensor) -> np.ndarray:
    """The stored values of a constant, in its dense shape; what is not stored is zero.

    The array has the tensor's own type (integers are not scaled); int4, int2 and uint4 come as
    int8 or uint8, bfloat16 as float32. Raises CheckpointError for what is no constant, has a type
    without arrays, or would be far larger than an honest file's.
    """
    if not tensor.is_constant or not tensor.type.dtype:
        raise CheckpointError(
            "the tensor has no values to decode", value=f"{tensor.name!r}, {tensor.type.name}"
        )
    size = tensor.elements * np.dtype(tensor.type.dtype).itemsize
    if size > max(_DENSE_FLOOR, _DENSE_RATIO * len(file.content)):
        raise damaged(f"{where_is(tensor.name)}: {size} bytes when dense")
    values = stored_values(file, tensor)
    shape = tuple(size or 0 for size in tensor.shape)
    if tensor.sparsity is None:
        return values.reshape(shape)
    dense = np.zeros(tensor.elements, values.dtype)
    dense[tensor.sparsity.positions()] = values
    return dense.reshape(shape)


def stored_values(file: TFLiteFile, tensor: TFLiteTensor) -> np.ndarray:
    """The values of a constant as the file stores them, (stored,): of a sparse one not all."""
    start, size = tensor.data
    count = tensor.elements if tensor.sparsity is None else tensor.sparsity.stored
    return elements(file.content[start : start + size], tensor.type, count)


def _operator_code(table: Table, name_of: Callable[[int], str]) -> tuple[str, int, bool]:
    """Name, version, and whether it is a custom operator."""
    # Codes beyond 127 do not fit the first field; older files have only that.
    code = max(table.integer(0, "int8"), table.integer(3, "int32"))
    custom = name_of(code) == "CUSTOM"
    return table.text(1) if custom else name_of(code), table.integer(2, "int32", 1), custom


def _buffer_span(buffer: Flatbuffer, table: Table) -> tuple[int, int]:
    offset = table.integer(1, "uint64")
    if offset <= 1:  # 0 and 1 stand for "inside the flatbuffer"
        return table.span(0)
    # Of a file beyond 2 GB the values lie behind the flatbuffer.
    size = table.integer(2, "uint64")
    buffer.check(offset, size)
    return offset, size


def _check_overlap(buffers: list[tuple[int, int]], size: int) -> None:
    """Refuse a file whose buffers overlap so much that looking at all would take long."""
    held = sum(length for _, length in set(buffers))
    if held > _OVERLAP * size:
        raise damaged(f"its buffers hold {held} bytes, the file {size}")


def _subgraph(
    table: Table, codes: list[tuple[str, int, bool]], buffers: list[tuple[int, int]]
) -> Subgraph:
    tensors = tuple(read_tensor(part, buffers) for part in table.tables(0))
    operators = []
    for part in table.tables(3):
        code = part.integer(0, "uint32")
        if code >= len(codes):
            raise damaged(f"an operator has the code {code} of {len(codes)}")
        name, version, custom = codes[code]
        inputs, outputs = (_numbers(part, field, len(tensors), lowest=-1) for field in (1, 2))
        operators.append(TFLiteOperator(name, version, inputs, outputs, custom))
    inputs, outputs = (_numbers(table, field, len(tensors)) for field in (1, 2))
    return Subgraph(table.text(4), tensors, tuple(operators), inputs, outputs)


def _numbers(table: Table, field: int, count: int, lowest: int = 0) -> tuple[int, ...]:
    """Numbers of tensors, each from `lowest` to below `count`."""
    found = table.vector(field, "int32")
    if found.size and (int(found.min()) < lowest or int(found.max()) >= count):
        raise damaged(f"tensor {found.max() if found.max() >= count else found.min()} of {count}")
    return tuple(int(number) for number in found)


def _signature(table: Table, subgraphs: tuple[Subgraph, ...]) -> Signature:
    key, number = table.text(2), table.integer(4, "uint32")
    if number >= len(subgraphs):
        raise damaged(f"a signature of subgraph {number} of {len(subgraphs)}")
    count = len(subgraphs[number].tensors)
    maps = []
    for field in (0, 1):
        found = {part.text(0): part.integer(1, "uint32") for part in table.tables(field)}
        if any(tensor >= count for tensor in found.values()):
            raise damaged(f"a signature names tensor {max(found.values())} of {count}")
        maps.append(found)
    return Signature(key, number, *maps)


def _builtin_names() -> Callable[[int], str]:
    """A function from the number of a builtin operator to its name in the schema."""
    try:
        from ai_edge_litert.schema_py_generated import BuiltinOperator
    except ImportError:  # the package is not there on every platform; the numbers are
        known: dict[int, str] = {32: "CUSTOM"}
    else:
        known = {code: name for name, code in vars(BuiltinOperator).items() if name.isupper()}
    return lambda code: known.get(code, f"BUILTIN_{code}")

"""Reading a .tflite file as data, without a runtime, into the classes of `file_contents`.

The file may be hostile: every offset, length, tensor index and sparse position is checked before
it is used, and the work is bounded by the size of the file.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from compressor.errors import CheckpointError
from compressor.exporters.element_types import elements
from compressor.exporters.tflite.decode_codes import OPERATOR
from compressor.exporters.tflite.decode_reading import decoded
from compressor.exporters.tflite.file_contents import (
    Decoded,
    Subgraph,
    TFLiteFile,
    TFLiteOperator,
    TFLiteTensor,
)
from compressor.exporters.tflite.hostile import Budget, damaged_tflite
from compressor.exporters.tflite.schema import builtin_name, schema
from compressor.exporters.tflite.tensor_reading import read_tensor
from compressor.exporters.tflite.variable_reading import decoded_variables

IDENTIFIER = b"TFL3"

_OVERLAP = 2
"""How many times its own bytes a file may hold in buffers that overlap; honest ones do not."""


def read_tflite(content: bytes) -> TFLiteFile:
    """Read the bytes of a .tflite file; constants are checked, but not made dense.

    What TFLite Micro's operator TFLM_DECODE decodes is decoded, since only that checks it, and so
    are weights that the first run decodes into variables, as far as they are ours.

    Raises CheckpointError, in one line that says what is wrong and where.
    """
    if content[4:8] != IDENTIFIER:
        raise CheckpointError("this is not a TFLite file", value="its identifier is not TFL3")
    try:
        return _read(content, Budget(len(content)))
    except (struct.error, ValueError, TypeError, IndexError, OverflowError) as error:
        raise damaged_tflite("an offset or a length leads out of the file") from error


def _read(content: bytes, budget: Budget) -> TFLiteFile:
    model = schema().Model.GetRootAs(content)
    if model.Version() != 3:
        raise damaged_tflite(f"version {model.Version()} of the schema, not 3")
    buffers = [_buffer_span(table, len(content)) for table in budget.tables(model, "Buffers")]
    # Buffers that overlap much would take long to look at.
    held = sum(length for _, length in set(buffers))
    if held > _OVERLAP * len(content):
        raise damaged_tflite(f"its buffers hold {held} bytes, the file {len(content)}")
    codes = [_operator_code(table, budget) for table in budget.tables(model, "OperatorCodes")]
    subgraphs = tuple(
        _subgraph(table, codes, buffers, budget, content)
        for table in budget.tables(model, "Subgraphs")
    )
    if not subgraphs:
        raise damaged_tflite("it has no subgraph")
    if any(operator.name == "CALL_ONCE" for operator in subgraphs[0].operators):
        subgraphs = _with_variables(content, subgraphs)
    signatures = tuple(
        _signature(table, subgraphs, budget) for table in budget.tables(model, "SignatureDefs")
    )
    return TFLiteFile(content, subgraphs, signatures)


def stored_values(file: TFLiteFile, tensor: TFLiteTensor) -> np.ndarray:
    """The values of a constant that the file stores, (stored,), not scaled.

    int4, int2 and uint4 become int8 or uint8, bfloat16 float32. Requires a constant of a type that
    has a dtype.
    """
    start, size = tensor.data
    count = tensor.elements if tensor.sparsity is None else tensor.sparsity.stored
    return elements(file.content[start : start + size], tensor.type, count)


def _operator_code(code: Any, budget: Budget) -> tuple[str, int, bool]:
    """Name, version, and whether it is a custom operator."""
    name = builtin_name(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    custom = name == "CUSTOM"
    return budget.text(code.CustomCode()) if custom else name, code.Version(), custom


def _buffer_span(buffer: Any, file_size: int) -> tuple[int, int]:
    """First byte and number of bytes of a buffer's data; (0, 0) where it has none."""
    start, size = buffer.Offset(), buffer.Size()
    if start <= 1:  # 0 and 1 stand for "inside the flatbuffer"; else they are behind it
        table = buffer._tab
        field = table.Offset(4)
        start, size = (table.Vector(field), table.VectorLen(field)) if field else (0, 0)
    if start + size > file_size:
        raise damaged_tflite(f"{size} bytes at byte {start} of {file_size}")
    return start, size


def _subgraph(
    graph: Any,
    codes: list[tuple[str, int, bool]],
    buffers: list[tuple[int, int]],
    budget: Budget,
    content: bytes,
) -> Subgraph:
    tensors = tuple(
        read_tensor(table, buffers, budget) for table in budget.tables(graph, "Tensors")
    )

    def numbers(vector: Any, lowest: int = 0) -> tuple[int, ...]:
        found = tuple(budget.numbers(vector).tolist())
        for number in found:
            if not lowest <= number < len(tensors):
                raise damaged_tflite(f"tensor {number} of {len(tensors)}")
        return found

    operators = []
    for operator in budget.tables(graph, "Operators"):
        code = operator.OpcodeIndex()
        if code >= len(codes):
            raise damaged_tflite(f"an operator has the code {code} of {len(codes)}")
        name, version, custom = codes[code]
        inputs = numbers(operator.InputsAsNumpy(), -1)
        outputs = numbers(operator.OutputsAsNumpy(), -1)
        operators.append(TFLiteOperator(name, version, inputs, outputs, custom))
    inputs, outputs = numbers(graph.InputsAsNumpy()), numbers(graph.OutputsAsNumpy())
    found = tuple(_decoded(tensors, operators, budget, content))
    return Subgraph(tensors, tuple(operators), inputs, outputs, found)


def _decoded(
    tensors: tuple[TFLiteTensor, ...],
    operators: list[TFLiteOperator],
    budget: Budget,
    content: bytes,
) -> Iterator[Decoded]:
    """What the operators TFLM_DECODE give: each reads two constants for each of its outputs."""
    for operator in operators:
        if not operator.custom or operator.name != OPERATOR:
            continue
        inputs, outputs = operator.inputs, operator.outputs
        if not outputs or len(inputs) != 2 * len(outputs) or min(*inputs, *outputs) < 0:
            reason = f"{OPERATOR} with {len(inputs)} inputs and {len(outputs)} outputs"
            raise damaged_tflite(reason)
        for place, output in enumerate(outputs):
            parts: list[bytes] = []
            for number in inputs[2 * place : 2 * place + 2]:
                start, size = tensors[number].data
                if not size:
                    raise damaged_tflite(f"{OPERATOR} reads tensor {number}, which is no constant")
                parts.append(budget.data(content, start, size))
            encoding, values = decoded(parts[0], parts[1], tensors[output])
            yield Decoded(output, encoding, sum(map(len, parts)), values)


def _with_variables(content: bytes, subgraphs: tuple[Subgraph, ...]) -> tuple[Subgraph, ...]:
    number, found = decoded_variables(content)
    if not found:
        return subgraphs
    changed = [*subgraphs]
    changed[0] = dataclasses.replace(changed[0], decoded=changed[0].decoded + found)
    changed[number] = dataclasses.replace(changed[number], decodes=True)
    return tuple(changed)


def _signature(signature: Any, subgraphs: tuple[Subgraph, ...], budget: Budget) -> str:
    number = signature.SubgraphIndex()
    if number >= len(subgraphs):
        raise damaged_tflite(f"a signature of subgraph {number} of {len(subgraphs)}")
    count = len(subgraphs[number].tensors)
    for field in ("Inputs", "Outputs"):
        for entry in budget.tables(signature, field):
            if entry.TensorIndex() >= count:
                raise damaged_tflite(f"a signature names tensor {entry.TensorIndex()} of {count}")
    return budget.text(signature.SignatureKey())

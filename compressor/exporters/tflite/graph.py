"""TFLite graphs as objects: reading, changing and writing them.

A graph is the `ModelT` of the flatbuffer schema's object API (`schema()`); tensors, operators
and buffers refer to each other by their positions in lists. The index of a tensor never changes:
`add_tensor` appends, and `write_graph` drops what nothing refers to from a copy. Buffer 0 is empty,
as the specification demands; tensors that are no constants refer to it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from compressor.exporters.element_types import ELEMENT_TYPES, elements
from compressor.exporters.tflite.schema import (
    builtin_name,
    indices as indices,
    names,
    schema as schema,
    text as text,
)
from compressor.exporters.tflite.writing import copied as copied, write_graph as write_graph


def read_graph(content: bytes) -> Any:
    """The ModelT of a file of our own, unchecked; constants are read-only views of `content`."""
    return schema().ModelT.InitFromPackedBuf(bytearray(content))


def main(graph: Any) -> Any:
    """The subgraph that an interpreter runs; others are bodies of loops and branches."""
    return graph.subgraphs[0]


def views(graph: Any) -> list[Any]:
    """A graph for each subgraph in which that one is the main one.

    Subgraphs, buffers and operator codes are those of `graph`: what changes a view changes it. A
    view cannot be written, since operators name subgraphs by their numbers.
    """
    found = []
    for subgraph in graph.subgraphs:
        view = copy.copy(graph)
        view.subgraphs = [subgraph]
        found.append(view)
    return found


def operator_name(graph: Any, operator: Any) -> str:
    """The name of an operator in the schema, such as FULLY_CONNECTED; CUSTOM for any other."""
    return code_name(graph.operatorCodes[operator.opcodeIndex])


def code_name(code: Any) -> str:
    return builtin_name(code.builtinCode, code.deprecatedBuiltinCode)


def type_name(tensor: Any) -> str:
    """Such as FLOAT32 or INT4."""
    return names("TensorType")[tensor.type]


def name_of(graph: Any, index: int) -> str:
    """The name of a tensor of the main subgraph, empty where it has none."""
    return text(main(graph).tensors[index].name)


def signature(tensor: Any) -> np.ndarray:
    """The shape of a tensor, int32, with -1 for sizes known only at run time."""
    sizes = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
    return np.array([] if sizes is None else sizes, np.int32)


def has_images(graph: Any, operator: Any) -> bool:
    """Whether the file says four sizes of what an operator takes and gives, as it need not."""
    first, result = (indices(side)[0] for side in (operator.inputs, operator.outputs))
    shapes = (main(graph).tensors[index].shape for index in (first, result))
    return all(shape is not None and len(shape) == 4 for shape in shapes)


def operator_code(graph: Any, name: str, version: int = 1) -> int:
    """The position of an operator code in graph.operatorCodes, which is added if missing."""
    for position, code in enumerate(graph.operatorCodes):
        if code_name(code) == name and code.version == version and code.customCode is None:
            return position
    number = getattr(schema().BuiltinOperator, name)
    placeholder = schema().BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES
    code = schema().OperatorCodeT(
        deprecatedBuiltinCode=min(number, placeholder), version=version, builtinCode=number
    )
    graph.operatorCodes.append(code)
    return len(graph.operatorCodes) - 1


def constant(graph: Any, index: int, subgraph: int = 0) -> np.ndarray | None:
    """The values of a dense constant tensor, of its shape and type (int8 where it has 4 bits).

    None for a tensor that is computed, sparse, or of a type without numbers, and for the index -1
    of an input that is left out. The array is read-only.
    """
    if index < 0:
        return None
    tensor = graph.subgraphs[subgraph].tensors[index]
    data = graph.buffers[tensor.buffer].data
    if data is None or not len(data) or tensor.sparsity is not None or tensor.isVariable:
        return None
    shape = () if tensor.shape is None else tuple(int(size) for size in tensor.shape)
    raw = np.ascontiguousarray(data, np.uint8)
    name = type_name(tensor).lower()
    kind = ELEMENT_TYPES.get(name)
    if kind is not None and name == "int4":
        return elements(raw.tobytes(), kind, math.prod(shape)).reshape(shape)
    return raw.view(name).reshape(shape) if kind is not None and kind.dtype == name else None


def set_constant(
    graph: Any, index: int, values: np.ndarray, *, four_bits: bool = False, subgraph: int = 0
) -> None:
    """Give a tensor other values, shape and type, in a buffer of its own.

    With `four_bits`, `values` are int8 within -8..7 and are stored two a byte. The tensor keeps its
    quantization and sparsity.
    """
    tensor = graph.subgraphs[subgraph].tensors[index]
    tensor.shape = np.asarray(values.shape, np.int32)
    tensor.shapeSignature = None
    tensor.type = schema().TensorType.INT4 if four_bits else _tensor_type(values.dtype)
    set_buffer(graph, index, _packed(values) if four_bits else values, subgraph=subgraph)


def set_buffer(graph: Any, index: int, data: np.ndarray, *, subgraph: int = 0) -> None:
    """Give a tensor a buffer of its own with the bytes of `data`, and nothing else."""
    raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    graph.buffers.append(schema().BufferT(data=raw))
    graph.subgraphs[subgraph].tensors[index].buffer = len(graph.buffers) - 1


def add_tensor(
    graph: Any,
    name: str | None,
    shape: Sequence[int],
    dtype: Any,
    *,
    values: np.ndarray | None = None,
    quantization: Any = None,
    subgraph: int = 0,
) -> int:
    """Append a tensor and return its index; a constant where `values` are given.

    `dtype` is numpy's. -1 stands for a size known only at run time.
    """
    sizes = np.asarray(shape, np.int32)
    tensor = schema().TensorT(
        shape=np.where(sizes < 0, 1, sizes).astype(np.int32),
        shapeSignature=sizes if (sizes < 0).any() else None,
        type=_tensor_type(dtype),
        name=name,
        quantization=quantization,
        hasRank=True,
    )
    tensors = graph.subgraphs[subgraph].tensors
    tensors.append(tensor)
    if values is not None:
        set_buffer(graph, len(tensors) - 1, np.asarray(values, dtype), subgraph=subgraph)
    return len(tensors) - 1


def add_operator(
    graph: Any,
    name: str,
    inputs: Sequence[int],
    outputs: Sequence[int],
    *,
    version: int = 1,
    options: Any = None,
    before: int | None = 0,
    subgraph: int = 0,
) -> Any:
    """Insert an operator at position `before`, None for the end, and return it.

    `options` is an options object of the schema, such as ReshapeOptionsT.
    """
    kind = 0
    if options is not None:
        kind = getattr(schema().BuiltinOptions, type(options).__name__.removesuffix("T"))
    operator = schema().OperatorT(
        opcodeIndex=operator_code(graph, name, version),
        inputs=np.asarray(inputs, np.int32),
        outputs=np.asarray(outputs, np.int32),
        builtinOptionsType=kind,
        builtinOptions=options,
    )
    operators = graph.subgraphs[subgraph].operators
    operators.insert(len(operators) if before is None else before, operator)
    return operator


def users(graph: Any, subgraph: int = 0) -> dict[int, list[tuple[Any, int]]]:
    """Tensor index -> the operators that read it, each with the position among its inputs."""
    found: dict[int, list[tuple[Any, int]]] = {}
    for operator in graph.subgraphs[subgraph].operators:
        for position, index in enumerate(indices(operator.inputs)):
            found.setdefault(index, []).append((operator, position))
    return found


def replace_input(operator: Any, position: int, index: int) -> None:
    inputs = indices(operator.inputs)
    inputs[position] = index
    operator.inputs = np.asarray(inputs, np.int32)


def _tensor_type(dtype: Any) -> int:
    return int(getattr(schema().TensorType, np.dtype(dtype).name.upper()))


def _packed(values: np.ndarray) -> np.ndarray:
    """Two 4-bit integers a byte, the first in the low half."""
    flat = values.astype(np.uint8).reshape(-1) & 15
    flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
    return flat[0::2] | (flat[1::2] << 4)

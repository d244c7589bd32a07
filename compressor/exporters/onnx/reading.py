"""Reading an .onnx file as data, without a runtime: its graph, and its weights, stored or decoded.

The file may be hostile. Nothing in it is executed and no other file is opened: external data are
reported, and refused where they lie outside the file's folder.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message

from compressor.errors import CheckpointError
from compressor.exporters.onnx import apart
from compressor.exporters.onnx.evaluation import Evaluator
from compressor.exporters.onnx.functions import put_in_place
from compressor.exporters.onnx.parsing import parsed
from compressor.exporters.onnx.stored_weights import OnnxWeight, read_weights
from compressor.exporters.onnx.tensor_reading import (
    TYPES,
    OnnxTensor,
    damaged_onnx,
    read_sparse,
    read_tensor,
)

_MAX_DEPTH = 16
_COMMENTS = ("doc_string", "metadata_props")

Shape = tuple[int | str | None, ...]


@dataclasses.dataclass(frozen=True)
class OnnxValue:
    """An input or output of the graph."""

    name: str
    shape: Shape | None
    """a name or None where a dimension is free; None for an unknown shape"""
    type: str


@dataclasses.dataclass(frozen=True)
class OnnxFile:
    """What an .onnx file holds."""

    ir_version: int
    opsets: dict[str, int]
    """domain -> version of its operators; the standard ones are ai.onnx"""
    producer: str
    inputs: tuple[OnnxValue, ...]
    """of the graph, those that are initializers excepted"""
    outputs: tuple[OnnxValue, ...]
    initializers: tuple[OnnxTensor, ...]
    """the constants of the graph, dense and sparse, and those in Constant nodes"""
    weights: tuple[OnnxWeight, ...]
    """constants that are used as they are, or decoded by nodes of the graph"""
    operators: dict[tuple[str, str], int]
    """domain and type of a node -> how many, in nested graphs and functions, too"""
    functions: tuple[str, ...]
    evaluator: Evaluator = dataclasses.field(repr=False, compare=False)
    """computes the weights, within a budget for the whole file"""


def read_onnx(content: bytes, folder: Path | None = None) -> OnnxFile:
    """Read the bytes of an .onnx file that lies in `folder`.

    Raises CheckpointError, in one line that says what is wrong and where.
    """
    return _read(_parsed(content), folder, len(content))


def weight_values(file: OnnxFile, weight: OnnxWeight) -> np.ndarray:
    """The values of a weight, in its shape in the graph; integers are not scaled.

    Raises NotDecodedError for external data, an unknown operator, and more work than the budget of
    the file; CheckpointError for inputs that do not fit an operator.
    """
    return file.evaluator.value(weight.source)


def check_onnx(content: bytes) -> None:
    """Read a file as `read_onnx` does, and keep nothing of it; large weights are not copied."""
    with apart.kept_apart():
        _read(_parsed(content, light=True), None, len(content))


def _parsed(content: bytes, *, light: bool = False) -> Any:
    try:
        model = parsed(content, light=light)
    except DecodeError:
        raise CheckpointError("this is not an ONNX file", value="it cannot be parsed") from None
    if not model.HasField("graph"):
        raise CheckpointError("this is not an ONNX file", value="it has no graph")
    if model.ir_version < 1:
        raise damaged_onnx(f"version {model.ir_version} of the format")
    return model


def _read(model: Any, folder: Path | None, size: int) -> OnnxFile:
    try:
        return _described(model, folder, size)
    except UnicodeDecodeError:  # some versions of protobuf raise it, others give bytes
        raise damaged_onnx("a name is no UTF-8") from None


def _described(model: Any, folder: Path | None, size: int) -> OnnxFile:
    for message in messages_in(model):
        if isinstance(message, onnx.SparseTensorProto):
            read_sparse(message, folder)
        elif isinstance(message, onnx.TensorProto):
            read_tensor(message, folder)
    put_in_place(model)
    operators = collections.Counter(
        (message.domain or "ai.onnx", message.op_type)
        for message in messages_in(model)
        if isinstance(message, onnx.NodeProto)
    )
    opsets = {entry.domain or "ai.onnx": int(entry.version) for entry in model.opset_import}
    constants = _constants(model.graph, folder)
    given = {tensor.name for tensor in constants}
    newest = onnx.defs.onnx_opset_version()
    return OnnxFile(
        int(model.ir_version),
        opsets,
        model.producer_name,
        tuple(_value(info) for info in model.graph.input if info.name not in given),
        tuple(_value(info) for info in model.graph.output),
        constants,
        read_weights(model, {tensor.name: tensor for tensor in constants}),
        dict(sorted(operators.items())),
        tuple(function.name for function in model.functions),
        Evaluator(dict(_stored(model.graph)), opsets.get("ai.onnx", newest), size),
    )


def messages_in(message: Any, depth: int = 0) -> Iterator[Any]:
    """Every message in `message` but comments, then itself; `depth` counts the graphs around it.

    Raises CheckpointError for graphs that are nested too deep, and for names that are not UTF-8,
    which protobuf gives as bytes.
    """
    if isinstance(message, onnx.GraphProto):
        depth += 1
        if depth > _MAX_DEPTH:
            raise damaged_onnx(f"graphs in graphs, more than {_MAX_DEPTH} deep")
    for field, content in _fields(message):
        values = [content] if isinstance(content, (Message, str, bytes)) else content
        if field.name in _COMMENTS:
            continue
        if field.type == field.TYPE_MESSAGE:
            for value in values:
                yield from messages_in(value, depth)
        elif field.type == field.TYPE_STRING and not all(isinstance(one, str) for one in values):
            raise damaged_onnx("a name is no UTF-8")
    yield message


def _fields(message: Any) -> Iterator[tuple[Any, Any]]:
    """The fields that are set and their contents, but for raw data, which would be copied."""
    if not isinstance(message, onnx.TensorProto):
        yield from message.ListFields()
        return
    for field in onnx.TensorProto.DESCRIPTOR.fields:
        if field.name == "raw_data":
            continue
        content = getattr(message, field.name)
        if len(content) if field.is_repeated else message.HasField(field.name):
            yield field, content


def _stored(graph: Any) -> Iterator[tuple[str, Any]]:
    """Names and messages of the constants: initializers, and the tensors of Constant nodes."""
    yield from ((proto.name, proto) for proto in graph.initializer)
    yield from ((proto.values.name, proto) for proto in graph.sparse_initializer)
    for node in graph.node:
        if node.op_type == "Constant" and len(node.output) == 1:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield node.output[0], attribute.t
                if attribute.HasField("sparse_tensor"):
                    yield node.output[0], attribute.sparse_tensor


def _constants(graph: Any, folder: Path | None) -> tuple[OnnxTensor, ...]:
    found = []
    for name, proto in _stored(graph):
        if hasattr(proto, "indices"):
            found.append(dataclasses.replace(read_sparse(proto, folder), name=name))
        else:
            found.append(read_tensor(proto, folder, name))
    counted = collections.Counter(tensor.name for tensor in found)
    twice = [name for name, times in counted.items() if times > 1]
    if twice:
        raise damaged_onnx(f"the name {twice[0][:80]!r} is given twice")
    return tuple(found)


def _value(info: Any) -> OnnxValue:
    tensor = info.type.tensor_type
    if not info.type.HasField("tensor_type"):
        return OnnxValue(info.name, None, info.type.WhichOneof("value") or "unknown")
    kind = TYPES[tensor.elem_type].name if tensor.elem_type in TYPES else "unknown"
    if not tensor.HasField("shape"):
        return OnnxValue(info.name, None, kind)
    return OnnxValue(info.name, tuple(_size(size) for size in tensor.shape.dim), kind)


def _size(dimension: Any) -> int | str | None:
    if dimension.HasField("dim_value"):
        return int(dimension.dim_value) if dimension.dim_value >= 0 else None
    return dimension.dim_param or None

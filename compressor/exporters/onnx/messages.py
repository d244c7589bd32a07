"""The messages of an ONNX model, wherever they are nested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import onnx
from google.protobuf.message import Message

from compressor.exporters.onnx.tensor_reading import damaged_onnx

_MAX_DEPTH = 16
_COMMENTS = ("doc_string", "metadata_props")


def walk(message: Any, depth: int = 0) -> Iterator[Any]:
    """`message` and every message in it, comments excepted; `depth` graphs are around it.

    Raises CheckpointError for graphs that are nested too deep, and for a name that is no text:
    protobuf then gives bytes for it.
    """
    if isinstance(message, onnx.GraphProto):
        depth += 1
        if depth > _MAX_DEPTH:
            raise damaged_onnx(f"graphs in graphs, more than {_MAX_DEPTH} deep")
    yield message
    for field, content in message.ListFields():
        values = [content] if isinstance(content, (Message, str, bytes)) else content
        if field.name in _COMMENTS:
            continue
        if field.type == field.TYPE_MESSAGE:
            for value in values:
                yield from walk(value, depth)
        elif field.type == field.TYPE_STRING and not all(isinstance(one, str) for one in values):
            raise damaged_onnx("a name is no UTF-8")


def captured(nodes: Iterable[Any]) -> set[str]:
    """Names that graphs inside of the nodes use."""
    found: set[str] = set()
    for node in nodes:
        for message in walk(node):
            if isinstance(message, onnx.GraphProto):
                found.update(name for inner in message.node for name in inner.input)
                found.update(info.name for info in message.output)
    return found

"""Parsing a large ONNX file without a second copy of its weights.

Protocol buffers copy every value of a file. Where it is only looked at, the raw data of its large
initializers can stay where they are: what is parsed is the file without them. Source: Protocol
Buffers, Encoding, "Message Structure".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto

from compressor.exporters.onnx.apart import (
    GRAPH,
    INITIALIZER,
    LARGE,
    RAW_DATA,
    frame,
    reference,
)

_ELSEWHERE = {
    TensorProto.DESCRIPTOR.fields_by_name[name].number
    for name in ("data_location", "external_data")
}
_VARINT, _LENGTH = 0, 2
_FIXED = {1: 8, 5: 4}
"""Wire type of a field -> its bytes."""
_LONGEST = 10
"""bytes of a varint"""

Part = bytes | memoryview


def parsed(content: bytes, *, light: bool = False) -> onnx.ModelProto:
    """The message of a file.

    A `light` one has the bytes of large raw data apart, uint8, as parts of `content`: they can be
    counted, and not be computed with. Requires `kept_apart` for it. Raises DecodeError of protobuf.
    """
    found = onnx.ModelProto()
    parts: list[Part] = [content]
    if light:
        with contextlib.suppress(ValueError):  # damaged: protobuf says so
            parts = _without_raw_data(content)
    found.ParseFromString(parts[0] if len(parts) == 1 else b"".join(parts))
    return found


def _without_raw_data(content: bytes) -> list[Part]:
    """The parts of a file without large raw data.

    Raises ValueError for what is no message.
    """
    whole = memoryview(content)
    graphs = [field for field in _fields(whole) if field[0] == GRAPH]
    if len(graphs) != 1:  # protobuf merges several
        return [content]
    _, start, first, end = graphs[0]
    graph, made = whole[first:end], list[Part]()
    for number, at, inner, until in _fields(graph):
        is_large = number == INITIALIZER and until - inner >= LARGE
        made += _without_values(graph[inner:until]) if is_large else [graph[at:until]]
    return [whole[:start], frame(GRAPH, sum(map(len, made))), *made, whole[end:]]


def _without_values(tensor: memoryview) -> list[Part]:
    """The parts of an initializer's field, with a reference in the place of its raw data."""
    fields = list(_fields(tensor))
    raw = [one for one in fields if one[0] == RAW_DATA]
    if len(raw) != 1 or any(number in _ELSEWHERE for number, *_ in fields):
        return [frame(INITIALIZER, len(tensor)), tensor]
    _, at, inner, until = raw[0]
    # Of a message that follows another one fields are added to it.
    end = reference(np.frombuffer(tensor[inner:until], np.uint8)).SerializeToString()
    rest = [tensor[:at], tensor[until:], end]
    return [frame(INITIALIZER, sum(map(len, rest))), *rest]


def _fields(message: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Number, start, start of the content, and end of each field; ValueError for what is none."""
    at = 0
    while at < len(message):
        start = at
        tag, at = _varint(message, at)
        kind, inner = tag & 7, at
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind == _LENGTH:
            size, inner = _varint(message, at)
            at = inner + size
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise ValueError(f"wire type {kind}")
        if at > len(message):
            raise ValueError("a field is longer than its message")
        yield tag >> 3, start, inner, at


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    found = 0
    for place, byte in enumerate(message[at : at + _LONGEST]):
        found |= (byte & 127) << 7 * place
        if byte < 128:
            return found, at + place + 1
    raise ValueError("a number does not end")

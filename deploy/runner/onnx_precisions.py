"""The precisions of an ONNX file, read without the package onnx, which a device does not have.

Only the needed part of the protocol buffer is read; field numbers are those of onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple

_GRAPH = 7  # of ModelProto
_NODE, _INITIALIZER = 1, 5  # of GraphProto
_NODE_INPUT, _OP_TYPE = 1, 4  # of NodeProto
_DATA_TYPE, _TENSOR_NAME = 2, 8  # of TensorProto
_FLOAT16 = 10
_MULTIPLY = {b"Conv", b"ConvTranspose", b"Gemm", b"MatMul"}
_QUANTIZE = {b"QuantizeLinear", b"DequantizeLinear"}
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


class Precisions(NamedTuple):
    """The narrow types that a file computes in, which need not be those that it is stored in."""

    float16: bool
    """a convolution or matrix product takes a float16 weight directly"""
    int8: bool
    """tensors are quantised or dequantised within the graph"""


def precisions(path: str) -> Precisions:
    """The precisions of the ONNX file at `path`; neither for any other file.

    Whether the file is valid is left to the runtime.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
            return _precisions(held)
    except (OSError, ValueError):
        return Precisions(False, False)


def _precisions(held: mmap.mmap) -> Precisions:
    halves, taken, operators = set(), set(), set()
    for start, end in _messages(held, 0, len(held), _GRAPH):
        for tensor in _messages(held, start, end, _INITIALIZER):
            fields = dict(_fields(held, *tensor))
            name = fields.get(_TENSOR_NAME)
            if fields.get(_DATA_TYPE) == _FLOAT16 and isinstance(name, tuple):
                halves.add(held[slice(*name)])
        for node in _messages(held, start, end, _NODE):
            inputs = [held[slice(*span)] for span in _messages(held, *node, _NODE_INPUT)]
            for span in _messages(held, *node, _OP_TYPE):
                operators.add(held[slice(*span)])
                if held[slice(*span)] in _MULTIPLY:
                    taken.update(inputs)
    return Precisions(bool(halves & taken), bool(operators & _QUANTIZE))


def _messages(held: mmap.mmap, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Start and end of each value of a length-delimited field."""
    for number, value in _fields(held, start, end):
        if number == wanted and isinstance(value, tuple):
            yield value


def _fields(
    held: mmap.mmap, start: int, end: int
) -> Iterator[tuple[int, int | tuple[int, int] | None]]:
    """Each field's number, and its integer, start and end of its bytes, or None.

    Raises ValueError for bytes that are not a message.
    """
    while start < end:
        key, start = _varint(held, start, end)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            integer, start = _varint(held, start, end)
            yield number, integer
            continue
        if kind == _LENGTH:
            length, start = _varint(held, start, end)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"not a wire type: {kind}")
        if length > end - start:
            raise ValueError("a field is longer than its message")
        yield number, (start, start + length) if kind == _LENGTH else None
        start += length


def _varint(held: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    """An integer, and the offset of the next byte."""
    found = 0
    for shift in range(0, 70, 7):
        if start >= end:
            break
        byte, start = held[start], start + 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, start
    raise ValueError("an integer does not end")

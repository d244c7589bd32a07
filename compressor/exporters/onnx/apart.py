"""Large constants kept beside the graph that names them, while it is converted and changed.

Protocol buffers copy a message into every list that it is put in, and give no part of their memory
back before the whole is gone: a graph that a dozen passes rewrote held its weights as often. So
within `kept_apart` a tensor of `LARGE` bytes refers to an array, as one with external data refers
to a file, and only `serialized` puts the two together. Elsewhere every tensor holds its values.
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import io
import itertools
import secrets
import sys
from collections.abc import Iterable, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LARGE = 2**16
"""Bytes of the smallest array that is kept apart."""

RAW_DATA, INITIALIZER, GRAPH = (
    message.DESCRIPTOR.fields_by_name[name].number
    for message, name in (
        (TensorProto, "raw_data"),
        (onnx.GraphProto, "initializer"),
        (onnx.ModelProto, "graph"),
    )
)
"""Numbers of the fields that hold most of a file."""
_TYPES = ("float32", "float16", "int8", "uint8", "int32", "int64")
"""whose raw data are their bytes in memory, on a little-endian machine"""
_ALIGNED = 64
"""bytes that a constant in another file begins at a multiple of: runtimes map it into memory"""
_plain_array, _plain_tensor = numpy_helper.to_array, numpy_helper.from_array


class _Store:
    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        # No file can name a place of it.
        self._secret, self._numbers = secrets.token_hex(16), itertools.count()

    def put(self, values: np.ndarray) -> str:
        place = f"{self._secret}/{next(self._numbers)}"
        self.arrays[place] = values
        return place


_store: contextvars.ContextVar[_Store | None] = contextvars.ContextVar("apart", default=None)


@contextlib.contextmanager
def kept_apart() -> Iterator[None]:
    """Have `tensor` keep large arrays apart.

    Requires: no message that it made is used behind the context.
    """
    token = _store.set(_store.get() or _Store())
    try:
        yield
    finally:
        _store.reset(token)


@contextlib.contextmanager
def in_numpy_helper() -> Iterator[None]:
    """Have the functions of `onnx.numpy_helper`, by which others make tensors, do the same."""
    with (
        patch.object(numpy_helper, "to_array", lambda proto, *more: array(proto, *more)),
        patch.object(numpy_helper, "from_array", lambda values, name=None: tensor(name, values)),
    ):
        yield


def tensor(name: str | None, values: np.ndarray) -> Any:
    """A TensorProto with these values, which are not to change any more."""
    store = _store.get()
    large = values.nbytes >= LARGE and values.dtype.name in _TYPES and sys.byteorder == "little"
    if store is None or not large:
        return _plain_tensor(values, name)
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    made = TensorProto(name=name, dims=values.shape, data_type=kind)
    made.MergeFrom(reference(values))
    return made


def reference(values: np.ndarray) -> Any:
    """What a TensorProto holds instead of its values, or of their bytes. Requires: `kept_apart`."""
    store = _store.get()
    assert store is not None
    found = TensorProto(data_location=TensorProto.EXTERNAL)
    found.external_data.add(key="location", value=store.put(values))
    return found


def array(proto: Any, *more: Any) -> np.ndarray:
    """The values of a TensorProto, of its shape; read-only where they are apart."""
    found = _apart(proto)
    if found is None:
        return np.asarray(_plain_array(proto, *more))
    view = found.reshape(tuple(proto.dims))
    view.flags.writeable = False
    return view


def byte_size(part: Any) -> int:
    """Bytes of a message in the file, its values included."""
    found = _apart(part) if isinstance(part, TensorProto) else None
    if found is None:
        return int(part.ByteSize())
    return int(_without_values(part).ByteSize()) + framed(found.nbytes)


def is_apart(proto: Any) -> bool:
    """Whether the values of a TensorProto are kept apart."""
    return _apart(proto) is not None


def payload(proto: Any) -> int:
    """Bytes of the values of a TensorProto that has them as raw data."""
    found = _apart(proto)
    return len(proto.raw_data) if found is None else found.nbytes


def framed(size: int) -> int:
    """Bytes of a protobuf field with a message of `size` bytes: tag, length, message."""
    return 1 + max(1, -(-size.bit_length() // 7)) + size


def forget(protos: Iterable[Any]) -> None:
    """Give up the arrays of tensors that are not used any more."""
    store = _store.get()
    for proto in protos:
        if store is not None and _apart(proto) is not None:
            del store.arrays[_place(proto)]


def keep_only(graph: Any) -> None:
    """Give up the arrays of all tensors but the initializers of a graph.

    Ensures: other tensors in it, such as those of its bodies, hold their values.
    """
    store = _store.get()
    if store is None:
        return
    for message in _tensors_in(graph):
        found = _apart(message)
        if found is not None:
            message.CopyFrom(_plain_tensor(found, message.name))
    kept = {_place(entry) for entry in graph.initializer}
    store.arrays = {place: found for place, found in store.arrays.items() if place in kept}


def without_large(model: Any) -> Any:
    """A copy of an onnx.ModelProto in which what is kept apart is an input of the graph.

    For tools that look at types and shapes: it is small, and what they say holds for the model.
    """
    graph = model.graph
    large = [entry for entry in graph.initializer if _apart(entry) is not None]
    if not large:
        return model
    found = onnx.ModelProto()
    found.CopyFrom(model)
    del found.graph.initializer[:]
    found.graph.initializer.extend(one for one in graph.initializer if _apart(one) is None)
    found.graph.input.extend(
        helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in large
    )
    return found


def serialized(model: Any) -> bytes:
    """The bytes of an onnx.ModelProto, deterministic, with all values; nothing is apart after it.

    As protobuf writes them: fields in the order of their numbers.
    """
    graph = model.graph
    if all(_apart(entry) is None for entry in graph.initializer):
        return bytes(model.SerializeToString(deterministic=True))
    before, after = _around(graph, INITIALIZER)
    sizes = [byte_size(entry) for entry in graph.initializer]
    whole = len(before) + sum(map(framed, sizes)) + len(after)
    file = io.BytesIO()
    first, last = _around(model, GRAPH)
    file.write(first + frame(GRAPH, whole) + before)
    for entry, size in zip(graph.initializer, sizes, strict=True):
        file.write(frame(INITIALIZER, size))
        if not is_apart(entry):
            file.write(entry.SerializeToString(deterministic=True))
            continue
        file.write(_without_values(entry).SerializeToString(deterministic=True))
        file.write(frame(RAW_DATA, payload(entry)))
        _move(entry, file)
    file.write(after + last)
    return file.getvalue()


def split(model: Any) -> tuple[bytes, str, bytes]:
    """A file whose large constants are in another one: its bytes, the other's name, and its bytes.

    The name follows from the content, so that the file can be renamed. Nothing is apart after it.
    Source: ONNX, External Data.
    """
    data, places = io.BytesIO(), []
    for entry in model.graph.initializer:
        if is_apart(entry):
            data.write(bytes(-data.tell() % _ALIGNED))
            places.append((entry, data.tell(), payload(entry)))
            _move(entry, data)
    content = data.getvalue()
    name = f"weights-{hashlib.sha256(content).hexdigest()[:16]}.bin"
    for entry, offset, size in places:
        del entry.external_data[:]
        for key, value in (("location", name), ("offset", offset), ("length", size)):
            entry.external_data.add(key=key, value=str(value))
    return bytes(model.SerializeToString(deterministic=True)), name, content


def _move(proto: Any, file: io.BytesIO) -> None:
    """Write the values of a tensor that are apart to a file, and give up their array."""
    file.write(np.ascontiguousarray(_apart(proto)).reshape(-1).view(np.uint8).data)
    forget([proto])


def _around(message: Any, number: int) -> tuple[bytes, bytes]:
    """The fields of a message in front of one, and behind it."""
    parts = []
    for is_part in (lambda other: other < number, lambda other: other > number):
        part = type(message)()
        for field, content in message.ListFields():
            if not is_part(field.number):
                continue
            if field.is_repeated:
                getattr(part, field.name).extend(content)
            elif field.type == field.TYPE_MESSAGE:
                getattr(part, field.name).CopyFrom(content)
            else:
                setattr(part, field.name, content)
        parts.append(part.SerializeToString(deterministic=True))
    return parts[0], parts[1]


def frame(number: int, size: int) -> bytes:
    """The tag and the length of a protobuf field; its number is below 16."""
    made = bytearray([number << 3 | 2])
    while size > 127:
        made.append(size & 127 | 128)
        size >>= 7
    made.append(size)
    return bytes(made)


def _without_values(proto: Any) -> Any:
    return TensorProto(name=proto.name, dims=proto.dims, data_type=proto.data_type)


def _place(proto: Any) -> str:
    places = (entry.value for entry in proto.external_data if entry.key == "location")
    return next(places, "")


def _apart(proto: Any) -> np.ndarray | None:
    store = _store.get()
    if store is None or proto.data_location != TensorProto.EXTERNAL:
        return None
    return store.arrays.get(_place(proto))


def _tensors_in(graph: Any) -> Iterator[Any]:
    """The tensors in the attributes of nodes, and all of the graphs there."""
    for node in graph.node:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from body.initializer
                yield from _tensors_in(body)

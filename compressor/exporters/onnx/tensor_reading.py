"""Checking the tensors of an ONNX file: TensorProto and SparseTensorProto of onnx.proto."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from compressor.errors import CheckpointError
from compressor.exporters.element_types import ELEMENT_TYPES, ElementType
from compressor.exporters.onnx import apart

_MAX_RANK = 64
_MAX_ELEMENTS = 2**31 - 1
_EXTERNAL = 1
_FIELDS = ("float_data", "double_data", "int32_data", "int64_data", "uint64_data", "string_data")
_FLOAT_BYTES = {"float_data": 4, "double_data": 8}

_NAMES = (
    *("float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool"),
    *("float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
    *("uint4", "int4", "float4_e2m1", "float8_e8m0", "uint2", "int2"),
)
TYPES = {
    number: ELEMENT_TYPES[name]
    for number, name in enumerate(_NAMES, 1)
    if number in TensorProto.DataType.values()
}
"""Number in TensorProto.DataType -> type, as far as the installed ONNX knows it."""


@dataclasses.dataclass(frozen=True)
class OnnxTensor:
    """A constant of a graph."""

    name: str
    shape: tuple[int, ...]
    type: ElementType
    bytes: int
    """in the file: values and sparse positions; 0 if external"""
    encoding: str = "dense"
    """dense, sparse-initializer or external"""


def damaged_onnx(reason: str) -> CheckpointError:
    return CheckpointError("the ONNX file is damaged", value=reason)


def read_tensor(proto: Any, folder: Path | None, name: str | None = None) -> OnnxTensor:
    """Check a TensorProto against its dimensions; CheckpointError if it does not fit.

    `folder` is that of the file, for external data; None if it has none.
    """
    name = proto.name if name is None else name
    where = where_is(name)
    if proto.data_type not in TYPES:
        raise damaged_onnx(f"{where}: unknown type {proto.data_type}")
    kind = TYPES[proto.data_type]
    shape = _dimensions(proto.dims, where)
    if proto.HasField("segment"):
        raise damaged_onnx(f"{where}: only a part of it is stored")
    kept_apart = apart.is_apart(proto)
    if proto.data_location == _EXTERNAL and not kept_apart:
        _check_external(proto, folder, kind.size(math.prod(shape)), where)
        return OnnxTensor(name, shape, kind, 0, "external")
    count = math.prod(shape)
    used = [field for field in _FIELDS if len(getattr(proto, field))]
    if kept_apart or proto.HasField("raw_data"):
        size = apart.payload(proto)  # a copy, which is why it is asked for once
        if used or not kind.bits or size != kind.size(count):
            raise damaged_onnx(f"{where}: {size} bytes for {count} values of {kind.name}")
        return OnnxTensor(name, shape, kind, size)
    field = helper.tensor_dtype_to_field(proto.data_type)
    expected = _field_length(kind, count)
    stored = len(getattr(proto, field))
    if stored != expected or any(other != field for other in used):
        raise damaged_onnx(f"{where}: {stored} values in {field}, not {expected}")
    return OnnxTensor(name, shape, kind, _field_bytes(proto, field))


def read_sparse(proto: Any, folder: Path | None) -> OnnxTensor:
    """Check a SparseTensorProto: its values, its indices (int64, ascending), its dimensions.

    Indices are (stored,) of the flat tensor, or (stored, rank). Raises CheckpointError.
    """
    values = read_tensor(proto.values, folder)
    where = where_is(values.name)
    shape = _dimensions(proto.dims, where)
    if not shape or min(shape) < 1:
        raise damaged_onnx(f"{where}: a sparse tensor of shape {list(shape)}")
    if len(values.shape) != 1:
        raise damaged_onnx(f"{where}: sparse values of shape {list(values.shape)}")
    # Without values, the file may omit the indices.
    if not values.shape[0] and not proto.indices.data_type:
        return OnnxTensor(values.name, shape, values.type, 0, "sparse-initializer")
    indices = read_tensor(proto.indices, folder, f"{values.name}, indices")
    if "external" in (values.encoding, indices.encoding):
        return OnnxTensor(values.name, shape, values.type, 0, "external")
    stored = values.shape[0]
    if indices.type.name != "int64" or indices.shape not in ((stored,), (stored, len(shape))):
        raise damaged_onnx(f"{where}: indices of {indices.type.name}, shape {list(indices.shape)}")
    _check_ascending(numpy_helper.to_array(proto.indices), shape, where)
    size = values.bytes + indices.bytes
    return OnnxTensor(values.name, shape, values.type, size, "sparse-initializer")


def sparse_positions(proto: Any) -> np.ndarray:
    """int64 (stored,): the positions in the flat dense tensor of a checked SparseTensorProto."""
    indices = numpy_helper.to_array(proto.indices)
    if indices.ndim == 1:
        return indices
    found: np.ndarray = np.ravel_multi_index(tuple(indices.T), tuple(proto.dims))
    return found


def is_external(proto: Any) -> bool:
    """Whether a TensorProto, or a part of a SparseTensorProto, has its data in another file."""
    parts = (proto.values, proto.indices) if hasattr(proto, "indices") else (proto,)
    return any(part.data_location == _EXTERNAL for part in parts)


def _dimensions(dims: Any, where: str) -> tuple[int, ...]:
    shape = tuple(int(size) for size in dims[: _MAX_RANK + 1])
    if len(shape) > _MAX_RANK:
        raise damaged_onnx(f"{where}: {len(dims)} dimensions")
    # The other sizes count even beside a zero: NumPy multiplies them all the same.
    if any(size < 0 for size in shape) or math.prod(size or 1 for size in shape) > _MAX_ELEMENTS:
        raise damaged_onnx(f"{where}: a constant of shape {list(shape)}")
    return shape


def where_is(name: str) -> str:
    return f"tensor {name[:80]!r}"


def _check_ascending(indices: np.ndarray, shape: tuple[int, ...], where: str) -> None:
    if not indices.size:
        return
    limits = np.array([math.prod(shape)] if indices.ndim == 1 else shape, np.int64)
    if (indices < 0).any() or (indices >= limits).any():
        raise damaged_onnx(f"{where}: an index is outside its shape {list(shape)}")
    flat = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), shape)
    if (flat[1:] <= flat[:-1]).any():
        raise damaged_onnx(f"{where}: the indices do not ascend")


def _check_external(proto: Any, folder: Path | None, size: int, where: str) -> None:
    """Raise CheckpointError unless external data lie inside the folder; they are never opened."""
    entries = {entry.key: entry.value for entry in proto.external_data}
    location = entries.get("location", "")
    path = PureWindowsPath(location)
    odd = not location or "\\" in location or "\0" in location
    odd = odd or bool(path.anchor) or ".." in path.parts
    if odd or (folder is not None and _leaves(folder, location)):
        raise damaged_onnx(f"{where}: external data outside the folder, at {location[:200]!r}")
    for key in ("offset", "length"):
        value = entries.get(key, "0")
        if not (value.isascii() and value.isdigit() and len(value) < 20):
            raise damaged_onnx(f"{where}: external data with {key} {value[:40]!r}")
    if "length" in entries and int(entries["length"]) != size:
        raise damaged_onnx(f"{where}: {entries['length']} bytes of external data, not {size}")


def _leaves(folder: Path, location: str) -> bool:
    """Whether a part of the path is a symbolic link, which may lead anywhere."""
    path = folder
    for part in PurePosixPath(location).parts:
        path = path / part
        try:
            if path.is_symlink():
                return True
        except OSError:  # a name that no file can have
            return True
    return False


def _field_length(kind: ElementType, count: int) -> int:
    if kind.name.startswith("complex"):
        return 2 * count
    # Two 4-bit numbers share an element of the field.
    return kind.size(count) if 0 < kind.bits < 8 else count


def _field_bytes(proto: Any, field: str) -> int:
    """The bytes of a field's values; integers are varints, 7 bits a byte."""
    stored = getattr(proto, field)
    if field == "string_data":
        return sum(map(len, stored))
    if field in _FLOAT_BYTES:
        return _FLOAT_BYTES[field] * len(stored)
    dtype = np.uint64 if field == "uint64_data" else np.int64
    wide = np.fromiter(stored, dtype, len(stored)).view(np.uint64)
    longer = (np.count_nonzero(wide >> np.uint64(7 * part)) for part in range(1, 10))
    return wide.size + int(sum(longer))

"""The tensors of an ONNX file: checked against their dimensions, and their values.

Source: messages TensorProto and SparseTensorProto of onnx.proto.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from compressor.errors import CheckpointError
from compressor.exporters.element_types import (
    BFLOAT16,
    PACKED,
    PLAIN,
    STRING,
    ElementType,
    elements,
)

_MAX_RANK = 64
_MAX_ELEMENTS = 2**31 - 1
_EXTERNAL = 1
_UNPACKED = "int32_data"
_PACKED_FLOAT8 = ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz")

TYPES: dict[int, ElementType] = {
    1: PLAIN["float32"],
    2: PLAIN["uint8"],
    3: PLAIN["int8"],
    4: PLAIN["uint16"],
    5: PLAIN["int16"],
    6: PLAIN["int32"],
    7: PLAIN["int64"],
    8: STRING,
    9: PLAIN["bool"],
    10: PLAIN["float16"],
    11: PLAIN["float64"],
    12: PLAIN["uint32"],
    13: PLAIN["uint64"],
    14: PLAIN["complex64"],
    15: PLAIN["complex128"],
    16: BFLOAT16,
    **{17 + i: ElementType(f"float8_{name}", 8) for i, name in enumerate(_PACKED_FLOAT8)},
    21: PACKED["uint4"],
    22: PACKED["int4"],
    23: ElementType("float4_e2m1", 4),
    24: ElementType("float8_e8m0", 8),
    25: PACKED["uint2"],
    26: PACKED["int2"],
}
"""Number in TensorProto.DataType -> type."""

_FIELDS: dict[str, str] = {
    "float32": "float_data",
    "complex64": "float_data",
    "float64": "double_data",
    "complex128": "double_data",
    "int64": "int64_data",
    "uint32": "uint64_data",
    "uint64": "uint64_data",
    "string": "string_data",
}
"""Type -> the field that holds values that are not raw; of all others it is int32_data."""

_FIELD_DTYPES = {
    "float_data": "float32",
    "double_data": "float64",
    "int32_data": "int32",
    "int64_data": "int64",
    "uint64_data": "uint64",
}


@dataclasses.dataclass(frozen=True)
class OnnxTensor:
    """A constant of a graph."""

    name: str
    shape: tuple[int, ...]
    type: ElementType
    bytes: int
    """in the file: values, and positions of a sparse one; 0 of an external one"""
    encoding: str = "dense"
    """dense, sparse-initializer or external"""

    @property
    def elements(self) -> int:
        """How many it has when dense."""
        return math.prod(self.shape)


def damaged(reason: str) -> CheckpointError:
    """The error for an ONNX file that is not what it must be, in one line."""
    return CheckpointError("the ONNX file is damaged", value=reason)


def read_tensor(proto: Any, folder: Path | None, name: str | None = None) -> OnnxTensor:
    """Check a TensorProto against its dimensions.

    `folder` is where its external data would lie, None where the file has no place. Raises
    CheckpointError.
    """
    name = proto.name if name is None else name
    where = where_is(name)
    if proto.data_type not in TYPES:
        raise damaged(f"{where}: unknown type {proto.data_type}")
    kind = TYPES[proto.data_type]
    shape = dimensions(proto.dims, where)
    if proto.HasField("segment"):
        raise damaged(f"{where}: only a part of it is stored")
    if proto.data_location == _EXTERNAL:
        _check_external(proto, folder, kind.size(math.prod(shape)), where)
        return OnnxTensor(name, shape, kind, 0, "external")
    count = math.prod(shape)
    used = [field for field in (*_FIELD_DTYPES, "string_data") if len(getattr(proto, field))]
    if proto.raw_data:
        if used or not kind.bits or len(proto.raw_data) != kind.size(count):
            raise damaged(f"{where}: {len(proto.raw_data)} bytes for {count} values of {kind.name}")
        return OnnxTensor(name, shape, kind, len(proto.raw_data))
    field = _FIELDS.get(kind.name, _UNPACKED)
    expected = _field_length(kind, count)
    stored = len(getattr(proto, field))
    if stored != expected or any(other != field for other in used):
        raise damaged(f"{where}: {stored} values in {field}, not {expected}")
    return OnnxTensor(name, shape, kind, _field_bytes(proto, field))


def tensor_values(proto: Any) -> np.ndarray:
    """The values of a TensorProto that `read_tensor` took, in its shape.

    Requires a type that has a dtype, and no external data. Integers of less than a byte come as
    int8 or uint8, bfloat16 as float32. Raises CheckpointError for values that do not fit the type.
    """
    kind, count = TYPES[proto.data_type], math.prod(proto.dims)
    if proto.raw_data:
        flat = elements(proto.raw_data, kind, count)
    else:
        field = _FIELDS.get(kind.name, _UNPACKED)
        stored = _field_values(proto, field)
        flat = _converted(stored, kind, count, where_is(proto.name))
    return flat.reshape(tuple(proto.dims))


def read_sparse(proto: Any, folder: Path | None) -> OnnxTensor:
    """Check a SparseTensorProto: its values, its indices (int64, ascending), its dimensions.

    Indices are (stored,) of the flat tensor, or (stored, rank). Raises CheckpointError.
    """
    values = read_tensor(proto.values, folder)
    where = where_is(values.name)
    shape = dimensions(proto.dims, where)
    if not shape or min(shape) < 1:
        raise damaged(f"{where}: a sparse tensor of shape {list(shape)}")
    if len(values.shape) != 1:
        raise damaged(f"{where}: sparse values of shape {list(values.shape)}")
    # No value, no index: the file may then leave the indices out.
    if not values.shape[0] and not proto.indices.data_type:
        return OnnxTensor(values.name, shape, values.type, 0, "sparse-initializer")
    indices = read_tensor(proto.indices, folder, f"{values.name}, indices")
    if "external" in (values.encoding, indices.encoding):
        return OnnxTensor(values.name, shape, values.type, 0, "external")
    stored = values.shape[0]
    if indices.type.name != "int64" or indices.shape not in ((stored,), (stored, len(shape))):
        raise damaged(f"{where}: indices of {indices.type.name}, shape {list(indices.shape)}")
    _check_ascending(tensor_values(proto.indices), shape, where)
    size = values.bytes + indices.bytes
    return OnnxTensor(values.name, shape, values.type, size, "sparse-initializer")


def sparse_positions(proto: Any) -> np.ndarray:
    """int64 (stored,): where in the flat dense tensor the values of a checked one belong."""
    indices = tensor_values(proto.indices)
    if indices.ndim == 1:
        return indices
    found: np.ndarray = np.ravel_multi_index(tuple(indices.T), tuple(proto.dims))
    return found


def is_external(proto: Any) -> bool:
    """Whether a TensorProto, or a part of a SparseTensorProto, has its data in another file."""
    parts = (proto.values, proto.indices) if hasattr(proto, "indices") else (proto,)
    return any(part.data_location == _EXTERNAL for part in parts)


def dimensions(dims: Any, where: str) -> tuple[int, ...]:
    """The dimensions of a constant, checked."""
    shape = tuple(int(size) for size in dims[: _MAX_RANK + 1])
    if len(shape) > _MAX_RANK:
        raise damaged(f"{where}: {len(dims)} dimensions")
    # A size of zero makes the others no smaller: NumPy multiplies them all the same.
    if any(size < 0 for size in shape) or math.prod(size or 1 for size in shape) > _MAX_ELEMENTS:
        raise damaged(f"{where}: a constant of shape {list(shape)}")
    return shape


def where_is(name: str) -> str:
    """How an error names a tensor."""
    return f"tensor {name[:80]!r}"


def _check_ascending(indices: np.ndarray, shape: tuple[int, ...], where: str) -> None:
    if not indices.size:
        return
    limits = np.array([math.prod(shape)] if indices.ndim == 1 else shape, np.int64)
    if (indices < 0).any() or (indices >= limits).any():
        raise damaged(f"{where}: an index is outside its shape {list(shape)}")
    flat = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), shape)
    if (flat[1:] <= flat[:-1]).any():
        raise damaged(f"{where}: the indices do not ascend")


def _check_external(proto: Any, folder: Path | None, size: int, where: str) -> None:
    """Raise CheckpointError unless the place of the data is inside the folder; never follow it."""
    entries = {entry.key: entry.value for entry in proto.external_data}
    location = entries.get("location", "")
    windows = PureWindowsPath(location)
    outside = (
        not location
        or "\\" in location
        or "\0" in location
        or PurePosixPath(location).is_absolute()
        or bool(windows.drive or windows.root)
        or ".." in PurePosixPath(location).parts
    )
    if outside or (folder is not None and _leaves(folder, location)):
        raise damaged(f"{where}: external data outside the folder, at {location[:200]!r}")
    for key in ("offset", "length"):
        value = entries.get(key, "0")
        if not (value.isascii() and value.isdigit() and len(value) < 20):
            raise damaged(f"{where}: external data with {key} {value[:40]!r}")
    if "length" in entries and int(entries["length"]) != size:
        raise damaged(f"{where}: {entries['length']} bytes of external data, not {size}")


def _leaves(folder: Path, location: str) -> bool:
    """Whether a part of the way is a link: where that leads is not for the file to say."""
    way = folder
    for part in PurePosixPath(location).parts:
        way = way / part
        try:
            if way.is_symlink():
                return True
        except OSError:  # a name that no file can have
            return True
    return False


def _field_length(kind: ElementType, count: int) -> int:
    if kind.name.startswith("complex"):
        return 2 * count
    # Two numbers of four bits share an element of the field.
    return kind.size(count) if 0 < kind.bits < 8 else count


def _field_values(proto: Any, field: str) -> np.ndarray:
    stored = getattr(proto, field)
    return np.fromiter(stored, _FIELD_DTYPES[field], len(stored))


def _field_bytes(proto: Any, field: str) -> int:
    """What the values of a field take; integers are stored as varints, 7 bits a byte."""
    if field == "string_data":
        return sum(map(len, proto.string_data))
    values = _field_values(proto, field)
    if field in ("float_data", "double_data"):
        return values.nbytes
    wide = values.astype(np.int64).view(np.uint64)
    return wide.size + sum(
        int(np.count_nonzero(wide >> np.uint64(7 * part))) for part in range(1, 10)
    )


def _converted(stored: np.ndarray, kind: ElementType, count: int, where: str) -> np.ndarray:
    """Values of a field as those of the tensor."""
    if kind.name.startswith("complex"):
        return stored.view(kind.dtype)
    bits = "uint16" if kind.name in ("float16", "bfloat16") else "uint8" if kind.bits < 8 else ""
    narrow = stored.astype(bits or kind.dtype)
    # Floats are not narrowed, and among them NaN is not equal to itself.
    if np.issubdtype(narrow.dtype, np.integer) and (narrow != stored).any():
        raise damaged(f"{where}: a value that {kind.name} does not have")
    return elements(narrow.tobytes(), kind, count) if bits else narrow

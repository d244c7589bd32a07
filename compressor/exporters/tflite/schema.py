"""The schema of TFLite files: its classes, names and types."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np

NUMPY_TYPES = {
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "FLOAT64": np.float64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "BOOL": np.bool_,
}
"""type in the schema -> numpy's; those that numpy does not have are left out"""


@functools.cache
def schema() -> ModuleType:
    """The classes of the TFLite schema, imported late."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def operator_name(graph: Any, operator: Any) -> str:
    """The name of an operator in the schema, such as FULLY_CONNECTED; CUSTOM for any other."""
    return code_name(graph.operatorCodes[operator.opcodeIndex])


def operator_version(graph: Any, operator: Any) -> int:
    """The version of an operator, which says what it may hold."""
    return int(graph.operatorCodes[operator.opcodeIndex].version)


def code_name(code: Any) -> str:
    """The name that an operator code stands for."""
    # Files from before the operator code had 32 bits have the other field alone.
    return _names("BuiltinOperator")[max(code.builtinCode, code.deprecatedBuiltinCode)]


def type_name(tensor: Any) -> str:
    """The type of a tensor in the schema, such as FLOAT32 or INT4."""
    return _names("TensorType")[tensor.type]


def tensor_type(dtype: Any) -> int:
    """The number of the schema's type of a numpy dtype. Raises KeyError where there is none."""
    wanted = np.dtype(dtype)
    name = next((name for name, found in NUMPY_TYPES.items() if np.dtype(found) == wanted), None)
    if name is None:
        raise KeyError(f"TFLite has no type {wanted}")
    return int(getattr(schema().TensorType, name))


def indices(vector: Iterable[int] | None) -> list[int]:
    """A vector of the schema, which may be missing, as a list of Python's integers."""
    return [] if vector is None else [int(value) for value in vector]


@functools.cache
def _names(enumeration: str) -> dict[int, str]:
    values = vars(getattr(schema(), enumeration))
    return {value: name for name, value in values.items() if not name.startswith("_")}

"""The schema of TFLite files: its classes and names."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable
from types import ModuleType

from compressor.foundation import quiet_tensorflow


@functools.cache
def schema() -> ModuleType:
    """The classes of the TFLite schema, imported late."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError:  # LiteRT is not available everywhere; TensorFlow has the schema too
        quiet_tensorflow.load()
        return importlib.import_module("tensorflow.lite.python.schema_py_generated")
    return schema_py_generated


@functools.cache
def names(enumeration: str) -> dict[int, str]:
    """Number -> name of an enumeration of the schema."""
    values = vars(getattr(schema(), enumeration))
    return {value: name for name, value in values.items() if not name.startswith("_")}


def builtin_name(code: int, deprecated_code: int) -> str:
    """The name of an operator, such as FULLY_CONNECTED; CUSTOM for one that is not built in.

    Codes beyond 127 do not fit the deprecated field; older files have only that.
    """
    number = max(code, deprecated_code)
    return names("BuiltinOperator").get(number, f"BUILTIN_{number}")


def indices(vector: Iterable[int] | None) -> list[int]:
    """A vector of the schema, which may be missing, as Python integers."""
    return [] if vector is None else [int(value) for value in vector]


def text(string: bytes | str | None) -> str:
    """A string of the schema, which may be missing, and is bytes if read from a file."""
    return string.decode(errors="replace") if isinstance(string, bytes) else string or ""

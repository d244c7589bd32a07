"""Pieces of C: names, numbers, arrays and the kernels, whose text lies in the folder kernels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from compressor.exporters.c.headers import HEADERS

_KERNELS = Path(__file__).with_name("kernels")
_LONGEST = 40
_WIDTH = 100
_EACH = re.compile(r"^(\s*)EACH\((.*)\)$", re.MULTILINE)
_KEYWORDS = {
    *("auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else"),
    *("enum", "extern", "float", "for", "goto", "if", "inline", "int", "long", "register"),
    *("restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch", "typedef"),
    *("union", "unsigned", "void", "volatile", "while", "main"),
}
_TAKEN = {
    *("all", "clean", "edit_cache", "help", "install", "package", "rebuild_cache", "test"),
    *HEADERS,
}
"""targets that CMake has itself, and headers of systems"""
_TYPES = {"int8": "int8_t", "int16": "int16_t", "int32": "int32_t"}
_TYPES |= {f"u{name}": f"u{kind}" for name, kind in _TYPES.items()}


def identifier(name: str) -> str:
    """A C identifier, and a file name, of an untrusted name: letters, digits and underscores."""
    found = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:_LONGEST].rstrip("_")
    if not found or found[0].isdigit() or found.lower() in _KEYWORDS | _TAKEN:
        found = f"net_{found}".rstrip("_")
    return found


def commented(name: str) -> str:
    """An untrusted name as it may stand in a comment."""
    return re.sub(r"[^A-Za-z0-9_./-]+", "_", name)[:80].replace("*", "").replace("//", "/")


def real(value: float) -> str:
    """A float constant that float32 reads back as the same number."""
    text = repr(float(np.float32(value)))
    return text + "f" if any(mark in text for mark in ".en") else text + ".0f"


def array(name: str, values: np.ndarray) -> str:
    """A constant array of integers; one of no value has one, since C has no empty arrays."""
    kind = _TYPES[values.dtype.name]
    flat = values.reshape(-1).tolist() or [0]
    lines, line = [], "   "
    for value in flat:
        # The least int32 is no literal of C.
        shown = f" {value}," if value > -(2**31) else " INT32_MIN,"
        if len(line) + len(shown) > _WIDTH:
            lines.append(line)
            line = "   "
        line += shown
    lines.append(line)
    return f"static const {kind} {name}[{len(flat)}] = {{\n" + "\n".join(lines) + "\n};\n"


def structure(kind: str, name: str, fields: Mapping[str, object]) -> str:
    """A constant structure with named fields."""
    lines = [f"    .{key} = {value}," for key, value in fields.items()]
    return f"static const struct {kind} {name} = {{\n" + "\n".join(lines) + "\n};\n"


def kernel(file: str, lanes: int = 1, **values: Any) -> str:
    """The text of a kernel; EACH(...) lines are there for each lane, with its number for #."""

    def repeated(match: re.Match[str]) -> str:
        return "\n".join(match[1] + _lane(match[2], number) for number in range(lanes))

    text = Template((_KERNELS / file).read_text()).substitute(values, lanes=lanes)
    text = re.sub(r"^[ \t]+\n", "", text, flags=re.MULTILINE)
    return _EACH.sub(repeated, text)


def _lane(line: str, number: int) -> str:
    return line.replace("#", str(number))


def joined(parts: Sequence[str]) -> str:
    return "\n".join(part for part in parts if part)


def template(file: str, **values: object) -> str:
    """The text of a file in the folder kernels, with its $names replaced."""
    return Template((_KERNELS / file).read_text()).substitute(values)

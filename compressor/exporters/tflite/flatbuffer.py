"""Reading a flatbuffer that nobody vouches for: every offset is checked before it is followed.

The stock flatbuffers package trusts its input; a damaged file makes it read elsewhere, or loop.
Here every read is inside the file, and what is visited is counted: offsets may be shared or form
circles, so a file could otherwise describe far more than its bytes hold.
Format: https://flatbuffers.dev/internals/ (tables, vtables, vectors, strings; little endian).
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from compressor.errors import CheckpointError

_SHARING = 4
"""How many times its own bytes a file may make us visit: honest builders share a little."""
_FLOOR = 2**14
_TABLE_COST = 32
"""Visiting a table costs at least this many bytes of the budget: it takes that much memory."""

_INT = {"int8": "<b", "uint8": "<B", "int32": "<i", "uint32": "<I", "uint64": "<Q"}


def damaged(reason: str) -> CheckpointError:
    """The error for a TFLite file that is not what it must be, in one line."""
    return CheckpointError("the TFLite file is damaged", value=reason)


class Flatbuffer:
    """The bytes of a file, of which no read leaves them, and no visit exceeds their budget."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._budget = _SHARING * len(content) + _FLOOR

    def root(self) -> Table:
        """The table that the file begins with. Raises CheckpointError."""
        return Table(self, self.integer(0, "uint32"))

    def integer(self, position: int, kind: str) -> int:
        """The integer of type `kind` at the byte `position`."""
        code = _INT[kind]
        self.check(position, struct.calcsize(code))
        value: int = struct.unpack_from(code, self.content, position)[0]
        return value

    def check(self, position: int, size: int) -> None:
        """Raise CheckpointError unless `size` bytes lie at `position`, within the file."""
        if position < 0 or size < 0 or position + size > len(self.content):
            raise damaged(f"{size} bytes at byte {position} of {len(self.content)}")

    def spend(self, size: int) -> None:
        """Count `size` visited bytes. Raises CheckpointError when the file describes too much."""
        self._budget -= size
        if self._budget < 0:
            raise damaged("its parts are used again and again, it describes more than it holds")


class Table:
    """A table of a flatbuffer; fields are named by their number in the schema."""

    __slots__ = ("_buffer", "_fields", "_position", "_size")

    def __init__(self, buffer: Flatbuffer, position: int) -> None:
        buffer.spend(_TABLE_COST)
        vtable = position - _signed(buffer, position)
        length = _short(buffer, vtable)
        self._size = _short(buffer, vtable + 2)
        if length < 4 or length % 2:
            raise damaged(f"a table at byte {position} has a vtable of {length} bytes")
        if self._size < 4:
            raise damaged(f"a table at byte {position} has {self._size} bytes")
        buffer.check(vtable, length)
        buffer.check(position, self._size)
        self._buffer, self._position = buffer, position
        self._fields: tuple[int, ...] = struct.unpack_from(
            f"<{length // 2 - 2}H", buffer.content, vtable + 4
        )
        buffer.spend(length)

    def has(self, field: int) -> bool:
        """Whether the field is stored; else it has its default."""
        return field < len(self._fields) and self._fields[field] != 0

    def integer(self, field: int, kind: str, default: int = 0) -> int:
        """An integer field of type `kind`: int8, uint8, int32, uint32 or uint64."""
        if not self.has(field):
            return default
        return self._buffer.integer(self._place(field, struct.calcsize(_INT[kind])), kind)

    def table(self, field: int) -> Table | None:
        """A table field (or the table of a union), or None where it is absent."""
        return Table(self._buffer, self._target(field)) if self.has(field) else None

    def tables(self, field: int) -> list[Table]:
        """A vector of tables; empty where it is absent."""
        return [Table(self._buffer, place) for place in self._targets(field)]

    def text(self, field: int) -> str:
        """A string; empty where it is absent. Bytes that are no UTF-8 are replaced."""
        return bytes(self.vector(field, "uint8")).decode("utf-8", "replace")

    def vector(self, field: int, dtype: str) -> np.ndarray:
        """A vector of numbers as a read-only array (elements,) of `dtype`; empty where absent."""
        start, size = self.span(field, np.dtype(dtype).itemsize)
        self._buffer.spend(size)
        little = np.dtype(dtype).newbyteorder("<")
        count = size // little.itemsize
        return np.frombuffer(self._buffer.content, little, count, start) if count else _empty(dtype)

    def span(self, field: int, itemsize: int = 1) -> tuple[int, int]:
        """Where a vector's elements lie: first byte and number of bytes; (0, 0) where absent.

        They are not counted as visited: the caller does not look at them yet.
        """
        if not self.has(field):
            return 0, 0
        place = self._target(field)
        size = self._buffer.integer(place, "uint32") * itemsize
        self._buffer.check(place + 4, size)
        return place + 4, size

    def _targets(self, field: int) -> list[int]:
        start, size = self.span(field, 4)
        self._buffer.spend(size)
        offsets = struct.unpack_from(f"<{size // 4}I", self._buffer.content, start)
        return [start + 4 * number + offset for number, offset in enumerate(offsets)]

    def _target(self, field: int) -> int:
        place = self._place(field, 4)
        return place + self._buffer.integer(place, "uint32")

    def _place(self, field: int, width: int) -> int:
        offset = self._fields[field]
        if offset < 4 or offset + width > self._size:
            raise damaged(f"field {field} lies outside its table at byte {self._position}")
        return self._position + offset


def _signed(buffer: Flatbuffer, position: int) -> int:
    return buffer.integer(position, "int32")


def _short(buffer: Flatbuffer, position: int) -> int:
    buffer.check(position, 2)
    value: int = struct.unpack_from("<H", buffer.content, position)[0]
    return value


def _empty(dtype: str) -> Any:
    return np.zeros(0, dtype)

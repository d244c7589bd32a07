"""A limit on the work that a hostile .tflite file causes.

The flatbuffers package raises for an offset that leads out of the file. But offsets may be shared
or form circles, so a file could describe far more than its bytes hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from compressor.errors import CheckpointError

_SHARING = 4
"""How many times its own bytes a file may make us visit: honest builders share a little."""
_FLOOR = 2**14
_TABLE_COST = 36
"""Visiting a table costs at least this many bytes of the budget: it takes that much memory."""


def damaged_tflite(reason: str) -> CheckpointError:
    return CheckpointError("the TFLite file is damaged", value=reason)


class Budget:
    """Counts what is visited. Each method raises CheckpointError when it is too much."""

    def __init__(self, size: int) -> None:
        self._left = _SHARING * size + _FLOOR

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            reason = "its parts are used again and again, it describes more than it holds"
            raise damaged_tflite(reason)

    def tables(self, owner: Any, field: str) -> Iterator[Any]:
        """The tables of a vector of tables, a field of the table `owner`."""
        count = getattr(owner, f"{field}Length")()
        self._spend(_TABLE_COST * count)
        return map(getattr(owner, field), range(count))

    def numbers(self, vector: Any) -> np.ndarray:
        """A vector of numbers as an array; empty where it is absent, for which 0 stands."""
        found = vector if isinstance(vector, np.ndarray) else np.zeros(0, np.int64)
        self._spend(found.nbytes)
        return found

    def text(self, raw: bytes | None) -> str:
        """A string; empty where it is absent. Bytes that are no UTF-8 are replaced."""
        self._spend(len(raw or b""))
        return (raw or b"").decode("utf-8", "replace")

    def data(self, content: bytes, start: int, size: int) -> bytes:
        """Bytes of the file that are worked through."""
        self._spend(size)
        return content[start : start + size]

"""Zip files made to exhaust memory, and what a call takes of it."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

ENTRIES = 300_000


def endless(entries: int = ENTRIES, said: int | None = None, wide: bool = False) -> bytes:
    """A zip file of nothing but a directory; `said` is the number of entries that it claims.

    `wide` has the sizes in the 64-bit extension.
    """
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, *[0] * 7, 1, *[0] * 6) + b"a"
    size, said = entries * len(entry), entries if said is None else said
    counts, place = [min(said, 0xFFFF)] * 2, [size, 0]
    more = b""
    if wide:
        more = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, said, said, size, 0)
        more += struct.pack("<4sIQI", b"PK\6\7", 0, size, 1)
        counts, place = [0xFFFF] * 2, [2**32 - 1] * 2
    return entry * entries + more + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *counts, *place, 0)


def peak_of(call: Callable[[], Any]) -> tuple[Any, int]:
    """What a call gives, and the most bytes that Python held meanwhile."""
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

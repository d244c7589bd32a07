"""Reading streams that nobody vouches for."""

from __future__ import annotations

from typing import Protocol

DEFLATE_RATIO = 1032
"""Deflate turns one byte into at most this many: a match of 258 costs two bits or more."""

_CHUNK = 2**20


class Readable(Protocol):
    """Anything whose `read(count)` gives at most `count` bytes, and none at its end."""

    def read(self, count: int, /) -> bytes:
        """Give up to `count` bytes."""


def read_up_to(stream: Readable, count: int) -> bytearray:
    """Read `count` bytes, or what there is of them.

    The memory grows with what is really there, never with what a header promises.
    """
    content = bytearray()
    while len(content) < count:
        chunk = stream.read(min(_CHUNK, count - len(content)))
        if not chunk:
            break
        content += chunk
    return content

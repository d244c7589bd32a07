"""Reading streams that nobody vouches for."""

from __future__ import annotations

from typing import Protocol

DEFLATE_RATIO = 1032
"""Deflate turns one byte into at most this many: a match of 258 costs two bits or more."""

_CHUNK = 2**20
_LONGEST_TEXT = 120


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


def printable(text: object) -> str:
    """`text`, with control characters and the like escaped."""
    shown = str(text)
    return shown if shown.isprintable() else ascii(shown)


def cleaned(text: str) -> str:
    """`text` without what could move the cursor of a terminal: control characters and the like."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def short(text: object) -> str:
    """`text` fit for a message: printable, and cut where a hostile file made it long."""
    shown = printable(text)
    return shown if len(shown) <= _LONGEST_TEXT else shown[:_LONGEST_TEXT] + "..."

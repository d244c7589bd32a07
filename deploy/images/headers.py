"""The shapes in the headers of files, so that nothing is unpacked that would be refused."""

from __future__ import annotations

import struct

_GZIP_MAGIC = b"\x1f\x8b"
_MOST_DIMENSIONS = 32


def png_size(content: bytes) -> tuple[int, int] | None:
    """The height and width in the header of a PNG picture; None if it is damaged."""
    if len(content) < 24 or content[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", content, 16)
    return (height, width) if height and width else None


def idx_shape(content: bytes) -> tuple[int, ...]:
    """The shape in the header of an IDX file, raw or gzipped; empty if it is damaged."""
    longest = 4 + 4 * _MOST_DIMENSIONS
    head = content[:longest]
    if content.startswith(_GZIP_MAGIC):
        import zlib

        try:
            head = zlib.decompressobj(zlib.MAX_WBITS + 16).decompress(content, longest)
        except zlib.error:
            return ()
    dimensions = head[3] if len(head) > 3 else 0
    if not 0 < dimensions <= _MOST_DIMENSIONS or len(head) < 4 + 4 * dimensions:
        return ()
    return struct.unpack_from(f">{dimensions}I", head, 4)

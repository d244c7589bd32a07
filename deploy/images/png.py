"""Reading PNG pictures (W3C Recommendation "Portable Network Graphics", third edition).

Every colour type, bit depth and interlacing. The reader trusts nothing: sizes are limited before
anything is unpacked, the data are unpacked no further than the picture needs, and every chunk's
checksum is checked. Chunks that do not change the pixels (gamma, text, ...) are skipped.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from deploy.errors import RequestError
from deploy.images.png_filters import unfilter

MAGIC = b"\x89PNG\r\n\x1a\n"
MOST_PIXELS = 2**24
"""The default limit of a picture."""

_LONGEST_SIDE = 2**14
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGBA: 4}
_DEPTHS = {
    _GREY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _RGBA: (8, 16),
}
# The passes of Adam7: first column and row, and the steps between (table 6 of the standard).
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


@dataclasses.dataclass(frozen=True)
class _Header:
    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    @property
    def channels(self) -> int:
        return _CHANNELS[self.colour]

    def passes(self) -> list[tuple[int, int, int, int, int, int]]:
        """First column and row, steps, width and height of each pass that has pixels."""
        steps = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        sizes = [
            (x, y, dx, dy, -((x - self.width) // dx), -((y - self.height) // dy))
            for x, y, dx, dy in steps
        ]
        return [found for found in sizes if found[4] > 0 and found[5] > 0]

    def row_bytes(self, width: int) -> int:
        """Bytes of a row of `width` pixels, without the filter byte."""
        return (width * self.channels * self.depth + 7) // 8


def decode_png(content: bytes, where: object, most_pixels: int = MOST_PIXELS) -> np.ndarray:
    """The pixels of a picture, (height, width, channels): uint8, or uint16 for 16 bits.

    Channels are grey, grey and alpha, RGB, or RGB and alpha. Palettes are looked up, a transparent
    colour (tRNS) becomes an alpha channel, and grey of fewer than 8 bits is scaled to 0 to 255.
    `where` names the picture in messages. Raises RequestError for anything but one complete, valid
    PNG picture of at most `most_pixels` pixels.
    """
    try:
        header, palette, transparent, packed = _collect(content, most_pixels)
        samples = _samples(header, _inflate(header, packed))
        return _coloured(header, samples, palette, transparent)
    except _PictureError as error:
        raise RequestError("cannot read the PNG picture", value=f"{where} ({error})") from error


class _PictureError(Exception):
    """What is wrong with a picture."""


def _collect(
    content: bytes, most_pixels: int
) -> tuple[_Header, np.ndarray | None, bytes | None, bytes]:
    """The header, the palette (n, 3), the content of tRNS, and the compressed data."""
    header: _Header | None = None
    palette: np.ndarray | None = None
    transparent: bytes | None = None
    parts: list[bytes] = []
    last = b""
    for kind, body in _chunks(content):
        if header is None:
            if kind != b"IHDR":
                raise _PictureError("it does not begin with IHDR")
            header = _header(body, most_pixels)
        elif kind == b"IDAT":
            if parts and last != b"IDAT":
                raise _PictureError("its data chunks are not consecutive")
            parts.append(body)
        elif kind == b"PLTE":
            if palette is not None or parts or header.colour in (_GREY, _GREY_ALPHA):
                raise _PictureError("a misplaced palette")
            palette = _palette(header, body)
        elif kind == b"tRNS":
            if transparent is not None or parts:
                raise _PictureError("misplaced transparency")
            transparent = _transparency(header, palette, body)
        elif kind == b"IHDR":
            raise _PictureError("two headers")
        last = kind
    if header is None or not parts:
        raise _PictureError("it has no data")
    if header.colour == _PALETTE and palette is None:
        raise _PictureError("it lacks its palette")
    return header, palette, transparent, b"".join(parts)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and body of each chunk before IEND, which must be the last."""
    if not content.startswith(MAGIC):
        raise _PictureError("it does not begin like a PNG file")
    place = len(MAGIC)
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        if length >= 2**31 or end > len(content):
            raise _PictureError("it is truncated")
        body = content[place + 8 : end - 4]
        checksum = int.from_bytes(content[end - 4 : end], "big")
        if zlib.crc32(content[place + 4 : end - 4]) != checksum:
            raise _PictureError(f"the checksum of {_shown(kind)} is wrong")
        if kind == b"IEND":
            if body or end != len(content):
                raise _PictureError("there are bytes after its end")
            return
        if not kind[0] & 0x20 and kind not in _CRITICAL:
            raise _PictureError(f"it needs the unknown chunk {_shown(kind)}")
        yield kind, body
        place = end
    raise _PictureError("it is truncated")


def _shown(kind: bytes) -> str:
    return kind.decode("ascii") if kind.isalpha() else kind.hex()


def _header(body: bytes, most_pixels: int) -> _Header:
    if len(body) != 13:
        raise _PictureError("its header is not 13 bytes long")
    width, height, depth, colour, packing, filtering, interlaced = struct.unpack(">IIBBBBB", body)
    if depth not in _DEPTHS.get(colour, ()):
        raise _PictureError(f"colour type {colour} with {depth} bits")
    if packing or filtering or interlaced > 1:
        raise _PictureError("an unknown compression, filter or interlacing")
    if not width or not height:
        raise _PictureError("it has no pixels")
    if max(width, height) > _LONGEST_SIDE or width * height > most_pixels:
        raise _PictureError(
            f"{width} x {height} pixels are too many: at most {most_pixels:,}, "
            f"{_LONGEST_SIDE:,} a side"
        )
    return _Header(width, height, depth, colour, bool(interlaced))


def _palette(header: _Header, body: bytes) -> np.ndarray:
    most = 2**header.depth if header.colour == _PALETTE else 256
    if not body or len(body) % 3 or len(body) > 3 * most:
        raise _PictureError(f"a palette of {len(body)} bytes")
    return np.frombuffer(body, np.uint8).reshape(-1, 3)


def _transparency(header: _Header, palette: np.ndarray | None, body: bytes) -> bytes:
    if header.colour == _PALETTE:
        right = palette is not None and 0 < len(body) <= len(palette)
    else:
        right = len(body) == {_GREY: 2, _RGB: 6}.get(header.colour, -1)
    if not right:
        raise _PictureError("transparency that does not fit")
    return body


def _inflate(header: _Header, packed: bytes) -> bytes:
    """All rows of all passes, each after its filter byte."""
    expected = sum(height * (1 + header.row_bytes(width)) for *_, width, height in header.passes())
    stream = zlib.decompressobj()
    try:
        rows = stream.decompress(packed, expected + 1)
    except zlib.error as error:
        raise _PictureError(f"damaged data: {error}") from error
    if len(rows) != expected or not stream.eof or stream.unused_data:
        raise _PictureError("its data do not have the size in its header")
    return rows


def _samples(header: _Header, rows: bytes) -> np.ndarray:
    """The values as stored, (height, width, channels), uint8 or uint16."""
    wide = header.depth == 16
    whole = np.empty(
        (header.height, header.width, header.channels), np.uint16 if wide else np.uint8
    )
    unit = max(header.channels * header.depth // 8, 1)
    place = 0
    for x, y, dx, dy, width, height in header.passes():
        length = header.row_bytes(width)
        size = height * (1 + length)
        filtered = np.frombuffer(rows, np.uint8, size, place).reshape(height, 1 + length)
        place += size
        if filtered[:, 0].max() > 4:
            raise _PictureError(f"an unknown filter, {filtered[:, 0].max()}")
        whole[y::dy, x::dx] = _unpacked(header, unfilter(filtered, unit), width)
    return whole


def _unpacked(header: _Header, found: np.ndarray, width: int) -> np.ndarray:
    shape = (len(found), width, header.channels)
    if header.depth == 16:
        return np.ascontiguousarray(found).view(">u2").reshape(shape)
    if header.depth == 8:
        return found.reshape(shape)
    bits = np.unpackbits(found, axis=1)[:, : width * header.depth]
    weights = (1 << np.arange(header.depth)[::-1]).astype(np.uint8)
    values: np.ndarray = bits.reshape(*shape[:2], header.depth) @ weights
    return values.astype(np.uint8).reshape(shape)


def _coloured(
    header: _Header, samples: np.ndarray, palette: np.ndarray | None, transparent: bytes | None
) -> np.ndarray:
    if header.colour == _PALETTE:
        return _looked_up(samples[:, :, 0], palette, transparent)
    most = 2**header.depth - 1
    spread = samples * np.uint8(255 // most) if header.depth < 8 else samples
    if transparent is None:
        return spread
    clear = np.frombuffer(transparent, ">u2") & most
    seen = (samples != clear).any(axis=2, keepdims=True)
    alpha = seen.astype(samples.dtype) * samples.dtype.type(max(most, 255))
    return np.concatenate([spread, alpha], axis=2)


def _looked_up(
    numbers: np.ndarray, palette: np.ndarray | None, transparent: bytes | None
) -> np.ndarray:
    if palette is None or numbers.max() >= len(palette):
        raise _PictureError("a colour that is not in its palette")
    if transparent is not None:
        alpha = np.full((len(palette), 1), 255, np.uint8)
        alpha[: len(transparent), 0] = np.frombuffer(transparent, np.uint8)
        palette = np.concatenate([palette, alpha], axis=1)
    found: np.ndarray = palette[numbers]
    return found

"""Masks as PNG pictures, whose pixels are the numbers of classes, with a colour for each."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from deploy.errors import RequestError
from deploy.images.png import MAGIC

MOST_CLASSES = 256
"""that a palette has colours for"""


def encode_mask(mask: np.ndarray) -> bytes:
    """A PNG picture of a mask, integers (height, width) from 0 to 255.

    A pixel is the number of its class, which picks a colour of the palette: of class 0 black, of
    the others those of the PASCAL VOC data sets. Raises RequestError for a mask of another form.
    """
    if mask.ndim != 2 or not 0 <= int(mask.min()) <= int(mask.max()) < MOST_CLASSES:
        raise RequestError(
            "this mask is no picture",
            value=f"{list(mask.shape)}, classes up to {mask.max()}",
            hint=f"only one of rows and columns with at most {MOST_CLASSES} classes is",
        )
    height, width = mask.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), mask.astype(np.uint8)], axis=1)
    return b"".join(
        (
            MAGIC,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", _palette(int(mask.max()) + 1)),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _palette(colours: int) -> bytes:
    """Red, green and blue of each class: its bits in turns, the lowest three the brightest."""
    found = bytearray()
    for number in range(colours):
        channels = [0, 0, 0]
        for level in range(8):
            for channel in range(3):
                channels[channel] |= (number >> (3 * level + channel) & 1) << (7 - level)
        found += bytes(channels)
    return bytes(found)

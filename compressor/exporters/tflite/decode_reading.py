"""Reading what TFLM_DECODE decodes, checked: TFLite Micro itself checks no length.

`decode_codes` says what the bytes are. The work is bounded by their number.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from compressor.exporters.tflite.decode_codes import (
    HEADER_BYTES,
    KINDS,
    MOST_INDEX_BITS,
    MOST_VALUES,
    WORD_BYTES,
)
from compressor.exporters.tflite.file_contents import TFLiteTensor
from compressor.exporters.tflite.hostile import damaged_tflite

_TYPES = ("bool", "float32", "int8", "int16", "int32", "int64")
_BLOCK = 2**16
"""bits of a Huffman stream that are looked at together"""
_WINDOW = 16
"""bits that a part of a Huffman table looks at, at most"""
_LONGEST = 64
"""bits of a Huffman word that are followed; writers keep to 15"""


@dataclasses.dataclass(frozen=True)
class _Encoded:
    """What decodes one tensor."""

    stream: bytes
    ancillary: bytes
    count: int
    """of values"""
    dtype: np.dtype
    channels: tuple[int, bool]
    """scales of the tensor, and whether they are of its last dimension"""
    where: str
    """names it in errors"""

    def table(self, dtype: np.dtype) -> np.ndarray:
        raw = self.ancillary[HEADER_BYTES:]
        if dtype == np.bool_:
            dtype = np.dtype(np.uint8)
        return np.frombuffer(raw[: len(raw) // dtype.itemsize * dtype.itemsize], dtype)


def decoded(stream: bytes, ancillary: bytes, output: TFLiteTensor) -> tuple[str, np.ndarray]:
    """The encoding, one of `KINDS`, and the values that the runtime decodes, of `output`'s shape.

    Raises CheckpointError for bytes that it would read, or a value that it would write, out of
    bounds, and for what it refuses.
    """
    where = f"what decodes tensor {output.name[:80]!r}"
    if len(ancillary) < HEADER_BYTES:
        raise damaged_tflite(f"{where}: {len(ancillary)} bytes, its header takes {HEADER_BYTES}")
    number, version, own_version = ancillary[0], ancillary[1], ancillary[4]
    if number >= len(KINDS) or (version, own_version) != (1, 1):
        raise damaged_tflite(f"{where}: encoding {number}, version {version} and {own_version}")
    if output.type.name not in _TYPES or None in output.shape:
        raise damaged_tflite(f"{where}: {output.type.name} {list(output.shape)}")
    count = math.prod(size or 0 for size in output.shape)
    if count > min(8 * len(stream), MOST_VALUES):
        raise damaged_tflite(f"{where}: {count} values of {len(stream)} bytes")
    channels, dtype = _channels(output, where), np.dtype(output.type.dtype)
    read = (_lut, _huffman, _prune)[number]
    values = read(_Encoded(stream, ancillary, count, dtype, channels, where))
    return KINDS[number], values.reshape([size or 0 for size in output.shape])


def _channels(output: TFLiteTensor, where: str) -> tuple[int, bool]:
    """Scales of the tensor, and whether they are of its last dimension."""
    given, rank = output.quantization, len(output.shape)
    if given is None:
        return 1, False
    if given.zero_point.any():
        raise damaged_tflite(f"{where}: it has a zero point")
    count, dimension = int(given.scale.size), given.dimension
    last = count > 1 and dimension == rank - 1
    if not last and dimension:
        raise damaged_tflite(f"{where}: {count} scales in dimension {dimension} of {rank}")
    if count > 1 and output.shape[dimension : dimension + 1] != (count,):
        raise damaged_tflite(f"{where}: {count} scales for {list(output.shape)}")
    return count, last


def _lut(given: _Encoded) -> np.ndarray:
    bits, stride = given.ancillary[5] & 7, given.ancillary[6]
    if not 1 <= bits <= MOST_INDEX_BITS or len(given.stream) * 8 < given.count * bits:
        raise damaged_tflite(
            f"{given.where}: {given.count} indices of {bits} bits in {len(given.stream)} bytes"
        )
    raw = np.unpackbits(np.frombuffer(given.stream, np.uint8), count=given.count * bits).reshape(
        given.count, bits
    )
    indices = np.packbits(raw, axis=1)[:, 0].astype(np.int64) >> (8 - bits)
    number, last = given.channels
    each = np.arange(given.count)
    indices += stride * (each % number if last else each // max(given.count // number, 1))
    table = given.table(given.dtype)
    if given.count and int(indices.max()) >= len(table):
        raise damaged_tflite(
            f"{given.where}: value {int(indices.max())} of a table of {len(table)}"
        )
    return table[indices]


def _prune(given: _Encoded) -> np.ndarray:
    mask = np.unpackbits(np.frombuffer(given.stream, np.uint8), count=given.count).astype(bool)
    stored, table = int(np.count_nonzero(mask)), given.table(given.dtype)
    if stored > len(table):
        raise damaged_tflite(f"{given.where}: {stored} values in a table of {len(table)}")
    values = np.zeros(given.count, given.dtype)
    values[mask] = table[:stored]
    return values


def _huffman(given: _Encoded) -> np.ndarray:
    wide, first = bool(given.ancillary[5] & 1), (given.ancillary[5] >> 4) + 1
    entries = given.table(np.dtype("<u4" if wide else "<u2")).astype(np.int64)
    if given.dtype != np.int8 and not (wide and given.dtype == np.int16):
        raise damaged_tflite(f"{given.where}: words that stand for {given.dtype}")
    if len(given.stream) % WORD_BYTES or len(entries) < 2**first:
        reason = f"{len(given.stream)} bytes, and a table of {len(entries)} for {first} bits"
        raise damaged_tflite(f"{given.where}: {reason}")
    total = 8 * len(given.stream)
    bits = np.unpackbits(np.frombuffer(given.stream, np.uint8))
    found = np.zeros(given.count, np.int64)
    done = place = 0
    while done < given.count:
        if place >= total:
            raise damaged_tflite(
                f"{given.where}: its words end after {done} of {given.count} values"
            )
        symbols, lengths, ends = _words(bits, place, entries, first, 27 if wide else 11)
        chain: list[int] = []
        at, size = 0, len(symbols)
        steps = lengths.tolist()
        while at < size and done + len(chain) < given.count:
            if steps[at] <= 0 or place + ends[at] > total:
                raise damaged_tflite(
                    f"{given.where}: no word begins at bit {place + at} of {total}"
                )
            chain.append(at)
            at += steps[at]
        found[done : done + len(chain)] = symbols[chain]
        done, place = done + len(chain), place + at
    return found.astype(np.uint16).astype(np.int16).astype(given.dtype)


def _words(
    bits: np.ndarray, place: int, entries: np.ndarray, first: int, shift: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The symbols of the words that begin at each of a block of bits, and their lengths, which are
    0 where there is none, and behind which bit, from `place` on, they have been read."""
    size = min(len(bits) - place, _BLOCK)
    part = bits[place : place + size + _LONGEST + _WINDOW]
    ahead = np.zeros(size + _LONGEST + _WINDOW, np.int64)
    ahead[: len(part)] = part
    windows = np.zeros(size + _LONGEST, np.int64)
    for offset in range(_WINDOW):
        windows = windows << 1 | ahead[offset : offset + len(windows)]
    starts = np.arange(size)
    symbols, lengths = np.zeros(size, np.int64), np.zeros(size, np.int64)
    ends, used = np.zeros(size, np.int64), np.zeros(size, np.int64)
    width, base = np.full(size, first), np.zeros(size, np.int64)
    while starts.size:
        at = base + (windows[starts + used] >> (_WINDOW - width))
        inside = at < len(entries)
        starts, used, width, at = (one[inside] for one in (starts, used, width, at))
        entry = entries[at]
        leaf, number = entry >> (shift + 4) & 1 == 1, entry >> shift & 15
        whole = starts[leaf]
        symbols[whole] = entry[leaf] & (2**shift - 1)
        lengths[whole] = (used + np.minimum(number, width))[leaf]
        ends[whole] = (starts + used + width)[leaf]
        used = used + width
        going = ~leaf & (used + _WINDOW <= _LONGEST)
        base = (at + (entry & (2**shift - 1)))[going]
        starts, used, width = starts[going], used[going], (number + 1)[going]
    return symbols, lengths, ends

"""The encodings that TFLite Micro's operator TFLM_DECODE reads, written.

An encoded tensor is two constants of bytes: a stream, and ancillary data, which are a header of 16
bytes followed by a table. Byte 0 of the header is the encoding, bytes 1 and 4 are versions.

lut      the stream has indices of 1 to 7 bits, the table the distinct values (header byte 5: axis
         in the high half, 15 for none, and bits; byte 6: values from one channel's table to the
         next one's, 0 where all channels share one)
huffman  the stream has the words of a prefix code, in 32-bit words; the table maps the next bits
         to symbols (header byte 5: bits of the first part of the table, less 1, in the high half).
         Entries are uint16: 0x8000 | bits used << 11 | symbol, or (bits - 1) << 11 | distance to
         the part for the next bits
prune    the stream has a bit for each value, the table the values that are not zero

Bits are written from the highest of each byte on. Source: tensorflow/lite/micro/kernels,
decode_state_{lut,huffman,prune}.cc of TFLite Micro.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from compressor.encodings.huffman import canonical_codes, code_lengths, coded_bits

OPERATOR = "TFLM_DECODE"
"""the name of the custom operator"""
KINDS = ("lut", "huffman", "prune")
"""the encodings by their number in the header"""
HEADER_BYTES = 16
MOST_VALUES = 2**24
"""of a weight; what decodes more is not written, and not read, as that takes much memory"""
NO_AXIS = 15
MOST_INDEX_BITS = 7
FOUND = 0x8000
"""of an entry of a Huffman table: it is a symbol"""
WIDTH_SHIFT, MOST_WIDTH = 11, 15
FARTHEST = 2**WIDTH_SHIFT - 1
"""entries from one of a Huffman table to the part that it leads to"""
WORD_BYTES = 4
"""the Huffman decoder reads whole words, and may have read one more than it needs"""


@dataclasses.dataclass(frozen=True)
class Coded:
    """A tensor as TFLM_DECODE reads it."""

    kind: str
    """one of `KINDS`"""
    stream: bytes
    ancillary: bytes

    @property
    def bytes(self) -> int:
        return len(self.stream) + len(self.ancillary)


def pruned(values: np.ndarray) -> Coded:
    """The non-zero values of an int8 or float32 tensor, and a bit for each value."""
    flat = np.ascontiguousarray(values).reshape(-1)
    mask = flat != 0
    return Coded("prune", np.packbits(mask).tobytes(), _header("prune") + flat[mask].tobytes())


def tabled(values: np.ndarray) -> Coded | None:
    """Indices into a table of the distinct values; None where there are more than 128."""
    found, indices = np.unique(values, return_inverse=True)
    bits = max(int(len(found) - 1).bit_length(), 1)
    if bits > MOST_INDEX_BITS:
        return None
    shifts = np.arange(bits - 1, -1, -1)
    stream = np.packbits((indices.reshape(-1, 1) >> shifts) & 1).tobytes()
    return Coded("lut", stream, _header("lut", NO_AXIS << 4 | bits, 0) + found.tobytes())


def huffman(values: np.ndarray) -> Coded | None:
    """A prefix code of int8 values, with the smallest table; None for other types, or no values."""
    if values.dtype != np.int8 or not values.size:
        return None
    symbols = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    lengths = code_lengths(np.bincount(symbols, minlength=256), MOST_WIDTH)
    codes = canonical_codes(lengths)
    table, first = _decoding_table(lengths, codes)
    bits = np.packbits(coded_bits(symbols, lengths, codes)).tobytes()
    padding = -len(bits) % WORD_BYTES + WORD_BYTES
    return Coded("huffman", bits + bytes(padding), _header("huffman", (first - 1) << 4) + table)


def _header(kind: str, *parameters: int) -> bytes:
    given = bytes([KINDS.index(kind), 1, 0, 0, 1, *parameters])
    return given.ljust(HEADER_BYTES, b"\0")


@dataclasses.dataclass
class _Node:
    """Code words with a common beginning: one symbol, or those with a 0 and with a 1 behind it."""

    symbol: int | None = None
    branches: dict[int, _Node] = dataclasses.field(default_factory=dict)
    width: int = 0
    """bits that the part of the table for this node looks at"""
    entries: int = 0
    """of that part, and of all that it leads to"""

    def below(self, width: int) -> list[tuple[int, int, _Node]]:
        """What `width` further bits lead to: the bits read, how many, and the node."""
        found: list[tuple[int, int, _Node]] = []
        waiting = [(0, 0, self)]
        while waiting:
            bits, depth, node = waiting.pop()
            if depth == width or node.symbol is not None:
                found.append((bits, depth, node))
                continue
            for bit, branch in node.branches.items():
                waiting.append((2 * bits + bit, depth + 1, branch))
        return found


def _decoding_table(lengths: np.ndarray, codes: np.ndarray) -> tuple[bytes, int]:
    """The parts of the table, as bytes, and how many bits the first one looks at."""
    root = _Node()
    for symbol in np.flatnonzero(lengths):
        node = root
        for left in range(int(lengths[symbol]) - 1, -1, -1):
            node = node.branches.setdefault(int(codes[symbol]) >> left & 1, _Node())
        node.symbol = int(symbol)
    _plan(root, int(lengths.max()))
    entries: list[int] = []
    waiting: list[tuple[int | None, _Node]] = [(None, root)]
    while waiting:
        place, node = waiting.pop()
        start = len(entries)
        if place is not None:
            entries[place] = (node.width - 1) << WIDTH_SHIFT | start - place
        # What no word leads to is a symbol, too, so that damaged streams end.
        entries += [FOUND | node.width << WIDTH_SHIFT] * 2**node.width
        for bits, depth, reached in node.below(node.width):
            free = node.width - depth
            first = start + (bits << free)
            if reached.symbol is None:
                waiting.append((first, reached))
                continue
            entry = FOUND | depth << WIDTH_SHIFT | reached.symbol
            entries[first : first + 2**free] = [entry] * 2**free
    return np.asarray(entries, "<u2").tobytes(), root.width


def _plan(node: _Node, depth: int) -> None:
    """Give the node, and all below, the widths with the fewest entries; the wider of equal ones."""
    if node.symbol is not None:
        return
    for branch in node.branches.values():
        _plan(branch, depth - 1)
    for width in range(1, min(depth, MOST_WIDTH) + 1):
        if node.entries and 2**width > node.entries:
            break
        entries = 2**width + sum(reached.entries for _, _, reached in node.below(width))
        if not node.entries or entries <= node.entries:
            node.width, node.entries = width, entries

"""Weights that are not zero as bits: Rice codes of their gaps, and their values beside them.

A gap, the number of zeros before a weight in the flattened tensor, is in Rice code (Golomb, 1966;
Rice, 1971): so many ones as it has whole multiples of 2^k, a zero, and the rest in k bits. Then
follows the value: in a fixed number of bits, or a word of a canonical Huffman code. Bits are
written from the highest of a byte on. At the end stands a weight behind the last place.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from compressor.encodings.huffman import canonical_codes, code_lengths

LONGEST_WORD, _MOST_RICE, _WINDOW = 10, 10, 25
"""bits of a value, of the rest of a gap, and of a whole weight, which a decoder reads at once"""
_READ_AHEAD = 4
"""bytes that a decoder may read behind the last one that counts"""
FIXED, HUFFMAN = "fixed", "huffman"


@dataclasses.dataclass(frozen=True)
class Coded:
    """Weights as bits. `words` and `symbols` are empty where values have `width` bits each."""

    bits: np.ndarray
    """uint8"""
    rice: int
    width: int
    words: np.ndarray
    """uint8 (longest,): how many words of the Huffman code have 1, 2, ... bits"""
    symbols: np.ndarray
    """int8: the values, in the order of their words"""
    places: np.ndarray
    """int64: of the weights in the flattened tensor, with those of zero, which a gap takes that is
    too long for a weight's bits"""
    first: tuple[int, int, int]
    """bits, place and value of the first weight"""
    value_bits: float
    """mean length of a value"""

    @property
    def weights(self) -> int:
        return len(self.places)

    @property
    def bytes(self) -> int:
        return self.bits.nbytes + self.words.nbytes + self.symbols.nbytes


def coded(weights: np.ndarray, values: str) -> Coded:
    """The code of `weights`, int8 of any shape, with values FIXED or in HUFFMAN code, which is
    FIXED, too, where it has too many words of one length for `Coded.words`."""
    flat = weights.reshape(-1)
    places = np.flatnonzero(flat)
    gaps = np.diff(np.append(places, flat.size), prepend=-1) - 1
    rice = min(range(_MOST_RICE + 1), key=lambda k: int((gaps >> k).sum()) + k * len(gaps))
    present, counts = np.unique(flat[places].astype(np.int64), return_counts=True)
    last = int(present[counts.argmax()]) if len(present) else 0
    found = np.append(flat[places].astype(np.int64), last)
    # A Huffman code of n values, and perhaps zero, has words of n bits at most.
    word = bits_of(found) if values == FIXED else min(LONGEST_WORD, max(len(present), 1))
    steps, found = with_fillers(gaps + 1, found, _WINDOW - word - rice << rice)
    gaps = steps - 1
    width, words, symbols = 0, np.zeros(0, np.uint8), np.zeros(0, np.int8)
    if values == FIXED:
        width = bits_of(found)
        codes, lengths = found + (1 << (width - 1)), np.full(len(found), width)
    else:
        alphabet, where, counts = np.unique(found, return_inverse=True, return_counts=True)
        each = code_lengths(counts, LONGEST_WORD)
        order = np.argsort(each, kind="stable")
        numbers = np.bincount(each)[1:]
        if numbers.max() > np.iinfo(np.uint8).max:  # all 256 values, which no code makes shorter
            return coded(weights, FIXED)
        symbols, words = alphabet[order].astype(np.int8), numbers.astype(np.uint8)
        codes, lengths = canonical_codes(each)[where], each[where]
    pieces = [
        "1" * (gap >> rice) + f"0{((gap & ((1 << rice) - 1)) << length) | code:0{rice + length}b}"
        for gap, code, length in zip(gaps.tolist(), codes.tolist(), lengths.tolist(), strict=True)
    ]
    bits = np.frombuffer("".join(pieces).encode(), np.uint8) - ord("0")
    return Coded(
        np.append(np.packbits(bits), np.zeros(_READ_AHEAD, np.uint8)),
        *(rice, width, words, symbols, np.cumsum(gaps + 1)[:-1] - 1),
        (len(pieces[0]), int(gaps[0]), int(found[0])),
        float(lengths.mean()),
    )


def bits_of(values: np.ndarray) -> int:
    """The bits of a signed integer that holds any of `values`, two at least."""
    most = max(int(values.max(initial=0)), -1 - int(values.min(initial=0)))
    return max(most.bit_length(), 1) + 1


def with_fillers(
    steps: np.ndarray, values: np.ndarray, longest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Steps from one weight to the next, and their values, int64 (n,), with weights of zero in
    between where a step is above `longest`."""
    more = np.maximum(steps - 1, 0) // longest
    ends = np.cumsum(more + 1) - 1
    filled = np.full(int(ends[-1]) + 1, longest)
    filled[ends] = steps - longest * more
    found = np.zeros(len(filled), np.int64)
    found[ends] = values
    return filled, found

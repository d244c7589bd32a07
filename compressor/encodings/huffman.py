"""Canonical Huffman codes whose words have at most a given length.

Sources: Larmore and Hirschberg, A Fast Algorithm for Optimal Length-Limited Huffman Codes, JACM
37(3), 1990 (package-merge); the canonical order of RFC 1951, section 3.2.2.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np


def code_lengths(counts: Sequence[int] | np.ndarray, longest: int) -> np.ndarray:
    """The optimal code's lengths in bits, int64 (symbols,), none above `longest`; 0 for no count.

    `counts` is how often each symbol occurs, (symbols,). A symbol that is alone takes one bit.
    Raises ValueError for counts below zero, and where there are more symbols than 2**longest.
    """
    frequencies = np.asarray(counts, np.int64)
    used = np.flatnonzero(frequencies)
    if (frequencies < 0).any():
        raise ValueError("counts are not below zero")
    if len(used) > 2**longest:
        raise ValueError(f"{len(used)} symbols need words of more than {longest} bits")
    lengths = np.zeros(len(frequencies), np.int64)
    if len(used) < 2:
        lengths[used] = 1
        return lengths
    # Packages are (count, symbols in it); the symbols of a package each become a bit longer.
    leaves: list[tuple[int, tuple[int, ...]]]
    leaves = sorted((int(frequencies[symbol]), (int(symbol),)) for symbol in used)
    packages = leaves
    for _ in range(longest - 1):
        pairs = zip(packages[::2], packages[1::2], strict=False)
        merged = [(left[0] + right[0], left[1] + right[1]) for left, right in pairs]
        packages = list(heapq.merge(leaves, merged))
    for _, symbols in packages[: 2 * len(used) - 2]:
        np.add.at(lengths, list(symbols), 1)
    return lengths


def canonical_codes(lengths: np.ndarray) -> np.ndarray:
    """The code words of these lengths, int64 (symbols,), to be written from the highest bit on.

    Shorter words come first, words of one length in the order of their symbols; 0 where the length
    is 0. Raises ValueError for lengths that no prefix code has.
    """
    codes = np.zeros(len(lengths), np.int64)
    code = last = 0
    for symbol in np.argsort(lengths, kind="stable"):
        length = int(lengths[symbol])
        if length:
            code <<= length - last
            if code >> length:
                raise ValueError("no prefix code has these lengths")
            codes[symbol], last = code, length
            code += 1
    return codes


def coded_bits(symbols: np.ndarray, lengths: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The code words of `symbols`, int (n,), one after another: uint8 0 or 1, (bits,)."""
    each = lengths[symbols]
    ends = np.cumsum(each)
    left = np.repeat(ends, each) - np.arange(int(each.sum())) - 1
    return ((np.repeat(codes[symbols], each) >> left) & 1).astype(np.uint8)

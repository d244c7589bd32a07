"""Canonical Huffman codes: optimal, limited in length, free of prefixes."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from compressor.encodings.huffman import canonical_codes, code_lengths, coded_bits


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40))
def test_what_was_coded_is_decoded(counts: list[int]) -> None:
    symbols = np.repeat(np.arange(len(counts)), np.minimum(counts, 20))
    lengths = code_lengths(counts, 9)
    codes = canonical_codes(lengths)
    words = {
        (int(length), int(code)): symbol
        for symbol, (length, code) in enumerate(zip(lengths, codes, strict=True))
        if length
    }
    assert len(words) == np.count_nonzero(counts)
    found, word, length = [], 0, 0
    for bit in coded_bits(symbols, lengths, codes):
        word, length = 2 * word + int(bit), length + 1
        if (length, word) in words:
            found.append(words[length, word])
            word = length = 0
    assert found == symbols.tolist() and length == 0


def test_lengths_are_those_of_huffman_where_nothing_limits_them() -> None:
    assert code_lengths([1, 1, 2, 4, 0, 8], 15).tolist() == [4, 4, 3, 2, 0, 1]


def test_no_word_is_longer_than_the_limit_and_every_word_is_used() -> None:
    counts = [2**power for power in range(12)]
    lengths = code_lengths(counts, 4)
    assert lengths.max() == 4
    assert sum(2.0**-lengths) == 1
    assert code_lengths(counts, 5) @ counts < lengths @ counts


def test_a_symbol_that_is_alone_takes_one_bit() -> None:
    assert code_lengths([0, 5], 3).tolist() == [0, 1]


@pytest.mark.parametrize(("counts", "longest"), [([1] * 9, 3), ([1, -1], 3)])
def test_impossible_counts_are_refused(counts: list[int], longest: int) -> None:
    with pytest.raises(ValueError):
        code_lengths(counts, longest)


def test_lengths_of_no_prefix_code_are_refused() -> None:
    with pytest.raises(ValueError):
        canonical_codes(np.array([1, 1, 1]))

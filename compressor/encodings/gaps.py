"""Distances between non-zeros in few bits, with fillers where one is longer."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from compressor.encodings._tensors import Int64Array

LONGEST = 255
"""The longest gap that one byte holds."""


def split_gaps(distances: Int64Array, longest: int) -> tuple[npt.NDArray[np.uint8], Int64Array]:
    """Walk `distances` (k,) in gaps of at most `longest`, at most 255.

    Returns uint8 gaps (m,), m >= k, and the index (k,) of each distance's last gap. A distance
    d > longest takes (d - 1) // longest fillers, gaps of `longest` that lead to a zero, and what
    is left, at least 1.

    Source: Han, Mao and Dally, Deep Compression, ICLR 2016 (arXiv:1510.00149), section 2
    and figure 2, there with gaps of 8 bits for convolutions and 5 for dense layers.
    """
    fillers = np.maximum(distances - 1, 0) // longest
    last = np.arange(len(distances)) + np.cumsum(fillers)
    gaps = np.full(len(distances) + int(fillers.sum()), longest, np.uint8)
    gaps[last] = distances - fillers * longest
    return gaps, last


def expected_fillers(weights: int, nonzeros: float) -> float:
    """Fillers F that `nonzeros` k of `weights` n at random positions need for 8 bits.

    A gap D between neighbours of k random positions among n has

        P(D > m) = C(n - m, k) / C(n, k)

    and the first gap, which counts from position 0, P(D > m) (n - m - k) / (n - m). A
    gap takes one filler for every j >= 1 with D > 255 j, so

        F = k sum_{j >= 1} (1 - 1 / (n - 255 j)) C(n - 255 j, k) / C(n, k)

    which for n and k that grow at the same density d = k / n, where gaps become
    geometric, P(D > m) = (1 - d)^m, tends to

        F = k q / (1 - q),  q = (1 - d)^255

    The sum is used, since the limit is twice too large for a single non-zero. `nonzeros` may be
    a fraction: an expected count.
    """
    if not nonzeros:
        return 0.0
    whole = math.lgamma(weights - nonzeros + 1) - math.lgamma(weights + 1)
    total = 0.0
    for behind in range(weights - LONGEST, 0, -LONGEST):
        if behind < nonzeros:
            break
        logarithm = math.lgamma(behind + 1) - math.lgamma(behind - nonzeros + 1) + whole
        term = math.exp(logarithm) * (1 - 1 / behind)
        total += term
        # Terms fall at least geometrically, so what is left is too small to count.
        if term <= 1e-12 * total:
            break
    return nonzeros * total

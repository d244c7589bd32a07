"""Shannon's bound: what no encoding of random positions can beat."""

from __future__ import annotations

import math
from collections.abc import Sequence

from compressor.encodings._tensors import counted_shape

# The name under which the bound stands beside the encodings; none may take it.
ENTROPY = "entropy"


def entropy_bound_bytes(shape: Sequence[int], nonzeros: float) -> float:
    """n H2(k / n) / 8 + 4 k bytes, for k non-zeros of n weights: a bound, no encoding.

    H2(d) = -d log2 d - (1 - d) log2(1 - d) bits is the entropy of whether a weight is
    zero, each independently with probability 1 - d: the least that random positions take
    on average. The float32 values are taken as incompressible, 4 bytes each.

    Source: C. E. Shannon, A Mathematical Theory of Communication, Bell System Technical
    Journal 27, 1948, section 6 for H2 and theorem 9 for the bound.
    Raises UsageError for a count that the shape cannot hold.
    """
    rows, columns = counted_shape(shape, nonzeros)
    weights = rows * columns
    bits = 0.0
    for count in (nonzeros, weights - nonzeros):
        if count:
            bits -= count * math.log2(count / weights)
    return bits / 8 + 4.0 * nonzeros

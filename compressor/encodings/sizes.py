"""The bytes of a model whose pruned kernels are encoded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from compressor.encodings._tensors import Float32Array, nonzero_mask
from compressor.encodings.layouts import ENCODINGS, check_count

# The name under which Shannon's bound stands beside the encodings.
ENTROPY = "entropy"

# float32, for every parameter that stays dense.
_DENSE_BYTES = 4


def entropy_bound_bytes(shape: Sequence[int], nonzeros: float) -> float:
    """n H2(k / n) / 8 + 4 k bytes, for k non-zeros of n weights: what no encoding can beat.

    H2(d) = -d log2 d - (1 - d) log2(1 - d) bits is the entropy of whether a weight is
    zero, each independently with probability 1 - d: the least that random positions take
    on average. The float32 values are taken as incompressible, 4 bytes each.

    Source: C. E. Shannon, A Mathematical Theory of Communication, Bell System Technical
    Journal 27, 1948, section 6 for H2 and theorem 9 for the bound.
    Raises UsageError for a count that the shape cannot hold.
    """
    weights = check_count(shape, nonzeros)
    bits = 0.0
    for count in (nonzeros, weights - nonzeros):
        if count:
            bits -= count * math.log2(count / weights)
    return bits / 8 + 4.0 * nonzeros


def model_bytes(kernels: Mapping[str, Float32Array], dense_parameters: int) -> dict[str, int]:
    """Encoding -> bytes of `kernels` encoded, plus 4 for each of `dense_parameters`.

    kernels: name -> pruned float32 kernel, any rank from 1; each is really encoded
    dense_parameters: how many parameters stay dense float32: biases, other kernels

    The result is in the order of ENCODINGS, and its last key, "entropy", is the bound of
    entropy_bound_bytes, rounded up: nothing is stored that way.
    Raises ModelError for a kernel that is no float32 array.
    """
    sizes = {
        name: sum(encoding.nbytes(kernel) for kernel in kernels.values())
        for name, encoding in ENCODINGS.items()
    }
    sizes[ENTROPY] = math.ceil(
        sum(
            entropy_bound_bytes(kernel.shape, int(np.count_nonzero(nonzero_mask(kernel))))
            for kernel in kernels.values()
        )
    )
    return {name: size + _DENSE_BYTES * dense_parameters for name, size in sizes.items()}


def expected_model_bytes(
    encoding: str, kernels: Iterable[tuple[Sequence[int], float]], dense_parameters: int
) -> float:
    """Expected bytes of the encoded kernels, plus 4 for each of `dense_parameters`.

    encoding: the name of one, or "entropy" for the bound
    kernels: (shape, non-zeros) of each; the positions are taken as random

    Raises UsageError for a count that cannot be.
    """
    bytes_of = entropy_bound_bytes if encoding == ENTROPY else ENCODINGS[encoding].expected_bytes
    return sum(bytes_of(shape, nonzeros) for shape, nonzeros in kernels) + float(
        _DENSE_BYTES * dense_parameters
    )

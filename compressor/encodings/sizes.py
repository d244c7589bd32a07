"""The bytes of a model whose pruned kernels are encoded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from compressor.encodings._tensors import (
    Float32Array,
    as_matrix,
    nonzero_mask,
    same_weights,
)
from compressor.encodings.base import Encoding
from compressor.encodings.entropy import ENTROPY, entropy_bound_bytes
from compressor.encodings.registry import ENCODINGS, get_encoding
from compressor.errors import CheckFailedError, UsageError

# float32, for every parameter that stays dense.
_DENSE_BYTES = 4


def model_bytes(kernels: Mapping[str, Float32Array], dense_parameters: int) -> dict[str, int]:
    """Encoding -> bytes of `kernels` encoded, plus 4 for each of `dense_parameters`.

    kernels: name -> pruned float32 kernel, any rank from 1; each is really encoded in
        every encoding, decoded again and compared
    dense_parameters: how many parameters stay dense float32: biases, other kernels

    The result is in the order of ENCODINGS, and its last key, "entropy", is the bound of
    entropy_bound_bytes, rounded up: nothing is stored that way.
    Raises CheckFailedError when a decoded kernel differs, ModelError for a kernel that is
    no float32 array, UsageError for a negative count.
    """
    _check_count(dense_parameters)
    sizes = {
        name: sum(_verified_bytes(encoding, key, kernel) for key, kernel in kernels.items())
        for name, encoding in ENCODINGS.items()
    }
    sizes[ENTROPY] = math.ceil(
        sum(entropy_bound_bytes(kernel.shape, _nonzeros(kernel)) for kernel in kernels.values())
    )
    return {name: size + _DENSE_BYTES * dense_parameters for name, size in sizes.items()}


def expected_model_bytes(
    encoding: str, kernels: Iterable[tuple[Sequence[int], float]], dense_parameters: int
) -> float:
    """Expected bytes of the encoded kernels, plus 4 for each of `dense_parameters`.

    encoding: the name of one, or "entropy" for the bound
    kernels: (shape, non-zeros) of each; the positions are taken as random

    Raises UsageError for an unknown name, or a count that cannot be.
    """
    _check_count(dense_parameters)
    bytes_of = entropy_bound_bytes if encoding == ENTROPY else get_encoding(encoding).expected_bytes
    return sum(bytes_of(shape, nonzeros) for shape, nonzeros in kernels) + float(
        _DENSE_BYTES * dense_parameters
    )


def _verified_bytes(encoding: Encoding, key: str, kernel: Float32Array) -> int:
    """Bytes of `kernel` in `encoding`, once it has come back the same."""
    encoded = encoding.encode(kernel)
    if not same_weights(encoding.decode(encoded), kernel):
        raise CheckFailedError(
            f"encoding {encoding.name} does not give back the kernel it was given",
            value=key,
            hint="this is a bug; report it, and use another encoding",
        )
    return encoding.nbytes(encoded)


def _nonzeros(kernel: Float32Array) -> int:
    return int(np.count_nonzero(nonzero_mask(as_matrix(kernel))))


def _check_count(dense_parameters: int) -> None:
    if dense_parameters < 0:
        raise UsageError("a count of parameters cannot be negative", value=dense_parameters)

"""Small data sets, and a check of the form of an error, for the tests of compressor.data."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compressor.data import Dataset
from compressor.data.mnist import load_mnist
from compressor.errors import DataError

CODES = {
    "uint8": 0x08,
    "int8": 0x09,
    "int16": 0x0B,
    "int32": 0x0C,
    "float32": 0x0D,
    "float64": 0x0E,
}


@pytest.fixture(scope="session")
def to_idx() -> Callable[[np.ndarray], bytes]:
    """Encode an array as IDX."""

    def encode(array: np.ndarray) -> bytes:
        header = struct.pack(
            f">BBBB{array.ndim}I", 0, 0, CODES[array.dtype.name], array.ndim, *array.shape
        )
        return header + array.astype(array.dtype.newbyteorder(">")).tobytes()

    return encode


@pytest.fixture(scope="session")
def refused() -> Callable[..., str]:
    """Call a reader that must refuse; give its message, checked to be one printable line."""

    def call(reader: Callable[..., Any], *arguments: Any, **options: Any) -> str:
        with pytest.raises(DataError) as caught:
            reader(*arguments, **options)
        message = str(caught.value)
        assert message.isprintable()
        assert message
        return message

    return call


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """x_train (6, 4, 3), x_test (4, 4, 3) uint8; y 0..2, uint8."""
    generator = np.random.default_rng(7)
    return {
        "x_train": generator.integers(0, 256, (6, 4, 3), dtype=np.uint8),
        "y_train": np.array([0, 1, 2, 2, 1, 0], np.uint8),
        "x_test": generator.integers(0, 256, (4, 4, 3), dtype=np.uint8),
        "y_test": np.array([2, 0, 1, 1], np.uint8),
    }


@pytest.fixture(scope="session")
def embedded() -> Dataset:
    return load_mnist()

"""Rows of stored arrays by index, as tensors in a tf.data pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from compressor.data.stored import is_large
from compressor.foundation import quiet_tensorflow


def gatherer(array: Any) -> Callable[[Any], Any]:
    """A function from indices, an int64 tensor (b,), to the rows (b, ...) of `array`.

    A small array is copied into a tensor first; of a large one, or one on the disk, rows are read
    when they are asked for. The rows are the same.
    """
    tensorflow, _ = quiet_tensorflow.load()
    if not is_large(array):
        constant = tensorflow.constant(array)
        return lambda index: tensorflow.gather(constant, index)

    def rows(index: Any) -> Any:
        found = tensorflow.numpy_function(
            lambda chosen: np.ascontiguousarray(array[chosen]), [index], array.dtype
        )
        return tensorflow.ensure_shape(found, (None, *array.shape[1:]))

    return rows
